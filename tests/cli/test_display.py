"""cli/display.py: what a person sees while they wait is short, honest, on standard error, and text as it is."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from convscope.cli.display import PLAIN_LINE_SECONDS, Display, error_console, show_messages
from convscope.progress import Progress, progress

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def be_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Rich take standard error for a terminal of 80 columns."""
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)


def at(done: int, seconds: float, *, state: str = "running", note: str = "") -> Progress:
    """A report of decoding 1,000 images."""
    return Progress(
        description="decoding",
        done=done,
        total=1000,
        unit="images",
        seconds=seconds,
        seconds_left=300.0,
        note=note,
        state=state,  # type: ignore[arg-type]
    )


def test_short_work_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Away from a terminal, work of less than two seconds says nothing."""
    with show_messages(), progress("decoding", 10, unit="images") as counter:
        counter.advance(10)
    assert capsys.readouterr() == ("", "")


def test_long_work_says_where_it_stands_and_how_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain lines on standard error now and then, with the time left, and one that stays."""
    display = Display(error_console())
    display.update(at(0, 0.0))
    display._next_lines["decoding"] -= PLAIN_LINE_SECONDS
    display.update(at(250, 100.0))
    display.update(at(300, 101.0))  # too soon for another line
    display._next_lines["decoding"] -= PLAIN_LINE_SECONDS
    display.update(at(400, 110.0, note="loss 0.250"))
    display.update(at(1000, 200.0, state="done"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "decoding: 250 of 1,000, 2 images/s, 5 min 00 s left",
        "decoding: 400 of 1,000, loss 0.250, 5 min 00 s left",
        "decoding: 1,000 images in 3 min 20 s, 5 images/s",
    ]


def test_work_that_fails_leaves_no_line_of_success(capsys: pytest.CaptureFixture[str]) -> None:
    """The error is what is left to say."""
    display = Display(error_console())
    display.update(at(0, 0.0))
    display.update(at(300, 100.0, state="failed"))
    assert capsys.readouterr() == ("", "")


def test_terminal_gets_a_bar_and_results_stay_clean(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the bar moves on standard error, messages stay above it, and it is gone in the end."""
    be_a_terminal(monkeypatch)
    display = Display(error_console())
    display.update(at(30, 1.0, note="loss 0.654"))
    assert display._bars is not None
    display._bars.refresh()
    display.console.print("epoch 1/2")
    display.update(at(1000, 1.5, state="done"))
    assert display._bars is None
    out, err = capsys.readouterr()
    assert out == ""
    plain = ESCAPES.sub("", err)
    assert "decoding" in plain
    assert "30/1000" in plain
    assert "loss 0.654, 5 min 00 s left" in plain
    assert "epoch 1/2\n" in plain.replace("\r", "")
    assert "\x1b[?25h" in err  # the cursor is given back


def test_messages_are_text_as_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A path with brackets or colons is printed as it is, in one line however long, on standard error."""
    text = f"{tmp_path}/[bold]photo[/bold] :dog: 100% {'x' * 300}"
    with show_messages():
        logging.getLogger("convscope.training").info(text)
    assert capsys.readouterr() == ("", text + "\n")


def test_library_is_quiet_outside_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Once the command has ended, the logger is as it was."""
    logger = logging.getLogger("convscope")
    before = list(logger.handlers), logger.level, logger.propagate
    with show_messages():
        pass
    logger.info("nobody asked")
    assert (list(logger.handlers), logger.level, logger.propagate) == before
    assert capsys.readouterr() == ("", "")
