"""Bundle: a trained model as one ONNX file that knows its classes, its image size and how to make an image fit."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from convscope.data.decoding import Square
from convscope.errors import BundleError
from convscope.run import available_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
METADATA_KEY = "convscope"
MAX_BYTES = 1024**3
QUIET = 3  # ONNX Runtime's log level: errors only


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model ready to answer.

    Attributes:
        path: the ONNX file.
        classes: names, in the order of the probabilities.
        square: what an image becomes before the model sees it.
        facts: all that the model says of itself, as in model.json.
    """

    path: Path
    classes: tuple[str, ...]
    square: Square
    facts: dict[str, Any]
    session: onnxruntime.InferenceSession

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The probability of each class, (n, classes) float32, for images (n, size, size, channels) uint8."""
        return np.asarray(self.session.run(["probabilities"], {"image": images})[0], np.float32)


def open_bundle(model: Path) -> Bundle:
    """Open the model of a run folder, a model folder, or an ONNX file.

    Raises:
        BundleError: there is none, or it is not one that convscope wrote.
    """
    path = _find(model)
    if path.stat().st_size > MAX_BYTES:
        raise BundleError(
            found=f"{path} has over {MAX_BYTES // 2**30} GB", expected="a model of convscope", fix="check the path"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    options.log_severity_level = QUIET
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "null")
        facts = json.loads(text)
    except Exception as error:  # ONNX Runtime's errors share no base class but this
        reason = re.sub(r"\s+", " ", str(error))[:200]
        raise BundleError(
            found=f"{path} cannot be opened: {reason}", expected="a model of convscope", fix="export it again"
        ) from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise BundleError(
            found=f"{path} has no description of convscope, or one of another format",
            expected=f"a model that convscope wrote, of format {FORMAT}",
            fix="train with `convscope train`, or use the convscope that wrote it",
        )
    try:
        square = Square(int(facts["image_size"]), facts["fit"], int(facts["channels"]))
        return Bundle(path, tuple(map(str, facts["classes"])), square, facts, session)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            found=f"{path} whose description is damaged at {error}",
            expected="a model of convscope",
            fix="export it again",
        ) from None


def _find(model: Path) -> Path:
    for place in (model, model / "model.onnx", model / "model" / "model.onnx"):
        if place.is_file():
            return place
    unfinished = (model / "recipe.toml").is_file()
    raise BundleError(
        found=f"no model in {model}" + (": its training is not finished" if unfinished else ""),
        expected="a run folder whose training is finished, or a .onnx file",
        fix="finish it with `convscope train DATA --out RUN --resume`" if unfinished else "check the path",
    )
