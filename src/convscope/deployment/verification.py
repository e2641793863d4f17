"""The verb `verify`: does a model answer on this machine as it did where it was written?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convscope.deployment.bundle import open_bundle
from convscope.errors import BundleError

TOLERANCE = 1e-4  # of a probability, where the model names none; in float32, processors differ by some 1e-7


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: the largest difference of a probability, on how many images, and how much there may be."""

    model: Path
    images: int
    difference: float
    tolerance: float
    same_labels: int

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
        return (
            f"{'agree' if self.agrees else 'differ'}: largest difference of a probability {self.difference:.2g}"
            f" (at most {self.tolerance:g}), the same label on {self.same_labels} of {self.images} golden images"
        )


def verify(model: Path) -> Verification:
    """Answer a model's golden images on this machine, and compare.

    Args:
        model: a run folder or a .onnx file.

    Raises:
        BundleError: it cannot be used, or carries no golden images.
    """
    bundle = open_bundle(model)
    golden = bundle.golden
    if golden is None:
        raise BundleError(
            found=f"{bundle.path} carries no golden images",
            expected="a model with images and the answers that it gave when it was written",
            fix="write it again with this version: train, or `convscope train DATA --out RUN --resume` on its run",
        )
    answers = bundle.predict(golden.images)
    return Verification(
        model=bundle.path,
        images=len(answers),
        difference=float(np.abs(answers - golden.probabilities).max()),
        tolerance=float(bundle.facts.get("tolerance", TOLERANCE)),
        same_labels=int((answers.argmax(axis=1) == golden.probabilities.argmax(axis=1)).sum()),
    )
