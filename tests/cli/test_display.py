"""cli/display.py: messages and progress are short, on standard error, and cannot disturb the terminal."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from convscope.cli.display import LINE_SECONDS, Display, error_console, show_messages
from convscope.progress import Progress, progress

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def be_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Rich treat standard error as a terminal of 80 columns."""
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)


def at(done: int, seconds: float, *, state: str = "running", note: str = "") -> Progress:
    """A report of decoding 1,000 images."""
    return Progress(
        description="decoding",
        done=done,
        total=1000,
        first=0,
        unit="images",
        seconds=seconds,
        seconds_left=300.0,
        note=note,
        state=state,  # type: ignore[arg-type]
    )


def test_short_work_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal, work of less than two seconds is not shown."""
    with show_messages(), progress("decoding", 10, unit="images") as counter:
        counter.advance(10)
    assert capsys.readouterr() == ("", "")


def test_long_work_has_lines_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain lines on standard error, at least ten seconds apart, with the time left, and a last one that stays."""
    now = 0.0
    monkeypatch.setattr("convscope.cli.display.time", SimpleNamespace(monotonic=lambda: now))
    display = Display(error_console())
    for now, done, note in (
        (0.0, 0, ""),
        (LINE_SECONDS, 250, ""),
        (LINE_SECONDS + 1, 300, ""),
        (25.0, 400, "loss 0.250"),
    ):
        display.update(at(done, now * 10, note=note))
    display.update(at(1000, 200.0, state="done"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "decoding: 250 of 1,000, 2.5 images/s, 5 min 00 s left",
        "decoding: 400 of 1,000, loss 0.250, 5 min 00 s left",
        "decoding: 1,000 images in 3 min 20 s, 5.0 images/s",
    ]


def test_failed_work_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The error that follows is enough."""
    display = Display(error_console())
    display.update(at(0, 0.0))
    display.update(at(300, 100.0, state="failed"))
    assert capsys.readouterr() == ("", "")


def test_terminal_gets_a_bar_and_results_stay_clean(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the bar is on standard error, with messages above it, and is removed in the end."""
    be_a_terminal(monkeypatch)
    display = Display(error_console())
    display.update(at(30, 1.0, note="loss 0.654"))
    display.console.print("epoch 1/2")
    display.close()
    out, err = capsys.readouterr()
    assert out == ""
    plain = ESCAPES.sub("", err)
    assert "decoding" in plain
    assert "30/1000" in plain
    assert "loss 0.654, 5 min 00 s left" in plain
    assert "epoch 1/2\n" in plain.replace("\r", "")
    assert "\x1b[?25h" in err  # the cursor is visible again


def test_bar_ends_with_its_work(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """When the last piece of work is done, the cursor is visible again."""
    be_a_terminal(monkeypatch)
    display = Display(error_console())
    display.update(at(30, 1.0))
    display.update(at(1000, 1.5, state="done"))
    assert "\x1b[?25h" in capsys.readouterr().err


def test_messages_are_printed_unchanged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Brackets and colons are no markup, and a long line is not wrapped."""
    text = f"{tmp_path}/[bold]photo[/bold] :dog: 100% {'x' * 300}"
    with show_messages():
        logging.getLogger("convscope.training").info(text)
    assert capsys.readouterr() == ("", text + "\n")


def test_messages_are_rewritten_and_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """The given function changes the text; control characters are escaped, line feeds stay."""
    with show_messages(str.upper):
        logging.getLogger("convscope.training").info("a\x1b[2J\nb")
    assert capsys.readouterr().err == "A\\x1b[2J\nB\n"


def test_library_is_quiet_outside_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """When the command has ended, the logger is as before."""
    logger = logging.getLogger("convscope")
    before = list(logger.handlers), logger.level, logger.propagate
    with show_messages():
        pass
    logger.info("a message")
    assert (list(logger.handlers), logger.level, logger.propagate) == before
    assert capsys.readouterr() == ("", "")


def test_resumed_work_counts_its_own_units(capsys: pytest.CaptureFixture[str]) -> None:
    """A training that is resumed at step 10 of 24 has taken 14 steps, at its own rate."""
    resumed = dataclasses.replace(at(24, 35.0, state="done"), first=10, description="training", unit="steps")
    Display(error_console()).update(resumed)
    assert capsys.readouterr().err == "training: 14 steps in 35 s, 0.4 steps/s\n"
