"""exporting/quantization.py: an int8 model predicts nearly as the float32 one, by the best calibration method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_model import SMALL, random_model

from convscope.bundle import checksum
from convscope.bundle.bundle import open_bundle
from convscope.bundle.onnx_safety import find_danger
from convscope.exporting.conversion_client import ConversionJob, ConvertedModel
from convscope.exporting.onnx_quantizer import METHODS
from convscope.exporting.quantization import quantize, set_metadata

CLASSES = ("a", "b", "c")
IMAGES = np.random.default_rng(4).integers(256, size=(40, *SMALL.shape), dtype=np.uint8)


@pytest.fixture
def steps() -> list[int]:
    """The numbers of steps that are reported during the conversion."""
    return []


@pytest.fixture
def converted(tmp_path: Path, steps: list[int]) -> ConvertedModel:
    """A small model in 8 bits, in `model.onnx`, calibrated with 40 images; the model itself is in `run`."""
    random_model(CLASSES).write(tmp_path / "run" / "model" / "model.onnx")
    np.save(tmp_path / "images.npy", IMAGES)
    order = ConversionJob(
        to="onnx-int8", run=str(tmp_path / "run"), folder=str(tmp_path), calibration=str(tmp_path / "images.npy")
    )
    return quantize(order, steps.append)


def test_probabilities_are_close(converted: ConvertedModel, steps: list[int]) -> None:
    """Those of new images differ, but little; each pass over an image was reported, and two steps more."""
    images = np.random.default_rng(5).integers(256, size=(33, *SMALL.shape), dtype=np.uint8)
    probabilities, expected = converted.predict(images), random_model(CLASSES).predict(images)
    assert probabilities.shape == expected.shape
    assert 0 < np.abs(probabilities - expected).max() < 0.05
    assert sum(steps) == 2 + 3 * len(IMAGES)


def test_best_method_is_kept(converted: ConvertedModel) -> None:
    """Each method was tried; the one that changed the probabilities least is named."""
    differences = converted.facts["differences"]
    assert [*differences] == [method.lower() for method in METHODS]
    assert differences[converted.facts["method"]] == min(differences.values())
    assert converted.facts["images"] == len(IMAGES)


def test_file_has_standard_operators_and_the_metadata_given(converted: ConvertedModel, tmp_path: Path) -> None:
    """Standard operators, weights of 7 bits in int8; the metadata that was set, and no other."""
    import onnx

    file = tmp_path / "model.onnx"
    assert find_danger(file.read_bytes()) == ""
    graph = onnx.load(file).graph
    assert {"QuantizeLinear", "DequantizeLinear", "MatMul", "Softmax"} <= {node.op_type for node in graph.node}
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer if "matrix" in tensor.name]
    (matrix,) = (array for array in weights if array.dtype == np.int8 and array.ndim == 2)
    assert np.abs(matrix.astype(int)).max() == 64
    metadata = open_bundle(tmp_path / "run").metadata
    set_metadata(file, metadata)
    assert {key: value for key, value in open_bundle(file).metadata.items() if key != checksum.KEY} == metadata
    np.testing.assert_array_equal(open_bundle(file).predict(IMAGES), converted.predict(IMAGES))
