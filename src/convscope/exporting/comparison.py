"""Trial: an export beside the model that it was made from, on golden images, validation images, and files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.bundle.bundle import Bundle
from convscope.bundle.golden import Golden
from convscope.datasets.batches import evaluation_batches
from convscope.errors import ExportError
from convscope.exporting.calibration_data import Material
from convscope.exporting.conversion_client import KINDS, Converter
from convscope.exporting.parity import Accuracies, Difference, compare, judge
from convscope.formatting import plural
from convscope.progress import progress
from convscope.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

AT_ONCE = 32  # images
FILES = 512  # at most

Answer = Callable[["NDArray[np.uint8]"], "NDArray[np.float32]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How the answers of the two differ.

    Attributes:
        golden, validation: on the images as we read them.
        accuracy: of both, on validation images.
        files: the export given files of validation images, the model our reading of them; of an export that reads no
            files there are none.
        unreadable: of these files, how many the export could not read.
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
        """The figures, for programs."""
        said = {
            "golden": self.golden.to_json(),
            "validation": self.validation.to_json(),
            "accuracy": self.accuracy.to_json(),
        }
        return said | ({"as_files": self.files.to_json() | {"unreadable": self.unreadable}} if self.reads_files else {})

    def describe(self) -> str:
        """A line for each comparison, for a person."""
        lines = [
            f"golden      {self.golden.describe()}",
            f"validation  {self.validation.describe()}",
            f"accuracy    {self.accuracy.describe()}",
        ]
        if self.reads_files:
            unreadable = f"; {plural(self.unreadable, 'file')} not read" if self.unreadable else ""
            lines.append(f"as files    {self.files.describe()}{unreadable}")
        return "\n".join(lines)


def try_export(
    converter: Converter, bundle: Bundle, *, golden: Golden, material: Material
) -> tuple[Trial, NDArray[np.float32]]:
    """Have both answer.

    Returns: the comparison, and what the export answers to the golden images, (n, classes).

    Raises:
        ExportError: its answers are not numbers.
    """
    to_golden = converter.answer(golden.images)
    # one after the other: the threads of two that take turns would wait for each other
    expected = _answer_all(bundle.predict, material, who="the model")
    answers = _answer_all(converter.answer, material, who="the export")
    if not (np.isfinite(answers).all() and np.isfinite(to_golden).all()):
        raise ExportError(
            found=f"an export to {converter.order.to} whose answers are not numbers",
            expected="probabilities",
            fix="choose another format; please report this",
        )
    files, unreadable = _compare_files(converter, material, expected)
    trial = Trial(
        golden=compare(to_golden, golden.probabilities),
        validation=compare(answers, expected),
        accuracy=judge(answers, expected, material.labels[material.validation]),
        files=files,
        unreadable=unreadable,
    )
    return trial, to_golden


def _answer_all(answer: Answer, material: Material, *, who: str) -> NDArray[np.float32]:
    """The answers to all validation images, (n, classes)."""
    rows = material.validation
    batches = evaluation_batches(material.images, material.labels, rows, batch_size=AT_ONCE)
    answers = []
    with progress(f"judging {who}", len(rows), unit="images") as bar:
        for images, _ in batches:
            answers.append(answer(images))
            bar.advance(len(images))
    return np.concatenate(answers)


def _compare_files(converter: Converter, material: Material, expected: NDArray[np.float32]) -> tuple[Difference, int]:
    """Some validation images, given to the export as files; `expected`: (n, classes), the model's answers to all."""
    if not KINDS[converter.order.to].reads_files:
        return compare(expected[:0], expected[:0]), 0
    places = np.sort(generator(0, "files").permutation(len(material.paths))[:FILES])
    readable, answers = [], []
    with progress("reading files", len(places), unit="images") as bar:
        for first in range(0, len(places), AT_ONCE):
            paths = [material.paths[place] for place in places[first : first + AT_ONCE]]
            some, rows = converter.answer_files(paths)
            readable.append(some)
            answers.append(rows)
            bar.advance(len(paths))
    read = np.concatenate(readable)
    return compare(np.concatenate(answers), expected[places[read]]), int((~read).sum())
