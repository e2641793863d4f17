"""exporting/parity.py: the differences of two sets of predictions, and of their accuracies, are computed right."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.exporting.parity import compare, compare_accuracy

FIRST = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]], np.float32)
SECOND = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.5, 0.5]], np.float32)


def test_difference_is_of_probabilities_and_classes() -> None:
    """One of four images differs by 0.2 in both of its probabilities, and changes its class."""
    difference = compare(SECOND, FIRST)
    assert difference.images == 4
    assert difference.largest == pytest.approx(0.2)
    assert difference.mean == pytest.approx(0.4 / 8)
    assert difference.same_labels == 3
    assert difference.describe() == "4 images: largest difference of a probability 0.2, mean 0.05, the same class for 3"


def test_no_images_have_no_difference() -> None:
    """All values are 0, and can be written as JSON."""
    assert compare(FIRST[:0], FIRST[:0]).to_json() == {"images": 0, "largest": 0.0, "mean": 0.0, "same_labels": 0}


@pytest.mark.parametrize(
    ("probabilities", "expected", "points", "text"),
    [
        (SECOND, FIRST, 25.0, "25.00 points lost"),
        (FIRST, SECOND, -25.0, "25.00 points gained"),
        (FIRST, FIRST, 0.0, "no diff"),
    ],
)
def test_points_are_of_the_export(probabilities: np.ndarray, expected: np.ndarray, points: float, text: str) -> None:
    """Where only the model is right, points are lost; where only the export is right, they are gained."""
    accuracies = compare_accuracy(probabilities, expected, np.array([0, 0, 1, 1], np.int32))
    assert accuracies.points_lost == pytest.approx(points)
    assert text in accuracies.describe()
    assert accuracies.model.low < accuracies.model.value < accuracies.model.high
