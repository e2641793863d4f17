"""The verb `verify`: does a model answer on this machine as it did where it was written, and is its folder whole?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convscope.bundle import checksum as seal
from convscope.bundle.bundle import FACTS, LABELS, Bundle, labels_text, open_bundle
from convscope.bundle.introspection import INSIDE, WEIGHTS, inside_of
from convscope.bundle.neighbours import NEIGHBOURS, has_neighbours, neighbours_of
from convscope.errors import BundleError, RunError
from convscope.files import hash_file, read_json

TOLERANCE = 1e-4  # of a probability, where the model names none; in float32, processors differ by some 1e-7


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: the largest difference of a probability, on how many images, and how much there may be.

    `sealed`: whether the file has a seal, which was looked at when it was opened. `beside`: the files beside the model
    that belong to it, where a folder was named.
    """

    model: Path
    images: int
    difference: float
    tolerance: float
    same_labels: int
    sealed: bool
    beside: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether the answers are those that were given when the model was written."""
        return self.difference <= self.tolerance

    def check(self) -> None:
        """Do nothing where the answers agree.

        Raises:
            BundleError: they differ.
        """
        if not self.agrees:
            raise BundleError(
                found=f"{self.model}, whose answers here {self.describe()}",
                expected="the answers that it gave where it was written",
                fix="see whether the file is the one that was written (its SHA-256), and try another onnxruntime",
            )

    def to_json(self) -> dict[str, Any]:
        """The figures, for programs."""
        return {"agrees": self.agrees, **asdict(self), "model": str(self.model)}

    def describe(self) -> str:
        """One line for a person."""
        written = "; not a bit has changed" if self.sealed else ""
        whole = f"; {', '.join(self.beside)} belong to it" if self.beside else ""
        return (
            f"{'agree' if self.agrees else 'differ'}: largest difference of a probability {self.difference:.2g}"
            f" (at most {self.tolerance:g}), the same label on {self.same_labels} of {self.images} golden images"
            f"{written}{whole}"
        )


def verify(model: Path) -> Verification:
    """Answer a model's golden images on this machine, and compare; of a folder also look at what lies beside the model.

    Args:
        model: a run folder or a .onnx file.

    Raises:
        BundleError: it cannot be used, carries no golden images, or what lies beside it is damaged or another model's.
    """
    bundle = open_bundle(model)
    golden = bundle.golden
    answers = bundle.predict(golden.images)
    return Verification(
        model=bundle.path,
        images=len(answers),
        difference=float(np.abs(answers - golden.probabilities).max()),
        tolerance=float(bundle.facts.get("tolerance", TOLERANCE)),
        same_labels=int((answers.argmax(axis=1) == golden.probabilities.argmax(axis=1)).sum()),
        sealed=seal.KEY in bundle.metadata,
        beside=tuple(_files_beside(bundle)) if bundle.path != model else (),
    )


def _files_beside(bundle: Bundle) -> Iterator[str]:
    """The files beside a model that are there, each of which has to be its own."""
    inside, weights, labels, facts = (bundle.path.with_name(name) for name in (INSIDE, WEIGHTS, LABELS, FACTS))
    if inside.is_file():
        inside_of(bundle)
        yield INSIDE
    if weights.is_file():
        if hash_file(weights) != bundle.facts.get("weights"):
            raise _stranger(weights, bundle)
        yield WEIGHTS
    if has_neighbours(bundle):
        neighbours_of(bundle)
        yield NEIGHBOURS
    if labels.is_file():
        if labels.read_bytes() != labels_text(bundle.classes).encode():
            raise _stranger(labels, bundle)
        yield LABELS
    if facts.is_file():
        if _content(facts) != bundle.facts:
            raise _stranger(facts, bundle)
        yield FACTS


def _content(file: Path) -> dict[str, Any] | None:
    """What a JSON file says; None where it is damaged."""
    try:
        return read_json(file)
    except RunError:
        return None


def _stranger(file: Path, bundle: Bundle) -> BundleError:
    return BundleError(
        found=f"{file}, which is damaged or of another model than {bundle.path}",
        expected="the files of one model, as they were written",
        fix="copy the folder again, or train again",
    )
