"""evaluation/mistakes.py: every wrong prediction, the most confident first, in a table that reads back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convscope.evaluation.mistakes import Mistake, find_mistakes, write_mistakes
from convscope.files import read_table

CLASSES = ["cat", "dog"]


def test_most_confident_mistakes_come_first() -> None:
    """Sorted by confidence, equal ones by path; correct predictions are left out."""
    probabilities = np.array([[0.2, 0.8], [0.9, 0.1], [0.2, 0.8], [0.01, 0.99], [0.45, 0.55]])
    mistakes = find_mistakes(["c", "correct", "b", "a", "d"], np.array([0, 0, 0, 0, 0]), probabilities, classes=CLASSES)
    assert [(mistake.path, mistake.confidence) for mistake in mistakes] == [
        ("a", 0.99),
        ("b", 0.8),
        ("c", 0.8),
        ("d", 0.55),
    ]
    assert mistakes[0] == Mistake("a", "cat", "dog", 0.99)


def test_no_mistakes_are_an_empty_list() -> None:
    """A perfect model, and no images at all, have none."""
    assert find_mistakes(["a", "b"], np.array([0, 1]), np.eye(2), classes=CLASSES) == []
    assert find_mistakes([], np.empty(0, np.int32), np.empty((0, 2)), classes=CLASSES) == []


@pytest.mark.parametrize(
    ("paths", "columns", "message"),
    [
        (["a"], 2, "found 1 paths, 2 labels and 2 rows of probabilities; expected as many of each"),
        (["a", "b"], 3, r"found probabilities of shape \(2, 3\); expected \(n, 2\)"),
    ],
)
def test_arguments_that_do_not_fit_are_rejected(paths: list[str], columns: int, message: str) -> None:
    """Another number of paths or of classes: the error names it."""
    with pytest.raises(ValueError, match=message):
        find_mistakes(paths, np.array([0, 1]), np.ones((2, columns)), classes=CLASSES)


def test_the_table_reads_back(tmp_path: Path) -> None:
    """In the order given, with names that CSV must quote and bytes that are not UTF-8."""
    odd = 'dog/a "b", c\nd \udcff 狗.jpg'
    write_mistakes(
        tmp_path / "mistakes.csv", [Mistake("z.jpg", "cat", "dog", 0.987654321), Mistake(odd, "狗", "cat", 0.5)]
    )
    assert (
        (tmp_path / "mistakes.csv").read_bytes().startswith(b"path,true,predicted,confidence\nz.jpg,cat,dog,0.987654\n")
    )
    assert read_table(tmp_path / "mistakes.csv")[1] == {
        "path": odd,
        "true": "狗",
        "predicted": "cat",
        "confidence": "0.500000",
    }


def test_a_table_without_mistakes_has_its_header(tmp_path: Path) -> None:
    """So that a reader finds its columns."""
    write_mistakes(tmp_path / "mistakes.csv", [])
    assert (tmp_path / "mistakes.csv").read_text() == "path,true,predicted,confidence\n"
