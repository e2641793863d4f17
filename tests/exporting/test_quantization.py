"""deployment/quantization.py: 8 bits that answer nearly as 32 did, by the method that comes nearest; no TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_model import SMALL, random_model

from convscope.bundle import checksum as seal
from convscope.bundle.bundle import open_bundle
from convscope.bundle.onnx_safety import find_danger
from convscope.exporting.conversion_client import Converted, Order
from convscope.exporting.quantization import METHODS, describe_file, quantize

CLASSES = ("a", "b", "c")
IMAGES = np.random.default_rng(4).integers(256, size=(40, *SMALL.shape), dtype=np.uint8)


@pytest.fixture
def steps() -> list[int]:
    """What is told while it converts."""
    return []


@pytest.fixture
def converted(tmp_path: Path, steps: list[int]) -> Converted:
    """A small model in 8 bits, in `model.onnx`, calibrated with 40 images; the model itself is in `run`."""
    random_model(CLASSES).write(tmp_path / "run" / "model" / "model.onnx")
    np.save(tmp_path / "images.npy", IMAGES)
    order = Order(
        to="onnx-int8", run=str(tmp_path / "run"), folder=str(tmp_path), calibration=str(tmp_path / "images.npy")
    )
    return quantize(order, steps.append)


def test_answers_are_near(converted: Converted, steps: list[int]) -> None:
    """The probabilities of other images differ, but little; each look at an image was told, and two steps more."""
    images = np.random.default_rng(5).integers(256, size=(33, *SMALL.shape), dtype=np.uint8)
    answers, expected = converted.answer(images), random_model(CLASSES).answer(images)
    assert answers.shape == expected.shape
    assert 0 < np.abs(answers - expected).max() < 0.05
    assert sum(steps) == 2 + 3 * len(IMAGES)


def test_best_method_is_kept(converted: Converted) -> None:
    """Each method was tried; the one that changed the answers least is named."""
    differences = converted.facts["differences"]
    assert [*differences] == [method.lower() for method in METHODS]
    assert differences[converted.facts["method"]] == min(differences.values())
    assert converted.facts["images"] == len(IMAGES)


def test_file_is_plain_and_says_what_it_is_told(converted: Converted, tmp_path: Path) -> None:
    """Operators of the standard, weights of 7 bits in int8; and the description that it is given, and no other."""
    import onnx

    file = tmp_path / "model.onnx"
    assert find_danger(file.read_bytes()) == ""
    graph = onnx.load(file).graph
    assert {"QuantizeLinear", "DequantizeLinear", "MatMul", "Softmax"} <= {node.op_type for node in graph.node}
    weights = [onnx.numpy_helper.to_array(each) for each in graph.initializer if "matrix" in each.name]
    (matrix,) = (each for each in weights if each.dtype == np.int8 and each.ndim == 2)
    assert np.abs(matrix.astype(int)).max() == 64
    metadata = open_bundle(tmp_path / "run").metadata
    describe_file(file, metadata)
    assert {key: said for key, said in open_bundle(file).metadata.items() if key != seal.KEY} == metadata
    np.testing.assert_array_equal(open_bundle(file).predict(IMAGES), converted.answer(IMAGES))
