"""Parity: how closely the predictions of an export match those of the model that it was made from.

Measured on golden images, on validation images, and on image files where the export reads them itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.bundle.bundle import Bundle
from convscope.bundle.golden import GoldenImages
from convscope.datasets.batches import evaluation_batches
from convscope.errors import ExportError
from convscope.exporting.conversion_client import ConversionClient
from convscope.exporting.export_images import ExportData
from convscope.exporting.formats import FORMATS
from convscope.formatting import plural
from convscope.progress import progress
from convscope.randomness import generator
from convscope.statistics.intervals import Estimate, wilson_interval
from convscope.statistics.metrics import count_correct

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_SIZE = 32
MAX_FILES = 512

Predict = Callable[["NDArray[np.uint8]"], "NDArray[np.float32]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The difference of two sets of predictions for the same images.

    Attributes:
        images: how many there are; without any, everything else is 0.
        largest: of the differences of a probability.
        mean: of the differences of all probabilities of all images.
        same_labels: how many images have the same predicted class in both.
    """

    images: int
    largest: float
    mean: float
    same_labels: int

    def to_json(self) -> dict[str, Any]:
        """The values, for programs."""
        return asdict(self)

    def describe(self) -> str:
        """The values in one line."""
        return (
            f"{plural(self.images, 'image')}: largest difference of a probability {self.largest:.2g},"
            f" mean {self.mean:.2g}, the same class for {self.same_labels:,}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracies:
    """The accuracy of a model and of its export on the same images, each with its 95 % interval."""

    model: Estimate
    export: Estimate

    @property
    def points_lost(self) -> float:
        """Percentage points by which the export's accuracy is below the model's; negative where it is above."""
        return 100 * (self.model.value - self.export.value)

    def to_json(self) -> dict[str, Any]:
        """The values, for programs."""
        return {"model": self.model.to_json(), "export": self.export.to_json(), "points_lost": self.points_lost}

    def describe(self) -> str:
        """The values in one line."""
        lost = self.points_lost
        change = f"{abs(lost):.2f} points {'lost' if lost > 0 else 'gained'}" if lost else "no difference"
        return f"{_percent(self.model)} of the model, {_percent(self.export)} of the export: {change}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How closely an export matches its model.

    Attributes:
        golden: the difference on the golden images.
        validation: the difference on the validation images.
        accuracy: of both, on the validation images.
        files: the difference on files of validation images, which the export decodes itself; no images where it cannot.
        unreadable: how many of these files the export could not decode.
    """

    golden: Difference
    validation: Difference
    accuracy: Accuracies
    files: Difference
    unreadable: int

    @property
    def reads_files(self) -> bool:
        """Whether the export was given files at all."""
        return self.files.images + self.unreadable > 0

    def to_json(self) -> dict[str, Any]:
        """The values, for programs."""
        values = {
            "golden": self.golden.to_json(),
            "validation": self.validation.to_json(),
            "accuracy": self.accuracy.to_json(),
        }
        if self.reads_files:
            values["as_files"] = self.files.to_json() | {"unreadable": self.unreadable}
        return values

    def describe(self) -> str:
        """One line for each comparison."""
        lines = [
            f"golden      {self.golden.describe()}",
            f"validation  {self.validation.describe()}",
            f"accuracy    {self.accuracy.describe()}",
        ]
        if self.reads_files:
            unreadable = f"; {plural(self.unreadable, 'file')} not decoded" if self.unreadable else ""
            lines.append(f"as files    {self.files.describe()}{unreadable}")
        return "\n".join(lines)


def measure_parity(
    converter: ConversionClient, bundle: Bundle, *, golden: GoldenImages, data: ExportData
) -> tuple[Parity, NDArray[np.float32]]:
    """Predict the same images with an export and with its model, and compare.

    Returns: the comparison, and the export's probabilities of the golden images, (n, classes) float32.

    Raises:
        ExportError: the export's probabilities are not finite.
    """
    golden_probabilities = converter.predict(golden.images)
    # one after the other: the threads of two that take turns would wait for each other
    expected = _predict_validation(bundle.predict, data, description="evaluating the model")
    probabilities = _predict_validation(converter.predict, data, description="evaluating the export")
    if not (np.isfinite(probabilities).all() and np.isfinite(golden_probabilities).all()):
        raise ExportError(
            found=f"an export to {converter.job.to} whose probabilities are not finite",
            expected="probabilities",
            fix="choose another format; please report this",
        )
    files, unreadable = _compare_files(converter, data, expected)
    parity = Parity(
        golden=compare(golden_probabilities, golden.probabilities),
        validation=compare(probabilities, expected),
        accuracy=compare_accuracy(probabilities, expected, data.labels[data.validation]),
        files=files,
        unreadable=unreadable,
    )
    return parity, golden_probabilities


def compare(probabilities: NDArray[np.float32], expected: NDArray[np.float32]) -> Difference:
    """The difference of an export's probabilities to the model's, which are `expected`; each (n, classes) float32."""
    if not len(probabilities):
        return Difference(images=0, largest=0.0, mean=0.0, same_labels=0)
    differences = np.abs(probabilities.astype(np.float64) - expected)
    return Difference(
        images=len(probabilities),
        largest=float(differences.max()),
        mean=float(differences.mean()),
        same_labels=count_correct(probabilities, expected.argmax(axis=1)),
    )


def compare_accuracy(
    probabilities: NDArray[np.float32], expected: NDArray[np.float32], labels: NDArray[np.integer[Any]]
) -> Accuracies:
    """The accuracy of an export, and of its model.

    Args:
        probabilities: of the export, (n, classes) float32.
        expected: those of the model, (n, classes) float32.
        labels: (n,) the true classes.
    """
    model, export = (
        wilson_interval(count_correct(scores, labels), len(labels)) for scores in (expected, probabilities)
    )
    return Accuracies(model=model, export=export)


def _predict_validation(predict: Predict, data: ExportData, *, description: str) -> NDArray[np.float32]:
    """The probabilities of all validation images, (n, classes) float32."""
    rows = data.validation
    batches = evaluation_batches(data.images, data.labels, rows, batch_size=BATCH_SIZE)
    probabilities = []
    with progress(description, len(rows), unit="images") as bar:
        for images, _ in batches:
            probabilities.append(predict(images))
            bar.advance(len(images))
    return np.concatenate(probabilities)


def _compare_files(
    converter: ConversionClient, data: ExportData, expected: NDArray[np.float32]
) -> tuple[Difference, int]:
    """Let the export decode files of validation images.

    Args:
        expected: (n, classes) float32, the model's probabilities of all validation images.

    Returns: the difference on the files that it could decode, and the number of those that it could not.
    """
    if not FORMATS[converter.job.to].reads_files:
        return compare(expected[:0], expected[:0]), 0
    drawn = np.sort(generator(0, "files").permutation(len(data.paths))[:MAX_FILES])
    readable, probabilities = [], []
    with progress("decoding files", len(drawn), unit="images") as bar:
        for first in range(0, len(drawn), BATCH_SIZE):
            paths = [data.paths[number] for number in drawn[first : first + BATCH_SIZE]]
            batch_readable, batch_probabilities = converter.predict_files(paths)
            readable.append(batch_readable)
            probabilities.append(batch_probabilities)
            bar.advance(len(paths))
    is_readable = np.concatenate(readable)
    return compare(np.concatenate(probabilities), expected[drawn[is_readable]]), int((~is_readable).sum())


def _percent(accuracy: Estimate) -> str:
    return f"{accuracy.value:.2%} ({accuracy.low:.2%} to {accuracy.high:.2%})"
