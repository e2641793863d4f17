"""formatting.py: counts and durations as text, and names that cannot disturb a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.formatting import format_duration, num_columns, plural, printable, printable_lines, shorten


@given(st.text(st.characters()))
def test_printable_text_moves_no_cursor(text: str) -> None:
    """Whatever a file is called, what is printed is one line without control or direction marks, and can be encoded."""
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1


def test_printable_text_stays_readable() -> None:
    """Ordinary names are unchanged; escapes can be read."""
    assert printable("my photo (3), café, 狗.jpg") == "my photo (3), café, 狗.jpg"
    assert printable("a\nb\x1b[2J\udcff\u202e") == "a\\nb\\x1b[2J\\udcff\\u202e"


def test_lines_of_printable_text_stay() -> None:
    """Line feeds alone; a carriage return, which goes back in its line, is escaped. Doing it again changes nothing."""
    text = printable_lines("one\n\x1b[2Jtwo\r\n")
    assert text == "one\n\\x1b[2Jtwo\\r\n"
    assert printable_lines(text) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
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
def test_durations_have_two_units(seconds: float, text: str) -> None:
    """Seconds, then minutes and seconds, then hours and minutes; never 60 of one."""
    assert format_duration(seconds) == text


def test_counts_agree_with_their_nouns() -> None:
    """One image, two images, thousands with a comma, and irregular plurals."""
    texts = [plural(1, "image"), plural(0, "image"), plural(20_998, "image"), plural(2, "class", "classes")]
    assert texts == ["1 image", "0 images", "20,998 images", "2 classes"]
    assert plural(1, "class", "classes") == "1 class"


@given(st.text("a \u0301é猫😀…\n\x1b\udcff", max_size=40), st.integers(2, 30))
def test_shortened_names_fit(name: str, columns: int) -> None:
    """Whatever the characters, the text takes at most so many columns, and short names stay as they are."""
    short = shorten(name, columns)
    assert num_columns(short) <= columns
    assert short.isprintable()
    if name.isprintable() and num_columns(name) <= columns:
        assert short == name
