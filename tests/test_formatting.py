"""formatting.py: counts and durations as people say them, and names that cannot disturb a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.formatting import format_duration, plural, printable


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
