"""How far an export answers as its model does: in probability, in the class, in accuracy. Pure arithmetic."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.formatting import plural
from convscope.statistics.intervals import Figure, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Between two answers to each of some images.

    Attributes:
        images: how many there were; of none, everything else is 0.
        largest: difference of a probability.
        mean: of the differences of all probabilities of all images.
        same_labels: images that both give the same class.
    """

    images: int
    largest: float
    mean: float
    same_labels: int

    def to_json(self) -> dict[str, Any]:
        """The figures, for programs."""
        return asdict(self)

    def describe(self) -> str:
        """The figures, for a person."""
        return (
            f"{plural(self.images, 'image')}: largest difference of a probability {self.largest:.2g},"
            f" mean {self.mean:.2g}, the same class for {self.same_labels:,}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracies:
    """Of a model and of its export on the same images, each with its 95 % interval."""

    model: Figure
    export: Figure

    @property
    def points_lost(self) -> float:
        """Percentage points that the export has less than the model; below 0: it has more."""
        return 100 * (self.model.value - self.export.value)

    def to_json(self) -> dict[str, Any]:
        """The figures, for programs."""
        return {"model": self.model.to_json(), "export": self.export.to_json(), "points_lost": self.points_lost}

    def describe(self) -> str:
        """The figures, for a person."""
        lost = self.points_lost
        change = f"{abs(lost):.2f} points {'lost' if lost > 0 else 'won'}" if lost else "no difference"
        return f"{_percent(self.model)} of the model, {_percent(self.export)} of the export: {change}"


def compare(answers: NDArray[np.float32], expected: NDArray[np.float32]) -> Difference:
    """The difference of two answers, each (n, classes)."""
    if not len(answers):
        return Difference(images=0, largest=0.0, mean=0.0, same_labels=0)
    difference = np.abs(answers.astype(np.float64) - expected)
    same = answers.argmax(axis=1) == expected.argmax(axis=1)  # (n, classes) -> (n,)
    return Difference(
        images=len(answers), largest=float(difference.max()), mean=float(difference.mean()), same_labels=int(same.sum())
    )


def judge(answers: NDArray[np.float32], expected: NDArray[np.float32], labels: NDArray[np.integer[Any]]) -> Accuracies:
    """The accuracy of an export, and of the model, whose answers are `expected`; each (n, classes), labels (n,)."""
    right = [int((each.argmax(axis=1) == labels).sum()) for each in (expected, answers)]
    model, export = (wilson(count, len(labels)) for count in right)
    return Accuracies(model=model, export=export)


def _percent(figure: Figure) -> str:
    return f"{figure.value:.2%} ({figure.low:.2%} to {figure.high:.2%})"
