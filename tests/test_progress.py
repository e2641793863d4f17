"""What a person sees while they wait: short, honest, and never able to forge a line."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.environment import program_name
from convscope.formatting import format_duration, plural, printable
from convscope.progress import PLAIN_LINE_SECONDS, QUIET_SECONDS, Bar, progress, remarks

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@given(st.text(st.characters()))
def test_printable_text_moves_no_cursor(text: str) -> None:
    """Whatever a file is called, what is printed is one line without control or direction marks, and can be encoded."""
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1


def test_printable_text_stays_readable() -> None:
    """Ordinary names stay as they are; what is spelled out can be told."""
    assert printable("my photo (3), café, 狗.jpg") == "my photo (3), café, 狗.jpg"
    assert printable("a\nb\x1b[2J\udcff\u202e") == "a\\nb\\x1b[2J\\udcff\\u202e"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (8, "8 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (4800, "1 h 20 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_a_clock_says_it_as_a_person_does(seconds: float, said: str) -> None:
    """Seconds, then minutes and seconds, then hours and minutes; no sixtieth second."""
    assert format_duration(seconds) == said


def test_counts_agree_with_their_nouns() -> None:
    """One image, two images, twenty thousand with a comma, and plurals that are no s."""
    said = [plural(1, "image"), plural(0, "image"), plural(20_998, "image"), plural(2, "class", "classes")]
    assert said == ["1 image", "0 images", "20,998 images", "2 classes"]
    assert plural(1, "class", "classes") == "1 class"


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Away from a terminal, work of less than two seconds leaves no line."""
    with progress("decoding", 10, unit="images") as bar:
        for _ in range(10):
            bar.advance()
    assert bar.done == 10
    assert capsys.readouterr() == ("", "")


def test_long_work_says_where_it_stands_and_how_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain lines on standard error now and then, with the time left, and one that stays."""
    with progress("decoding", 1000, unit="images") as bar:
        bar.started -= 100.0  # as if it had run so long
        bar.next_line -= PLAIN_LINE_SECONDS
        bar.advance(250)
        bar.advance(250)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "decoding: 250 of 1,000, 2 images/s, 5 min 00 s left",
        "decoding: 500 images in 1 min 40 s, 5 images/s",
    ]


def test_work_without_a_known_end_tells_no_time_left() -> None:
    """Only what is known is said."""
    bar = Bar("listing", None, "files", started=time.monotonic() - 10)
    bar.advance(2000)
    assert bar.state() == "2,000, 200 files/s"


def test_work_that_fails_leaves_no_line_of_success(capsys: pytest.CaptureFixture[str]) -> None:
    """The error is what is left to say."""

    def fail() -> None:
        with progress("decoding", 10, unit="images") as bar:
            bar.started -= 2 * QUIET_SECONDS
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        fail()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_and_results_stay_clean(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the bar moves on standard error, and is gone in the end; standard output has nothing."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # what makes Rich take a file for a terminal
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with progress("decoding", 40, unit="images") as bar:
        bar.advance(30)
        assert bar.display is not None
        bar.display.refresh()
    out, err = capsys.readouterr()
    assert out == ""
    assert "decoding" in ESCAPES.sub("", err)
    assert "30/40" in ESCAPES.sub("", err)
    assert err.rstrip("\r\n").endswith("\x1b[2K")  # the line is wiped


def test_remarks_are_not_markup(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A path with brackets or colons is printed as it is, in one line however long, on standard error."""
    text = f"{tmp_path}/[bold]photo[/bold] :dog: {'x' * 300}"
    remarks().print(text, markup=False)
    assert capsys.readouterr() == ("", text + "\n")


@pytest.mark.parametrize(
    ("called", "is_on_path", "said"),
    [
        (".venv/bin/convscope", False, ".venv/bin/convscope"),
        ("my tools/convscope", False, "'my tools/convscope'"),
        (".venv/bin/convscope", True, "convscope"),
        ("/usr/lib/python3/convscope/__main__.py", False, "convscope"),
    ],
)
def test_commands_that_are_told_can_be_typed(
    called: str, is_on_path: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A printed command begins with what the shell finds here: the name, or the path it was called by."""
    if is_on_path:
        (tmp_path / "convscope").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", [called])
    assert program_name() == said
