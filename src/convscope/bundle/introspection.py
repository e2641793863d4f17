"""Introspection: the filters, activations and heat maps of a trained model, on ONNX Runtime alone.

inside.onnx is the network of model.onnx with more outputs: the activations of each block, and a heat map of each class
(HiResCAM, `networks/hirescam.py`). Whoever shows a model's inside uses this module: `explain`, `serve`, the notebook.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from convscope.bundle.bundle import INSIDE_FILE, WEIGHTS_FILE, Bundle, check_finite, open_bundle
from convscope.bundle.model_file import read_description, read_model, start_session
from convscope.errors import BundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class IntrospectionResult:
    """The outputs of a network for one image, those of its blocks too.

    Attributes:
        probabilities: (classes,) float32.
        features: (width,) float32, the input of the last layer.
        activations: (h, w, channels) float32 of each block by name, first to last.
        heat: (h, w, classes) float32, 0 or more, the heat map of each class: what each position of the last block adds
            to the logit of the class. In logits, so the maps of all classes of an image have one scale.
    """

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]
    activations: dict[str, NDArray[np.float32]]
    heat: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Introspection:
    """The network of a bundle with its blocks and heat maps as outputs, and the file of its weights.

    Attributes:
        bundle: the model.
        session: of ONNX Runtime, on inside.onnx.
        weights: weights.safetensors, which only `filters` reads.
    """

    bundle: Bundle
    session: Any
    weights: Path

    @property
    def blocks(self) -> tuple[str, ...]:
        """The names of the blocks, `block1`, `block2`, ..., first to last."""
        return tuple(self.bundle.facts["blocks"])

    @property
    def convolutions(self) -> tuple[str, ...]:
        """The names of the convolutions, first to last."""
        return tuple(self.bundle.facts["convolutions"])

    def run(self, image: NDArray[np.uint8]) -> IntrospectionResult:
        """Compute the activations, the heat maps and the prediction of an image.

        Args:
            image: (size, size, channels) uint8.

        Raises:
            BundleError: an output is not finite.
        """
        names = ["probabilities", "features", "heat", *self.blocks]
        probabilities, features, heat, *blocks = (
            np.asarray(output[0], np.float32) for output in self.session.run(names, {"image": image[np.newaxis]})
        )
        check_finite(self.bundle.path, probabilities, features, heat)
        return IntrospectionResult(probabilities, features, dict(zip(self.blocks, blocks, strict=True)), heat)

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
        """The name and the weights of the first convolution, whose input is the image."""
        return self.convolutions[0], self.filters(self.convolutions[0])


def open_introspection(model: Path | Bundle) -> Introspection:
    """Open the inside.onnx of a model, which lies beside its model.onnx.

    Args:
        model: a run folder, a model folder, the `model.onnx` in one, or a bundle that is open already.

    Raises:
        BundleError: there is none, it is damaged, or another model's.
    """
    bundle = model if isinstance(model, Bundle) else open_bundle(model)
    if not has_introspection(bundle):
        raise BundleError(
            found=f"no {INSIDE_FILE} beside {bundle.path}",
            expected="the complete folder `model` of a run that this version of convscope trained",
            fix="name the run folder, or train again",
        )
    path = bundle.path.with_name(INSIDE_FILE)
    data = read_model(path)
    session = start_session(path, data)
    facts = read_description(path, data, session.get_modelmeta().custom_metadata_map)
    outputs = {output.name for output in session.get_outputs()}
    blocks, convolutions = bundle.facts.get("blocks", []), bundle.facts.get("convolutions", [])
    is_complete = blocks and convolutions and {"probabilities", "features", "heat", *blocks} <= outputs
    if not is_complete or "weights" not in facts or facts["weights"] != bundle.facts.get("weights"):
        raise BundleError(
            found=f"{path} of another model than {bundle.path}",
            expected=f"the {INSIDE_FILE} of this model",
            fix="copy the complete folder again, or train again",
        )
    return Introspection(bundle, session, path.with_name(WEIGHTS_FILE))


def has_introspection(bundle: Bundle) -> bool:
    """Whether an inside.onnx lies beside a model."""
    return bundle.path.with_name(INSIDE_FILE).is_file()
