"""Writes the bundle of a trained network, and compares its predictions with the network's. Needs TensorFlow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import convscope
from convscope.bundle.bundle import (
    DESCRIPTION_FILE,
    GOLDEN_KEY,
    INSIDE_FILE,
    LABELS_FILE,
    MODEL_FILE,
    NEIGHBOURS_FILE,
    WEIGHTS_FILE,
    labels_text,
    open_bundle,
)
from convscope.bundle.checksum import with_checksum
from convscope.bundle.golden import draw_golden
from convscope.bundle.model_file import FORMAT, METADATA_KEY, start_session
from convscope.bundle.neighbour_selection import build_neighbour_index
from convscope.bundle.verification import TOLERANCE
from convscope.datasets.batches import evaluation_batches
from convscope.datasets.memory_map import RowReader
from convscope.errors import BundleError
from convscope.exporting.onnx_graphs import introspection_graph, metadata_of, prediction_graph, to_bytes
from convscope.files import explain_write_errors, staged_folder, write_atomic, write_json
from convscope.images.decoder_pool import InputSpec
from convscope.networks.catalog import convolution_names, read_weights
from convscope.networks.hirescam import block_names
from convscope.statistics.intervals import wilson_interval
from convscope.statistics.metrics import count_correct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.datasets.dataset import Dataset
    from convscope.recipe.resolved import ResolvedRecipe

FILES = {MODEL_FILE, INSIDE_FILE, WEIGHTS_FILE, NEIGHBOURS_FILE, LABELS_FILE, DESCRIPTION_FILE}
NUM_COMPARED = 32  # images on which a bundle is compared with its network
BATCH_SIZE = 32

# images (n, size, size, channels) uint8 -> probabilities (n, classes) or features (n, width), float32
Compute = Callable[["NDArray[np.uint8]"], "NDArray[np.float32]"]


def write_bundle(model: Any, folder: Path, *, recipe: ResolvedRecipe, dataset: Dataset) -> None:
    """Write a trained network as a bundle: model.onnx, its description, and the files beside it.

    The bundle's predictions are compared with the network's, and its accuracy on the validation images is part of its
    description. Some of the training images go into the neighbour index beside it.

    Args:
        model: a `keras.Model`, in float32.
        folder: where the bundle goes. A bundle that is there is replaced, nothing else ever is.
        recipe: that the network was built by.
        dataset: that it was trained on.

    Raises:
        BundleError: the bundle's probabilities differ from the network's by more than float32 rounding explains, they
            are not finite, or the folder cannot be written or contains something else than a bundle.
    """
    folder = folder.absolute()
    with explain_write_errors(folder, BundleError):
        _check_replaceable(folder)
    rows = dataset.rows("validation")
    sample = RowReader(dataset.images)[rows[:NUM_COMPARED]]
    expected = _predict_finite(model, sample)
    weights = _encode_weights(model)
    inside = introspection_graph(model, (recipe.image_size, recipe.image_size, recipe.channels))
    graph = prediction_graph(inside)
    predict, compute_features = _outputs_of(to_bytes(graph, {}))
    difference = _compare(predict(sample), expected)
    weights_sha256 = hashlib.sha256(weights).hexdigest()
    neighbours, neighbours_facts = build_neighbour_index(
        compute_features, dataset, weights=weights_sha256, seed=recipe.seed
    )
    facts = describe_model(model, recipe, dataset) | {
        "weights": weights_sha256,
        "neighbours": neighbours_facts,
        "difference": difference,
        "metrics": evaluate_validation(predict, dataset),
    }
    golden = draw_golden(predict, InputSpec(recipe.image_size, recipe.fit, recipe.channels), seed=recipe.seed)
    metadata = metadata_of(facts) | {METADATA_KEY: json.dumps(facts, ensure_ascii=False)}
    with explain_write_errors(folder, BundleError), staged_folder(folder) as staged:
        write_atomic(staged / MODEL_FILE, with_checksum(to_bytes(graph, metadata | {GOLDEN_KEY: golden.to_text()})))
        write_atomic(staged / INSIDE_FILE, with_checksum(to_bytes(inside, metadata)))
        write_atomic(staged / WEIGHTS_FILE, weights)
        write_atomic(staged / NEIGHBOURS_FILE, neighbours)
        write_atomic(staged / LABELS_FILE, labels_text(dataset.classes))
        write_json(staged / DESCRIPTION_FILE, facts)
        open_bundle(staged)  # a bundle that cannot be opened replaces nothing


def describe_model(model: Any, recipe: ResolvedRecipe, dataset: Dataset) -> dict[str, Any]:
    """The description of a model, for model.json and the metadata of model.onnx."""
    size, channels = recipe.image_size, recipe.channels
    return {
        "format": FORMAT,
        "task": "classify",
        "network": recipe.network,
        "classes": list(dataset.classes),
        "image_size": size,
        "channels": channels,
        "fit": recipe.fit,
        "input": {"name": "image", "shape": ["batch", size, size, channels], "dtype": "uint8"},
        "outputs": {"probabilities": ["batch", len(dataset.classes)], "features": ["batch", "width"]},
        "sealed": True,
        "blocks": list(block_names(model)),
        "convolutions": list(convolution_names(model)),
        "data": _fingerprints(dataset),
        "tolerance": TOLERANCE,
        "license": recipe.license,
        "version": convscope.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def evaluate_validation(predict: Compute, dataset: Dataset) -> dict[str, Any]:
    """The accuracy of a model on the validation images, with its 95 % interval, as model.json has it.

    Args:
        predict: the model, (n, size, size, channels) uint8 -> probabilities (n, classes) float32.
        dataset: that it was trained on.
    """
    rows = dataset.rows("validation")
    batches = evaluation_batches(dataset.images, dataset.labels, rows, batch_size=BATCH_SIZE)
    num_correct = sum(count_correct(predict(images), labels) for images, labels in batches)
    return {"split": "validation", "images": len(rows), "accuracy": wilson_interval(num_correct, len(rows)).to_json()}


def _fingerprints(dataset: Dataset) -> dict[str, Any]:
    """The number of images, and two hashes, of images with their classes and with their splits, in no order."""
    used = [sample for sample in dataset.samples if not sample.reason]
    content = sorted(f"{sample.sha256} {sample.label}" for sample in used)
    splits = sorted(f"{sample.sha256} {sample.split}" for sample in used)
    return {
        "images": len(used),
        "train": len(dataset.rows("train")),
        "sha256": _digest(content),
        "split_sha256": _digest(splits),
    }


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _outputs_of(graph: bytes) -> tuple[Compute, Compute]:
    """The functions from images to probabilities, and from images to features, that a graph computes."""
    session = start_session(Path(MODEL_FILE), graph)

    def compute(output: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(session.run([output], {"image": images})[0], np.float32)

    return partial(compute, "probabilities"), partial(compute, "features")


def _compare(probabilities: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference of a probability."""
    difference = float(np.abs(probabilities - expected).max())
    if not difference <= TOLERANCE:
        raise BundleError(
            found=f"the bundle's probabilities differ from the network's by up to {difference:.2g}",
            expected=f"at most {TOLERANCE:g}",
            fix="please report this, with the versions in environment.json",
        )
    return difference


def _check_replaceable(folder: Path) -> None:
    """Make sure that `folder` contains nothing but a bundle."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else [""] * folder.exists()
    others = sorted(set(names) - FILES)
    if others:
        raise BundleError(
            found=f"{folder / others[0]}, which does not belong to a model",
            expected="a new folder, or one with a model that may be replaced",
            fix="choose another folder",
        )


def _predict_finite(model: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The probabilities of a Keras network, all finite."""
    probabilities: NDArray[np.float32] = model(images, training=False).numpy()
    if not np.isfinite(probabilities).all():
        raise BundleError(
            found="a network whose probabilities are not finite: its training diverged",
            expected="probabilities",
            fix="train again with a smaller `learning_rate`",
        )
    return probabilities


def _encode_weights(model: Any) -> bytes:
    """The content of weights.safetensors: each weight of a Keras network by its name."""
    from safetensors.numpy import save

    return save(dict(sorted(read_weights(model).items())))
