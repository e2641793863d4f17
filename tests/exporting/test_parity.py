"""deployment/differences.py: what two sets of answers differ by is counted as it is said to be."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.exporting.parity import compare, judge

OURS = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]], np.float32)
THEIRS = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.5, 0.5]], np.float32)


def test_difference_is_of_probabilities_and_classes() -> None:
    """One of four images differs by 0.2 in both of its probabilities, and changes its class."""
    found = compare(THEIRS, OURS)
    assert found.images == 4
    assert found.largest == pytest.approx(0.2)
    assert found.mean == pytest.approx(0.4 / 8)
    assert found.same_labels == 3
    assert found.describe() == ("4 images: largest difference of a probability 0.2, mean 0.05, the same class for 3")


def test_nothing_compared_is_nothing() -> None:
    """Of no images there is no difference, and it can be written as JSON."""
    assert compare(OURS[:0], OURS[:0]).to_json() == {"images": 0, "largest": 0.0, "mean": 0.0, "same_labels": 0}


@pytest.mark.parametrize(
    ("answers", "expected", "points", "says"),
    [
        (THEIRS, OURS, 25.0, "25.00 points lost"),
        (OURS, THEIRS, -25.0, "25.00 points won"),
        (OURS, OURS, 0.0, "no diff"),
    ],
)
def test_points_are_of_the_export(answers: np.ndarray, expected: np.ndarray, points: float, says: str) -> None:
    """A class that only the model gets right is lost, one that only the export gets right is won."""
    found = judge(answers, expected, np.array([0, 0, 1, 1], np.int32))
    assert found.points_lost == pytest.approx(points)
    assert says in found.describe()
    assert found.model.low < found.model.value < found.model.high
