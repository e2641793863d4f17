"""A trained network to a bundle: one ONNX file that answers as the network does. Needs TensorFlow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import convscope
from convscope.deployment.bundle import FORMAT, METADATA_KEY, open_bundle
from convscope.errors import BundleError
from convscope.models.catalog import outputs_of, read_weights
from convscope.models.frameworks import tf
from convscope.run import sync_folder, write_json, write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.recipe import Recipe

OPSET = 17
TOLERANCE = 1e-4  # of a probability; measured differences are near 1e-7
GRAPH, WEIGHTS, LABELS, FACTS = "model.onnx", "weights.safetensors", "labels.txt", "model.json"


def seal_model(folder: Path, model: Any, recipe: Recipe, *, classes: Sequence[str], sample: NDArray[np.uint8]) -> None:
    """Write the bundle: model.onnx, model.json, labels.txt, weights; then check that it answers as the network does.

    Args:
        folder: where it goes; a model that is there is replaced, and nothing else ever is.
        model: the `keras.Model`.
        recipe: that it was built by.
        classes: names in the order of the probabilities.
        sample: (n, size, size, channels) uint8, images to compare the answers on.

    The largest difference of a probability between the network and the bundle stands in model.json as `difference`.

    Raises:
        BundleError: they differ by more than float32 rounding explains, the network's answers are no numbers, or the
            folder holds something else than a model.
    """
    folder = folder.absolute()
    _check_replaceable(folder)
    facts = describe_model(recipe, classes)
    answers = _finite_answers(model, sample)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write_whole(part / GRAPH, to_onnx(model, facts))
    write_whole(part / WEIGHTS, _weights_file(model))
    write_whole(part / LABELS, "".join(f"{name}\n" for name in classes))
    difference = float(np.abs(open_bundle(part).predict(sample) - answers).max())
    if not difference <= TOLERANCE:
        raise BundleError(
            found=f"the bundle's probabilities differ from the network's by up to {difference:.2g}",
            expected=f"at most {TOLERANCE:g}",
            fix="please report this, with the versions in environment.json",
        )
    write_json(part / FACTS, {**facts, "difference": difference})
    _replace_folder(part, folder)


def describe_model(recipe: Recipe, classes: Sequence[str]) -> dict[str, Any]:
    """What a model says of itself, in model.json and inside model.onnx."""
    return {
        "format": FORMAT,
        "task": "classify",
        "network": recipe.network,
        "classes": list(classes),
        "image_size": recipe.image_size,
        "channels": recipe.channels,
        "fit": recipe.fit,
        "input": {
            "name": "image",
            "shape": ["batch", recipe.image_size, recipe.image_size, recipe.channels],
            "dtype": "uint8",
        },
        "outputs": {"probabilities": ["batch", len(classes)], "features": ["batch", "width"]},
        "version": convscope.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def to_onnx(model: Any, facts: dict[str, Any]) -> bytes:
    """The network as an ONNX graph, uint8 images in, probabilities and features out, its description inside."""
    import tf2onnx

    graph = outputs_of(model, "probabilities", "features")
    shape = (None, facts["image_size"], facts["image_size"], facts["channels"])
    signature = [tf.TensorSpec(shape, tf.uint8, name="image")]
    infer = tf.function(lambda image: graph(image, training=False), input_signature=signature)
    proto, _ = tf2onnx.convert.from_function(infer, input_signature=signature, opset=OPSET)
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(facts, ensure_ascii=False)
    return bytes(proto.SerializeToString())


def _check_replaceable(folder: Path) -> None:
    inside = [each.name for each in folder.iterdir()] if folder.is_dir() else [""] * folder.exists()
    strange = sorted(set(inside) - {GRAPH, WEIGHTS, LABELS, FACTS})
    if strange:
        raise BundleError(
            found=f"{folder / strange[0]}, which is no part of a model",
            expected="a new folder, or one with a model that may be replaced",
            fix="choose another folder",
        )


def _finite_answers(model: Any, sample: NDArray[np.uint8]) -> NDArray[np.float32]:
    answers: NDArray[np.float32] = model(sample, training=False).numpy()
    if not np.isfinite(answers).all():
        raise BundleError(
            found="a network whose answers are not numbers: its training diverged",
            expected="probabilities",
            fix="train anew with a smaller learning rate (flag --learning-rate)",
        )
    return answers


def _weights_file(model: Any) -> bytes:
    from safetensors.numpy import save

    return save(dict(sorted(read_weights(model).items())))


def _replace_folder(part: Path, place: Path) -> None:
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    part.rename(place)
    sync_folder(place.parent)
    shutil.rmtree(old, ignore_errors=True)
