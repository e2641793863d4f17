"""Inside a trained model, on ONNX Runtime alone: what each block sees, what speaks for each class, the filters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from convscope.bundle.bundle import (
    Bundle,
    check_finite,
    facts_of,
    open_bundle,
    read_model,
    start_session,
)
from convscope.errors import BundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

INSIDE, WEIGHTS = "inside.onnx", "weights.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What is to be seen of one image.

    Attributes:
        probabilities: (classes,) float32.
        features: (width,) float32, what they come from.
        activations: (h, w, channels) float32 of each block, by name, first to last.
        heat: (h, w, classes) float32, 0 or more: what each place of the last block adds to the logit of each class.
    """

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]
    activations: dict[str, NDArray[np.float32]]
    heat: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Inside:
    """The same network as a bundle's, with its blocks and its heat maps as outputs; its weights lie beside."""

    bundle: Bundle
    session: Any
    weights: Path

    @property
    def blocks(self) -> tuple[str, ...]:
        """`block1`, `block2`, ..., first to last."""
        return tuple(self.bundle.facts["blocks"])

    @property
    def convolutions(self) -> tuple[str, ...]:
        """The names of the convolutions, first to last."""
        return tuple(self.bundle.facts["convolutions"])

    def look(self, image: NDArray[np.uint8]) -> Look:
        """Look into the network while it answers an image (size, size, channels) uint8.

        Raises:
            BundleError: the model answers with what is no number.
        """
        names = ["probabilities", "features", "heat", *self.blocks]
        probabilities, features, heat, *blocks = (
            np.asarray(output[0], np.float32) for output in self.session.run(names, {"image": image[np.newaxis]})
        )
        check_finite(self.bundle.path, probabilities, features, heat)
        return Look(probabilities, features, dict(zip(self.blocks, blocks, strict=True)), heat)

    def filters(self, convolution: str) -> NDArray[np.float32]:
        """The weights of a convolution, (height, width, input channels, filters) float32.

        Raises:
            ValueError: there is no such convolution.
            BundleError: the weights are missing or damaged.
        """
        if convolution not in self.convolutions:
            raise ValueError(f"found layer {convolution!r}; expected one of {', '.join(self.convolutions)}")
        try:
            with safe_open(self.weights, framework="numpy") as file:
                return np.asarray(file.get_tensor(f"{convolution}/kernel"), np.float32)
        except (OSError, SafetensorError) as error:
            raise BundleError(
                found=f"{self.weights}: {error}", expected="the weights of this model", fix="train again"
            ) from None

    def first_filters(self) -> tuple[str, NDArray[np.float32]]:
        """The name and the weights of the first convolution, the one that sees the image."""
        return self.convolutions[0], self.filters(self.convolutions[0])


def open_inside(model: Path) -> Inside:
    """Open the inside of a model: `inside.onnx`, which lies beside `model.onnx` in a run.

    Args:
        model: a run folder, a model folder, or the `model.onnx` in one.

    Raises:
        BundleError: there is none, or it is not the inside of this model.
    """
    return inside_of(open_bundle(model))


def inside_of(bundle: Bundle) -> Inside:
    """The inside that lies beside a model which is open already.

    Raises:
        BundleError: there is none, or it is not the inside of this model.
    """
    path = bundle.path.with_name(INSIDE)
    if not path.is_file():
        raise BundleError(
            found=f"no {INSIDE} beside {bundle.path}",
            expected="the folder `model` of a run, whole, which convscope of this version writes",
            fix="name the run folder, or train again",
        )
    data = read_model(path)
    session = start_session(path, data)
    facts = facts_of(path, data, session.get_modelmeta().custom_metadata_map)
    shown = {output.name for output in session.get_outputs()}
    blocks, convolutions = bundle.facts.get("blocks", []), bundle.facts.get("convolutions", [])
    is_whole = blocks and convolutions and {"probabilities", "features", "heat", *blocks} <= shown
    if not is_whole or "weights" not in facts or facts["weights"] != bundle.facts.get("weights"):
        raise BundleError(
            found=f"{path} of another model than {bundle.path}", expected="the inside of this model", fix="train again"
        )
    return Inside(bundle, session, path.with_name(WEIGHTS))
