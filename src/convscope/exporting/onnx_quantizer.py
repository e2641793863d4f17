"""ONNX Runtime's quantization tools, as far as convscope uses them: the only module that calls them.

`create_calibrator`, `QDQQuantizer` and `quant_pre_process` are documented only in their source. Each call has a test in
`tests/exporting/test_onnx_quantizer.py`, which says what breaks when they change.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# calibration methods of ONNX Runtime, with their options
METHODS: dict[str, dict[str, Any]] = {"MinMax": {}, "Percentile": {"percentile": 99.99}, "Entropy": {}}
OPERATORS = ["Add", "Conv", "Gemm", "GlobalAveragePool", "MatMul", "MaxPool", "Relu"]  # the softmax stays in float32


def fold_normalization(model: Path, out: Path) -> None:
    """Write the graph of `model` with batch normalization folded into the convolutions, and all shapes inferred."""
    from onnxruntime.quantization import quant_pre_process

    quant_pre_process(model, out, skip_symbolic_shape=True)


def find_ranges(prepared: Path, method: str, batches: Iterable[NDArray[np.uint8]]) -> Any:
    """The range of each activation on calibration images.

    Args:
        prepared: a file from `fold_normalization`; another graph is written beside it.
        method: one of `METHODS`.
        batches: of images (n, size, size, channels) uint8.

    Returns: a `TensorsData` of ONNX Runtime.
    """
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    calibrator = create_calibrator(
        prepared,
        OPERATORS,
        augmented_model_path=str(prepared.with_name("augmented.onnx")),
        calibrate_method=CalibrationMethod[method],
        extra_options=METHODS[method],
    )
    for batch in batches:
        calibrator.collect_data(_BatchReader(batch))
    return calibrator.compute_data()


def quantize_graph(prepared: Path, ranges: Any) -> bytes:
    """The content of an ONNX file in QDQ form: weights int8, one scale for each channel; activations uint8.

    Args:
        prepared: a file from `fold_normalization`.
        ranges: from `find_ranges`.
    """
    import onnx
    from onnxruntime.quantization import QDQQuantizer, QuantType

    quantizer = QDQQuantizer(
        onnx.load(prepared),
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=OPERATORS,
        extra_options={},
    )
    quantizer.quantize_model()
    return bytes(quantizer.model.model.SerializeToString())


class _BatchReader:
    """One batch as a `CalibrationDataReader`."""

    def __init__(self, batch: NDArray[np.uint8]) -> None:
        self.inputs = [{"image": batch}]

    def get_next(self) -> dict[str, Any] | None:
        """The next input of the graph; None after the last."""
        return self.inputs.pop() if self.inputs else None
