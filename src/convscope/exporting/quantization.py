"""A model in float32 to one in 8 bits that ONNX Runtime runs as fast as a processor can, with its own description.

QDQ form: operators of the standard between QuantizeLinear and DequantizeLinear. Weights have a scale for each channel,
activations one for each tensor, found on training images. Weights keep 7 of the 8 bits: on processors without VNNI,
ONNX Runtime adds two products in 16 bits, which saturates with 8 (docs/decisions/exporting.md).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.bundle import checksum as seal
from convscope.bundle.bundle import find_model, read_model, start_session
from convscope.exporting.conversion_client import Converted, Order
from convscope.files import write_atomic

if TYPE_CHECKING:
    from numpy.typing import NDArray

METHODS = {"MinMax": {}, "Percentile": {"percentile": 99.99}, "Entropy": {}}  # of ONNX Runtime, with their options
OPERATORS = ["Add", "Conv", "Gemm", "GlobalAveragePool", "MatMul", "MaxPool", "Relu"]  # the softmax stays exact
TOLERANCE = 0.03  # of a probability: what other kernels than this machine's differ by (docs/decisions/exporting.md)
AT_ONCE = 32  # images: calibrating keeps all activations of these in memory

Answer = Callable[["NDArray[np.uint8]"], "NDArray[np.float32]"]


def quantize(order: Order, tell: Callable[[int], None]) -> Converted:
    """Write `model.onnx`, quantized by the method that changes the answers least, and still without a description.

    The scales are found on one half of the calibration images; the method is chosen on the other.
    """
    images = np.load(order.calibration, mmap_mode="r")
    half = max(1, len(images) // 2)
    path = find_model(Path(order.run))
    expected = _answer_of(path, read_model(path))(images[-half:])
    tell(1)
    graphs, differences = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        prepared = _prepare(path, Path(folder))
        for method in METHODS:
            graphs[method] = _quantize(prepared, method, _told(images[:half], tell))
            answers = _answer_of(path, graphs[method])(images[-half:])
            differences[method.lower()] = float(np.abs(answers - expected).mean())
            tell(half)
    best = min(METHODS, key=lambda method: differences[method.lower()])
    write_atomic(order.file, graphs[best])
    tell(1)
    facts = {"method": best.lower(), "differences": differences, "images": len(images)}
    return Converted(answer=_answer_of(path, graphs[best]), facts=facts)


def describe_file(file: Path, metadata: Mapping[str, str]) -> None:
    """Put what a model says of itself into its file, in place of what it said before, and seal it."""
    import onnx

    model = onnx.load(file)
    onnx.helper.set_model_props(model, {key: value for key, value in metadata.items() if key != seal.KEY})
    write_atomic(file, seal.sealed(model.SerializeToString()))


def _told(images: NDArray[np.uint8], tell: Callable[[int], None]) -> Iterator[NDArray[np.uint8]]:
    """The images in batches, each told when it is done."""
    for first in range(0, len(images), AT_ONCE):
        batch = np.ascontiguousarray(images[first : first + AT_ONCE])
        yield batch
        tell(len(batch))


def _prepare(path: Path, folder: Path) -> Path:
    """The graph with its normalisations folded into its convolutions, and the shape of every tensor."""
    from onnxruntime.quantization import quant_pre_process

    prepared = folder / "prepared.onnx"
    quant_pre_process(path, prepared, skip_symbolic_shape=True)
    return prepared


def _quantize(prepared: Path, method: str, batches: Iterator[NDArray[np.uint8]]) -> bytes:
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, create_calibrator

    calibrator = create_calibrator(
        prepared,
        OPERATORS,
        augmented_model_path=str(prepared.with_name("augmented.onnx")),
        calibrate_method=CalibrationMethod[method],
        extra_options=METHODS[method],
    )
    for batch in batches:
        calibrator.collect_data(_Reader(batch))
    quantizer = QDQQuantizer(
        onnx.load(prepared),
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=calibrator.compute_data(),
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=OPERATORS,
        extra_options={},
    )
    quantizer.quantize_model()
    return bytes(quantizer.model.model.SerializeToString())


class _Reader:
    """One batch, as ONNX Runtime's calibrators ask for it."""

    def __init__(self, batch: NDArray[np.uint8]) -> None:
        self.waiting = [{"image": batch}]

    def get_next(self) -> dict[str, Any] | None:
        return self.waiting.pop() if self.waiting else None


def _answer_of(path: Path, graph: bytes) -> Answer:
    """(n, size, size, channels) uint8 -> (n, classes) float32."""
    session = start_session(path, graph)

    def answer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches = (np.ascontiguousarray(images[first : first + AT_ONCE]) for first in range(0, len(images), AT_ONCE))
        return np.concatenate([session.run(["probabilities"], {"image": batch})[0] for batch in batches])

    return answer
