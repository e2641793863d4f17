"""exporting/onnx_quantizer.py: what convscope relies on in ONNX Runtime's quantization tools, one test each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from convscope.exporting.onnx_quantizer import METHODS, find_ranges, fold_normalization, quantize_graph

IMAGES = np.random.default_rng(0).integers(256, size=(8, 4, 4, 3), dtype=np.uint8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """uint8 images, a convolution, a batch normalization, an average, a softmax."""
    draws = np.random.default_rng(1)
    arrays = {
        "scale": np.array(1 / 255, np.float32),
        "kernel": draws.normal(size=(5, 3, 3, 3)).astype(np.float32),
        "gamma": np.full(5, 2, np.float32),
        "beta": draws.normal(size=5).astype(np.float32),
        "mean": draws.normal(size=5).astype(np.float32),
        "variance": np.full(5, 0.5, np.float32),
        "shape": np.array([0, 5], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["convolved"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["convolved", "gamma", "beta", "mean", "variance"], ["normalized"]),
        helper.make_node("GlobalAveragePool", ["normalized"], ["average"]),
        helper.make_node("Reshape", ["average", "shape"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 4, 4, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def prepared(model: Path, tmp_path: Path) -> Path:
    """The same, prepared for calibration."""
    fold_normalization(model, tmp_path / "prepared.onnx")
    return tmp_path / "prepared.onnx"


def predict(model: Path | bytes) -> np.ndarray:
    """The probabilities of `IMAGES`, (8, 5)."""
    content = model if isinstance(model, bytes) else model.read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    probabilities: np.ndarray = session.run(["probabilities"], {"image": IMAGES})[0]
    return probabilities


def test_normalization_is_folded(model: Path, prepared: Path) -> None:
    """`quant_pre_process` folds it, without symbolic shapes: else int8 would round between the two operators."""
    operators = [node.op_type for node in onnx.load(prepared).graph.node]
    assert "Conv" in operators
    assert "BatchNormalization" not in operators
    np.testing.assert_allclose(predict(prepared), predict(model), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_calibrator_takes_batches_one_by_one(prepared: Path, method: str) -> None:
    """`collect_data` adds to what it has: if it forgot earlier batches, ranges would be those of the last one.

    All methods are members of `CalibrationMethod`, and take the options in `METHODS`.
    """
    white, black = np.full_like(IMAGES, 255), np.zeros_like(IMAGES)
    for batches, expected in (([white, black], 1.0), ([black, white], 1.0), ([black], 0.0)):
        _, highest = find_ranges(prepared, method, batches)["planes"].range_value
        assert highest == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_quantizer_writes_int8_weights_per_channel(model: Path, prepared: Path, method: str) -> None:
    """`QDQQuantizer` takes the ranges as they are, keeps 7 bits, and leaves its result in `.model.model`.

    If one of these changed, the export would fail, saturate on processors without VNNI, or lose accuracy.
    """
    content = quantize_graph(prepared, find_ranges(prepared, method, [IMAGES]))
    arrays = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_model_from_string(content).graph.initializer
    }
    (kernel,) = (array for array in arrays.values() if array.dtype == np.int8 and array.ndim == 4)
    assert np.abs(kernel.astype(int)).max(axis=(1, 2, 3)).tolist() == [64] * 5  # a scale for each of 5 channels
    assert 0 < np.abs(predict(content) - predict(model)).max() < 0.1
