"""A trained network to a bundle: one ONNX file that answers as the network does. Needs TensorFlow."""

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
    FACTS,
    FORMAT,
    GOLDEN_KEY,
    LABELS,
    METADATA_KEY,
    labels_text,
    open_bundle,
    start_session,
)
from convscope.bundle.checksum import sealed
from convscope.bundle.golden import draw_golden
from convscope.bundle.introspection import INSIDE, WEIGHTS
from convscope.bundle.neighbours import NEIGHBOURS, draw_neighbours
from convscope.bundle.verification import TOLERANCE
from convscope.datasets.batches import evaluation_batches
from convscope.datasets.memory_map import Reader
from convscope.errors import BundleError
from convscope.exporting.onnx_graphs import answering_graph, inside_graph, metadata_of, to_bytes
from convscope.files import staged_folder, write_atomic, write_json
from convscope.images.decoding import Square
from convscope.networks.catalog import convolutions_of, read_weights
from convscope.networks.hirescam import blocks_of
from convscope.statistics.intervals import wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.datasets.dataset import Dataset
    from convscope.recipe.recipe import Recipe

GRAPH = "model.onnx"
PARTS = {GRAPH, INSIDE, WEIGHTS, NEIGHBOURS, LABELS, FACTS}
COMPARED_IMAGES = 32  # on which a bundle must answer as the network does
JUDGED_AT_ONCE = 32

# (n, size, size, channels) -> (n, classes), or (n, width)
Answer = Callable[["NDArray[np.uint8]"], "NDArray[np.float32]"]


def seal_model(folder: Path, model: Any, recipe: Recipe, dataset: Dataset) -> None:
    """Write the bundle: model.onnx, what lies beside it, and in model.json what it says of itself once more.

    The bundle is compared with the network, and judged by the validation images: how well it does stands inside. Some
    of the images that it learned from go beside it, for `neighbours.py`.

    Args:
        folder: where it goes; a model that is there is replaced, and nothing else ever is.
        model: the `keras.Model`, in float32.
        recipe: that it was built by.
        dataset: that it learned from.

    Raises:
        BundleError: its probabilities differ from the network's by more than float32 rounding explains, they are no
            numbers, or the folder holds something else than a model.
    """
    folder = folder.absolute()
    _check_replaceable(folder)
    rows = dataset.rows("validation")
    sample = Reader(dataset.images)[rows[:COMPARED_IMAGES]]
    expected = _finite_answers(model, sample)
    weights = _weights_file(model)
    inside = inside_graph(model, (recipe.image_size, recipe.image_size, recipe.channels))
    graph = answering_graph(inside)
    answer, see = _answers_of(to_bytes(graph, {}))
    difference = _compare(answer(sample), expected)
    weights_sha256 = hashlib.sha256(weights).hexdigest()
    neighbours, carried = draw_neighbours(see, dataset, weights=weights_sha256, seed=recipe.seed)
    facts = describe_model(model, recipe, dataset) | {
        "weights": weights_sha256,
        "neighbours": carried,
        "difference": difference,
        "metrics": judge(answer, dataset, rows),
    }
    golden = draw_golden(answer, Square(recipe.image_size, recipe.fit, recipe.channels), seed=recipe.seed)
    said = metadata_of(facts) | {METADATA_KEY: json.dumps(facts, ensure_ascii=False)}
    with staged_folder(folder) as staged:
        write_atomic(staged / GRAPH, sealed(to_bytes(graph, said | {GOLDEN_KEY: golden.to_text()})))
        write_atomic(staged / INSIDE, sealed(to_bytes(inside, said)))
        write_atomic(staged / WEIGHTS, weights)
        write_atomic(staged / NEIGHBOURS, neighbours)
        write_atomic(staged / LABELS, labels_text(dataset.classes))
        write_json(staged / FACTS, facts)
        open_bundle(staged)  # what nobody could open is not put in the place of what was there


def describe_model(model: Any, recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """What a model says of itself, in model.json and inside model.onnx."""
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
        "blocks": list(blocks_of(model)),
        "convolutions": list(convolutions_of(model)),
        "data": _fingerprints(dataset),
        "tolerance": TOLERANCE,
        "license": recipe.license,
        "version": convscope.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def judge(answer: Answer, dataset: Dataset, rows: NDArray[np.int64]) -> dict[str, Any]:
    """How many of the images in `rows` a model gets right, with the 95 % interval."""
    batches = evaluation_batches(dataset.images, dataset.labels, rows, batch_size=JUDGED_AT_ONCE)
    right = sum(int((answer(images).argmax(axis=1) == labels).sum()) for images, labels in batches)
    return {"split": "validation", "images": len(rows), "accuracy": wilson(right, len(rows)).to_json()}


def _fingerprints(dataset: Dataset) -> dict[str, Any]:
    """How many images, and hashes that change when an image, its class, or its split does; in no order."""
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


def _answers_of(graph: bytes) -> tuple[Answer, Answer]:
    """What gives the probabilities of images, and what gives their features."""
    session = start_session(Path(GRAPH), graph)

    def output(name: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(session.run([name], {"image": images})[0], np.float32)

    return partial(output, "probabilities"), partial(output, "features")


def _compare(answers: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference of a probability."""
    difference = float(np.abs(answers - expected).max())
    if not difference <= TOLERANCE:
        raise BundleError(
            found=f"the bundle's probabilities differ from the network's by up to {difference:.2g}",
            expected=f"at most {TOLERANCE:g}",
            fix="please report this, with the versions in environment.json",
        )
    return difference


def _check_replaceable(folder: Path) -> None:
    inside = [each.name for each in folder.iterdir()] if folder.is_dir() else [""] * folder.exists()
    strange = sorted(set(inside) - PARTS)
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
