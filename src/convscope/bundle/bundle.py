"""Bundle: a trained model as an ONNX file with its classes, its image size, and how an image is fitted to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, get_args

import numpy as np
import onnxruntime

from convscope.bundle.golden import GoldenImages
from convscope.bundle.model_file import find_model, read_description, read_model, start_session
from convscope.errors import BundleError
from convscope.images.decoder_pool import InputSpec
from convscope.recipe.validation import Fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

# the files of a bundle: the model, the same with its blocks and heat maps as outputs, what lies beside them
MODEL_FILE, INSIDE_FILE = "model.onnx", "inside.onnx"
WEIGHTS_FILE, NEIGHBOURS_FILE = "weights.safetensors", "neighbours.safetensors"
LABELS_FILE, DESCRIPTION_FILE = "labels.txt", "model.json"
GOLDEN_KEY = "convscope_golden"  # of the golden images, in the metadata of the model file
MAX_SIDE = 4096  # pixels, as in a recipe
MAX_TOLERANCE = 0.05  # of a probability: with more, `verify` would prove nothing
TEXT_FIELDS = ("date", "license", "network", "task", "version", "weights")  # of the description


@dataclass(frozen=True, slots=True)
class Bundle:
    """A trained model, ready to predict.

    Attributes:
        path: the ONNX file.
        sha256: of its content.
        classes: their names, in the order of the probabilities.
        square: the size, fit and channels of the images that the model takes.
        facts: its description, the content of model.json.
        metadata: the metadata of the ONNX file, for other tools too: text by key.
        session: of ONNX Runtime.
    """

    path: Path
    sha256: str
    classes: tuple[str, ...]
    square: InputSpec
    facts: dict[str, Any]
    metadata: dict[str, str]
    session: onnxruntime.InferenceSession

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The probability of each class.

        Args:
            images: (n, size, size, channels) uint8.

        Returns: (n, classes) float32, 0 to 1; each row adds up to 1.

        Raises:
            BundleError: a probability is not finite.
        """
        probabilities = np.asarray(self.session.run(["probabilities"], {"image": images})[0], np.float32)
        check_finite(self.path, probabilities)
        return probabilities

    def predict_with_features(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The probabilities, and the features that the last layer computes them from.

        Args:
            images: (n, size, size, channels) uint8.

        Returns: probabilities (n, classes) float32, as `predict` gives them; features (n, width) float32.

        Raises:
            BundleError: a value is not finite.
        """
        outputs = self.session.run(["probabilities", "features"], {"image": images})
        probabilities, features = (np.asarray(output, np.float32) for output in outputs)
        check_finite(self.path, probabilities, features)
        return probabilities, features

    @property
    def golden(self) -> GoldenImages:
        """The golden images in the file, with the probabilities that the model gave them when it was written.

        Raises:
            BundleError: there are none, or they are damaged.
        """
        text = self.metadata.get(GOLDEN_KEY)
        if text is None:
            raise BundleError(
                found=f"{self.path} contains no golden images",
                expected="a model with images and the probabilities that it gave them when it was written",
                fix="write it with this version: train again, or continue its run (`resume=True`)",
            )
        try:
            return GoldenImages.from_text(text, self.square, len(self.classes))
        except ValueError as error:
            raise BundleError(
                found=f"{self.path} whose golden images are damaged: {error}",
                expected="images with their probabilities",
                fix="export it again",
            ) from None


def open_bundle(model: Path, *, threads: int | None = None) -> Bundle:
    """Open the model of a run folder, a model folder, or an ONNX file.

    Args:
        model: the path of one of these.
        threads: that compute one batch; None: one for each core.

    Raises:
        BundleError: there is none, it is damaged, or convscope did not write it.
    """
    path = find_model(model)
    data = read_model(path)
    session = start_session(path, data, threads=threads)
    metadata = session.get_modelmeta().custom_metadata_map
    facts = read_description(path, data, metadata)
    _check_description(path, facts)
    square, classes = InputSpec(facts["image_size"], facts["fit"], facts["channels"]), tuple(facts["classes"])
    _check_shapes(path, session, square, classes)
    return Bundle(path, hashlib.sha256(data).hexdigest(), classes, square, facts, metadata, session)


def check_finite(path: Path, *outputs: NDArray[np.float32]) -> None:
    """Make sure that all outputs of a model are finite numbers.

    Args:
        path: the model file, for the error.
        outputs: arrays of any shape.

    Raises:
        BundleError: there is a NaN or an infinity.
    """
    if not all(np.isfinite(output).all() for output in outputs):
        raise BundleError(
            found=f"{path}, whose outputs are not finite",
            expected="probabilities",
            fix="check with `convscope verify` whether it is the file that was written; train or export it again",
        )


def labels_text(classes: Iterable[str]) -> str:
    """The content of labels.txt, for other tools: the classes, one a line."""
    return "".join(f"{name}\n" for name in classes)


def _check_description(path: Path, facts: dict[str, Any]) -> None:
    """Make sure that each value of a description has the type and the range that its readers rely on."""
    size, classes, tolerance = facts.get("image_size"), facts.get("classes"), facts.get("tolerance", 0.0)
    is_valid = {
        "image_size": type(size) is int and 1 <= size <= MAX_SIDE,
        "channels": facts.get("channels") in (1, 3),
        "fit": facts.get("fit") in get_args(Fit),
        "classes": _is_text_list(classes) and len(classes) == len(set(classes)) > 0,
        "tolerance": type(tolerance) in (int, float) and 0 <= tolerance <= MAX_TOLERANCE,
        **{name: _is_text_list(facts.get(name, [])) for name in ("blocks", "convolutions")},
        **{name: isinstance(facts.get(name, {}), dict) for name in ("data", "metrics", "neighbours")},
        **{name: isinstance(facts.get(name, ""), str) for name in TEXT_FIELDS},
    }
    for name, valid in is_valid.items():
        if not valid:
            raise BundleError(
                found=f"{path} whose description is damaged at {name!r}",
                expected="a model of convscope",
                fix="export it again",
            )


def _is_text_list(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def _check_shapes(path: Path, session: Any, square: InputSpec, classes: tuple[str, ...]) -> None:
    """Make sure that the inputs and outputs of the graph are those of the description."""
    inputs = {value.name: (value.type, value.shape[1:]) for value in session.get_inputs()}
    outputs = {value.name: value.shape[1:] for value in session.get_outputs()}
    expected = {"image": ("tensor(uint8)", list(square.shape))}
    if inputs != expected or outputs.get("probabilities") != [len(classes)]:
        raise BundleError(
            found=f"{path} whose graph does not match its description",
            expected=f"a graph from images {square.shape} uint8 to the probabilities of {len(classes)} classes",
            fix="export it again",
        )
