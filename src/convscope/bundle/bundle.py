"""Bundle: a trained model as one ONNX file that knows its classes, its image size and how to make an image fit."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, get_args

import numpy as np
import onnxruntime

from convscope.bundle.checksum import has_seal, is_intact
from convscope.bundle.golden import Golden
from convscope.bundle.onnx_safety import find_danger
from convscope.environment import available_cores
from convscope.errors import BundleError
from convscope.images.decoding import Square
from convscope.recipe.recipe import Fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
METADATA_KEY, GOLDEN_KEY = "convscope", "convscope_golden"
LABELS, FACTS = "labels.txt", "model.json"
MAX_BYTES = 1024**3
MOST_PIXELS = 4096  # along the side of an image, as a recipe has them
MOST_TOLERANCE = 0.05  # of a probability: with more, `verify` would prove nothing
TEXTS = ("date", "license", "network", "task", "version", "weights")  # of the description
QUIET = 3  # ONNX Runtime's log level: errors only


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model ready to answer.

    Attributes:
        path: the ONNX file.
        sha256: of its content.
        classes: names, in the order of the probabilities.
        square: what an image becomes before the model sees it.
        facts: all that the model says of itself, as in model.json.
        metadata: the same for other tools, as ONNX keeps it: text by key.
    """

    path: Path
    sha256: str
    classes: tuple[str, ...]
    square: Square
    facts: dict[str, Any]
    metadata: dict[str, str]
    session: onnxruntime.InferenceSession

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The probability of each class, (n, classes) float32, for images (n, size, size, channels) uint8.

        Raises:
            BundleError: the model answers with what is no number.
        """
        answers = np.asarray(self.session.run(["probabilities"], {"image": images})[0], np.float32)
        check_finite(self.path, answers)
        return answers

    def see(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The probabilities, as `predict` gives them, and the features (n, width) float32 that they come from.

        Raises:
            BundleError: the model answers with what is no number.
        """
        outputs = self.session.run(["probabilities", "features"], {"image": images})
        probabilities, features = (np.asarray(output, np.float32) for output in outputs)
        check_finite(self.path, probabilities, features)
        return probabilities, features

    @property
    def golden(self) -> Golden:
        """The images that it carries with the answers that it gave when it was written.

        Raises:
            BundleError: it has none, or they are damaged.
        """
        text = self.metadata.get(GOLDEN_KEY)
        if text is None:
            raise BundleError(
                found=f"{self.path} carries no golden images",
                expected="a model with images and the answers that it gave when it was written",
                fix="write it again with this version: train, or `convscope train DATA --out RUN --resume` on its run",
            )
        try:
            return Golden.from_text(text, self.square, len(self.classes))
        except ValueError as error:
            raise BundleError(
                found=f"{self.path} whose golden images are damaged: {error}",
                expected="images with their probabilities",
                fix="export it again",
            ) from None


def open_bundle(model: Path, *, threads: int | None = None) -> Bundle:
    """Open the model of a run folder, a model folder, or an ONNX file.

    Args:
        model: the place.
        threads: that one answer is computed in; None: one for each core.

    Raises:
        BundleError: there is none, or it is not one that convscope wrote.
    """
    path = find_model(model)
    data = read_model(path)
    session = start_session(path, data, threads=threads)
    metadata = session.get_modelmeta().custom_metadata_map
    facts = facts_of(path, data, metadata)
    _check_facts(path, facts)
    square, classes = Square(facts["image_size"], facts["fit"], facts["channels"]), tuple(facts["classes"])
    _check_shapes(path, session, square, classes)
    return Bundle(path, hashlib.sha256(data).hexdigest(), classes, square, facts, metadata, session)


def check_finite(path: Path, *answers: NDArray[np.float32]) -> None:
    """Do nothing where all that a model answered are numbers.

    Raises:
        BundleError: they are not.
    """
    if not all(np.isfinite(each).all() for each in answers):
        raise BundleError(
            found=f"{path}, whose answers are no numbers",
            expected="probabilities",
            fix="see with `convscope verify` whether it is the file that was written; train or export it again",
        )


def labels_text(classes: Iterable[str]) -> str:
    """What `labels.txt` beside a model says, for other tools: its classes, one a line."""
    return "".join(f"{name}\n" for name in classes)


def find_model(model: Path) -> Path:
    """The ONNX file of a run folder, a model folder, or itself.

    Raises:
        BundleError: there is none.
    """
    for place in (model, model / "model.onnx", model / "model" / "model.onnx"):
        if place.is_file():
            return place
    unfinished = (model / "recipe.toml").is_file()
    raise BundleError(
        found=f"no model in {model}" + (": its training is not finished" if unfinished else ""),
        expected="a run folder whose training is finished, or a .onnx file",
        fix="finish it with `convscope train DATA --out RUN --resume`" if unfinished else "check the path",
    )


