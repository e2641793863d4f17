"""The verb `verify`: does a model predict here as it did where it was written, and are its files intact?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convscope.bundle import checksum
from convscope.bundle.bundle import (
    DESCRIPTION_FILE,
    INSIDE_FILE,
    LABELS_FILE,
    NEIGHBOURS_FILE,
    WEIGHTS_FILE,
    Bundle,
    labels_text,
    open_bundle,
)
from convscope.bundle.introspection import has_introspection, open_introspection
from convscope.bundle.neighbours import has_neighbours, open_neighbours
from convscope.errors import BundleError, RunError
from convscope.files import hash_file, read_json
from convscope.statistics.metrics import count_correct

TOLERANCE = 1e-4  # of a probability, where the model names none; in float32, processors differ by some 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A comparison of predictions with those of the golden images, and the files that are intact.

    Attributes:
        model: the file.
        num_images: golden images.
        difference: the largest of a probability.
        tolerance: the largest that is allowed.
        same_labels: golden images with the same predicted class.
        has_checksum: whether the file has one; opening the file compares it.
        files: the other files of the bundle that are there, all intact; none where the file itself was named.
    """

    model: Path
    num_images: int
    difference: float
    tolerance: float
    same_labels: int
    has_checksum: bool
    files: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether the predictions are those of the golden images."""
        return self.difference <= self.tolerance

    def check(self) -> None:
        """Make sure that the predictions agree.

        Raises:
            BundleError: they differ.
        """
        if not self.agrees:
            raise BundleError(
                found=f"{self.model}, whose predictions here {self.describe()}",
                expected="the probabilities that it gave where it was written",
                fix="check whether the file is the one that was written (its SHA-256), and try another onnxruntime",
            )

    def to_json(self) -> dict[str, Any]:
        """The result, for programs."""
        return {
            "agrees": self.agrees,
            "model": str(self.model),
            "images": self.num_images,
            "difference": self.difference,
            "tolerance": self.tolerance,
            "same_labels": self.same_labels,
            "sealed": self.has_checksum,
            "beside": self.files,
        }

    def describe(self) -> str:
        """The result in one line."""
        return (
            f"{'agree' if self.agrees else 'differ'}: largest difference of a probability {self.difference:.2g}"
            f" (at most {self.tolerance:g}), the same label on {self.same_labels} of {self.num_images} golden images"
            f"{self._describe_files()}"
        )

    def _describe_files(self) -> str:
        if self.has_checksum:
            return "; all files intact" if self.files else "; the file is intact"
        return f"; {', '.join(self.files)} intact" if self.files else ""


def verify(model: Path) -> Verification:
    """Predict a model's golden images on this machine, and compare; for a folder, check the model's other files too.

    Args:
        model: a run folder, a model folder, or a .onnx file.

    Raises:
        BundleError: it cannot be used, contains no golden images, or another of its files is damaged or another
            model's.
    """
    bundle = open_bundle(model)
    golden = bundle.golden
    probabilities = bundle.predict(golden.images)
    return Verification(
        model=bundle.path,
        num_images=len(probabilities),
        difference=float(np.abs(probabilities - golden.probabilities).max()),
        tolerance=float(bundle.facts.get("tolerance", TOLERANCE)),
        same_labels=count_correct(probabilities, golden.probabilities.argmax(axis=1)),
        has_checksum=checksum.KEY in bundle.metadata,
        files=tuple(_check_files(bundle)) if bundle.path != model else (),
    )


def _check_files(bundle: Bundle) -> Iterator[str]:
    """The names of the files beside the model that are there; each has to be intact and this model's."""
    if has_introspection(bundle):
        open_introspection(bundle)
        yield INSIDE_FILE
    if _check_file(bundle, WEIGHTS_FILE, lambda file: hash_file(file) == bundle.facts.get("weights")):
        yield WEIGHTS_FILE
    if has_neighbours(bundle):
        open_neighbours(bundle)
        yield NEIGHBOURS_FILE
    if _check_file(bundle, LABELS_FILE, lambda file: file.read_bytes() == labels_text(bundle.classes).encode()):
        yield LABELS_FILE
    if _check_file(bundle, DESCRIPTION_FILE, lambda file: read_json(file) == bundle.facts):
        yield DESCRIPTION_FILE


def _check_file(bundle: Bundle, name: str, is_intact: Callable[[Path], bool]) -> bool:
    """Whether a file is there; if it is, it has to be intact."""
    file = bundle.path.with_name(name)
    if not file.is_file():
        return False
    try:
        intact = is_intact(file)
    except (OSError, RunError):  # it cannot be read
        intact = False
    if not intact:
        raise _not_intact(file, bundle)
    return True


def _not_intact(file: Path, bundle: Bundle) -> BundleError:
    return BundleError(
        found=f"{file}, which is damaged or of another model than {bundle.path}",
        expected="the files of one model, as they were written",
        fix="copy the folder again, or train again",
    )
