"""evaluation/confusion_text.py: a table where it fits a terminal, else the largest confusions."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from convscope.evaluation.confusion_text import format_confusion


def width(line: str) -> int:
    """The columns of a terminal that a line takes."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def test_a_small_matrix_is_a_table() -> None:
    """Rows true, columns predicted, counts under their names."""
    assert format_confusion(np.array([[1841, 159], [20, 1980]]), ["cat", "dog"]).split("\n") == [
        "      predicted",
        "true    cat    dog",
        "cat   1,841    159",
        "dog      20  1,980",
    ]


def test_a_table_aligns_chinese_names() -> None:
    """All lines have the same width, where a Chinese character takes two columns."""
    lines = format_confusion(np.array([[9, 1, 0], [0, 8, 2], [1, 2, 10]]), ["猫", "金毛寻回犬", "dog"]).split("\n")
    assert {width(line) for line in lines[1:]} == {width(lines[1])}
    assert "猫" in lines[1]
    assert lines[3].startswith("金毛寻回犬  ")


@pytest.mark.parametrize("name", ["soft-coated wheaten terrier", "金毛寻回犬和拉布拉多犬"])
def test_a_table_fits_a_terminal(name: str) -> None:
    """Twelve long names are shortened with an ellipsis: at most 100 columns, and still a table."""
    text = format_confusion(np.arange(144).reshape(12, 12), [f"{name} {number}" for number in range(12)])
    lines = text.split("\n")
    assert len(lines) == 14
    assert max(map(width, lines)) <= 100
    assert lines[1].count("…") == 12


def test_many_classes_are_a_list_of_the_largest_confusions() -> None:
    """Largest first, at most twenty, without the diagonal; the rest are counted."""
    confusion = np.diag([100] * 30)
    confusion[3, 4] = 41
    confusion[7, 1] = 1204
    confusion[9, 10:29] = 1
    lines = format_confusion(confusion, [f"kind{number}" for number in range(30)]).split("\n")
    assert lines[:3] == [
        "kind7 predicted as kind1: 1,204",
        "kind3 predicted as kind4: 41",
        "kind9 predicted as kind10: 1",
    ]
    assert len(lines) == 21
    assert lines[-1] == "and 1 rarer confusion"


def test_many_classes_without_mistakes() -> None:
    """The text is not empty."""
    assert format_confusion(np.eye(13, dtype=np.int64), list("abcdefghijklm")) == "no confusions"


def test_counts_too_wide_for_a_table_are_a_list() -> None:
    """Twelve columns of eight digits do not fit into 100."""
    text = format_confusion(np.full((12, 12), 20_123_456), list("abcdefghijkl"))
    assert text.startswith("a predicted as b: 20,123,456\n")


def test_class_names_are_escaped() -> None:
    """Line ends and terminal commands in a folder's name are escaped."""
    text = format_confusion(np.eye(2, dtype=np.int64), ["cat\ndog", "\x1b[31mred"])
    assert "cat\\ndog" in text
    assert "\x1b" not in text
    assert len(text.split("\n")) == 4
