"""A model that needs no TensorFlow: one matrix before a softmax, as a bundle and in NumPy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sample_images import Pixels

from convscope.bundle.bundle import NEIGHBOURS_FILE
from convscope.bundle.neighbour_selection import build_neighbour_index
from convscope.datasets.dataset import open_dataset, write_samples
from convscope.files import write_atomic
from convscope.images.decoder_pool import InputSpec
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.run import Run, new_run

COLOURS = ("red", "green", "blue")
SMALL = InputSpec(8)


@dataclass(frozen=True, slots=True, eq=False)
class TinyModel:
    """`matrix`: (size * size * channels, classes) float32; the classes in the order of the probabilities."""

    classes: tuple[str, ...]
    square: InputSpec
    matrix: NDArray[np.float32]

    def compute_features(self, images: Pixels) -> NDArray[np.float32]:
        """(n, size, size, channels) uint8 -> (n, width): the features that the bundle has to output."""
        return images.reshape(len(images), -1) / np.float32(255)

    def predict(self, images: Pixels) -> NDArray[np.float64]:
        """(n, size, size, channels) uint8 -> (n, classes): the probabilities that the bundle has to output."""
        powers = np.exp(images.reshape(len(images), -1) / 255.0 @ self.matrix.astype(np.float64))
        return powers / powers.sum(axis=1, keepdims=True)

    def write(self, path: Path, **changes: Any) -> Path:
        """Write the bundle to `path`; `changes` replace or add facts of its description."""
        facts = {
            "format": 1,
            "classes": list(self.classes),
            "image_size": self.square.size,
            "channels": self.square.channels,
            "fit": self.square.fit,
        }
        return write_onnx(path, self, {"convscope": json.dumps(facts | changes)})

    def write_with_neighbours(self, folder: Path, data: Path, **changes: Any) -> Path:
        """Write `model.onnx`, and beside it a neighbour index of a folder of images of the model's classes."""
        recipe = resolve(Recipe(network="classic", image_size=self.square.size, fit=self.square.fit, validation=0.1))
        dataset = open_dataset(data, recipe)
        labels = np.array([self.classes.index(sample.label) for sample in dataset.samples], np.int32)
        labelled = replace(dataset, labels=labels)
        weights = changes.get("weights", "0123")
        content, facts = build_neighbour_index(self.compute_features, labelled, weights=weights, seed=0)
        write_atomic(folder / NEIGHBOURS_FILE, content)
        return self.write(folder / "model.onnx", **{"weights": weights, "neighbours": facts} | changes)


def random_model(classes: Sequence[str], square: InputSpec = SMALL, *, seed: int = 0) -> TinyModel:
    """A model whose prediction differs for every image."""
    matrix = np.random.default_rng(seed).normal(0, 0.2, (square.num_bytes, len(classes)))
    return TinyModel(tuple(classes), square, matrix.astype(np.float32))


def colour_model(classes: Sequence[str] = COLOURS, *, size: int = 8) -> TinyModel:
    """A model that predicts the strongest colour; a class of another name is never predicted."""
    matrix = np.zeros((size, size, 3, len(classes)), np.float32)
    for column, name in enumerate(classes):
        if name in COLOURS:
            matrix[:, :, COLOURS.index(name), column] = 5.0 / size**2
    return TinyModel(tuple(classes), InputSpec(size), matrix.reshape(-1, len(classes)))


def colour_run(folder: Path, data: Path, **choices: Any) -> Run:
    """A finished run of `colour_model` on `data`, without history, log and checkpoints."""
    recipe = resolve(Recipe(network="classic", image_size=8, **choices))
    dataset = open_dataset(data, recipe)
    run = new_run(folder, recipe=recipe, data=data)
    write_samples(run.data_file, dataset.samples)
    run.model.mkdir()
    colour_model(dataset.classes).write(run.model / "model.onnx")
    return run


def write_onnx(path: Path, model: TinyModel, metadata: dict[str, str]) -> Path:
    """Write a graph from uint8 images to probabilities and features, with `metadata` in the file."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape = ["batch", *model.square.shape]
    nodes = [
        helper.make_node("Cast", ["image"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "scale"], ["share"]),
        helper.make_node("Flatten", ["share"], ["features"]),
        helper.make_node("MatMul", ["features", "matrix"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    scale = numpy_helper.from_array(np.array(1 / 255, np.float32), "scale")
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
            for name, width in (("probabilities", len(model.classes)), ("features", model.square.num_bytes))
        ],
        [scale, numpy_helper.from_array(model.matrix, "matrix")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    helper.set_model_props(proto, metadata)
    write_atomic(path, proto.SerializeToString())
    return path
