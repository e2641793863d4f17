"""Mistakes: the images with a wrong prediction, the most confident first.

Often it is the label that is wrong, not the prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convscope.files import write_table
from convscope.statistics.metrics import is_correct, predicted_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = ("path", "true", "predicted", "confidence")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One image, its true class, the predicted class, and the probability (0..1) of the predicted class."""

    path: str
    true: str
    predicted: str
    confidence: float


def find_mistakes(
    paths: Sequence[str], labels: NDArray[np.integer], probabilities: NDArray[np.floating], *, classes: Sequence[str]
) -> list[Mistake]:
    """Every image with a wrong prediction, the most confident first, then by path.

    Args:
        paths: n paths of images.
        labels: (n,) integers, the true class of each.
        probabilities: (n, classes), 0..1.
        classes: the names of the classes.

    Raises:
        ValueError: the arguments do not fit together.
    """
    if not len(paths) == len(labels) == len(probabilities):
        raise ValueError(
            f"found {len(paths)} paths, {len(labels)} labels and {len(probabilities)} rows of probabilities; "
            "expected as many of each"
        )
    if probabilities.ndim != 2 or probabilities.shape[1] != len(classes):
        raise ValueError(f"found probabilities of shape {probabilities.shape}; expected (n, {len(classes)})")
    predicted = predicted_classes(probabilities)
    mistakes = [
        Mistake(paths[row], classes[labels[row]], classes[predicted[row]], float(probabilities[row, predicted[row]]))
        for row in np.flatnonzero(~is_correct(probabilities, labels)).tolist()
    ]
    return sorted(mistakes, key=lambda mistake: (-mistake.confidence, mistake.path))


def write_mistakes(path: Path, mistakes: Sequence[Mistake]) -> None:
    """Write mistakes.csv, in the order given: path,true,predicted,confidence."""
    rows = [(mistake.path, mistake.true, mistake.predicted, f"{mistake.confidence:.6f}") for mistake in mistakes]
    write_table(path, COLUMNS, rows)