def read_model(path: Path) -> bytes:
    """The bytes of an ONNX file that may be run.

    Raises:
        BundleError: it is too large, cannot be read, has changed since it was written, or wants more than a network of
            ours needs.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BundleError(
                found=f"{path} has over {MAX_BYTES // 2**30} GB", expected="a model of convscope", fix="check the path"
            )
        data = path.read_bytes()
        danger = find_danger(data)
    except (OSError, ValueError) as error:
        raise _cannot_be_opened(path, error) from None
    if danger:
        raise BundleError(
            found=f"{path} with {danger}",
            expected="a network that is one file of plain operators, as convscope writes it",
            fix="do not use it unless you know who made it; train or export it again",
        )
    if has_seal(data) and not is_intact(data):
        raise _changed(path)
    return data


def start_session(path: Path, data: bytes, *, threads: int | None = None) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the bytes of a file.

    Raises:
        BundleError: they are no ONNX model.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.log_severity_level = QUIET
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class but this
        raise _cannot_be_opened(path, error) from None


def facts_of(path: Path, data: bytes, metadata: dict[str, str]) -> dict[str, Any]:
    """What a model says of itself.

    Args:
        path: the file, for errors.
        data: its bytes, as `read_model` gives them.
        metadata: what ONNX Runtime finds in it.

    Raises:
        BundleError: it is not one of convscope's, or of another format, or has lost the seal that it was written with.
    """
    try:
        facts = json.loads(metadata.get(METADATA_KEY, "null"))
    except (ValueError, RecursionError) as error:
        raise _cannot_be_opened(path, error) from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise BundleError(
            found=f"{path} has no description of convscope, or one of another format",
            expected=f"a model that convscope wrote, of format {FORMAT}",
            fix="train with `convscope train`, or use the convscope that wrote it",
        )
    if facts.get("sealed") and not has_seal(data):
        raise _changed(path)
    return facts


def _check_facts(path: Path, facts: dict[str, Any]) -> None:
    """What the description says is of the kind that everybody who reads it takes it for."""
    size, classes, tolerance = facts.get("image_size"), facts.get("classes"), facts.get("tolerance", 0.0)
    holds = {
        "image_size": type(size) is int and 1 <= size <= MOST_PIXELS,
        "channels": facts.get("channels") in (1, 3),
        "fit": facts.get("fit") in get_args(Fit),
        "classes": _is_texts(classes) and len(classes) == len(set(classes)) > 0,
        "tolerance": type(tolerance) in (int, float) and 0 <= tolerance <= MOST_TOLERANCE,
        **{name: _is_texts(facts.get(name, [])) for name in ("blocks", "convolutions")},
        **{name: isinstance(facts.get(name, {}), dict) for name in ("data", "metrics", "neighbours")},
        **{name: isinstance(facts.get(name, ""), str) for name in TEXTS},
    }
    for name, is_so in holds.items():
        if not is_so:
            raise BundleError(
                found=f"{path} whose description is damaged at {name!r}",
                expected="a model of convscope",
                fix="export it again",
            )


def _is_texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(each, str) and each for each in value)


def _check_shapes(path: Path, session: Any, square: Square, classes: tuple[str, ...]) -> None:
    """The graph takes the images and gives the probabilities that the description speaks of."""
    inputs = {each.name: (each.type, each.shape[1:]) for each in session.get_inputs()}
    outputs = {each.name: each.shape[1:] for each in session.get_outputs()}
    expected = {"image": ("tensor(uint8)", list(square.shape))}
    if inputs != expected or outputs.get("probabilities") != [len(classes)]:
        raise BundleError(
            found=f"{path} whose graph and description do not belong together",
            expected=f"a graph from images {square.shape} uint8 to the probabilities of {len(classes)} classes",
            fix="export it again",
        )


def _changed(path: Path) -> BundleError:
    return BundleError(
        found=f"{path}, which has changed since it was written: its content is not that of its seal",
        expected="the file as it was written",
        fix="copy it again from where it came from, or write it again: train, or export",
    )


def _cannot_be_opened(path: Path, error: Exception) -> BundleError:
    reason = re.sub(r"\s+", " ", str(error))[:200]
    return BundleError(
        found=f"{path} cannot be opened: {reason}", expected="a model of convscope", fix="export it again"
    )
