"""Mistakes: the images that a model got wrong, the most confident first, since those teach most.

Often it is the label that is wrong, not the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convscope.files import write_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = ("path", "true", "predicted", "confidence")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One image, its class, the class that it was taken for, and the probability (0..1) that the model gave to that."""

    path: str
    true: str
    predicted: str
    confidence: float


def find_mistakes(
    paths: Sequence[str], truth: NDArray[np.integer], probabilities: NDArray[np.floating], *, classes: Sequence[str]
) -> list[Mistake]:
    """Every wrongly answered image, worst first: the most confident wrong answer, then by path.

    Args:
        paths: n names of images.
        truth: (n,) integers, the true class of each.
        probabilities: (n, classes), 0..1.
        classes: the names of the classes.

    Raises:
        ValueError: the arguments do not fit together.
    """
    if not len(paths) == len(truth) == len(probabilities):
        raise ValueError(
            f"found {len(paths)} paths, {len(truth)} true classes and {len(probabilities)} rows of probabilities; "
            "expected as many of each"
        )
    if probabilities.ndim != 2 or probabilities.shape[1] != len(classes):
        raise ValueError(f"found probabilities of shape {probabilities.shape}; expected (n, {len(classes)})")
    guess = probabilities.argmax(axis=1)
    mistakes = [
        Mistake(paths[row], classes[truth[row]], classes[guess[row]], float(probabilities[row, guess[row]]))
        for row in np.flatnonzero(guess != truth).tolist()
    ]
    return sorted(mistakes, key=lambda mistake: (-mistake.confidence, mistake.path))


def write_mistakes(path: Path, mistakes: Sequence[Mistake]) -> None:
    """Write mistakes.csv, in the order given: path,true,predicted,confidence."""
    rows = [(each.path, each.true, each.predicted, f"{each.confidence:.6f}") for each in mistakes]
    write_table(path, COLUMNS, rows)
