"""Post-training quantization: a float32 bundle to one with int8 weights, for ONNX Runtime. No TensorFlow.

QDQ form: standard operators between QuantizeLinear and DequantizeLinear. Weights have a scale for each channel,
activations one for each tensor, found on training images. Weights use 7 of the 8 bits: on processors without VNNI,
ONNX Runtime adds two products in 16 bits, which saturates with 8 (docs/decisions/exporting.md).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convscope.bundle import checksum
from convscope.bundle.model_file import find_model, read_model, start_session
from convscope.errors import ExportError
from convscope.exporting.conversion_client import ConversionJob, ConvertedModel
from convscope.exporting.onnx_quantizer import METHODS, find_ranges, fold_normalization, quantize_graph
from convscope.files import explain_write_errors, write_atomic

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = 0.03  # of a probability: by so much other machines' kernels differ (docs/decisions/exporting.md)
BATCH_SIZE = 32  # images: calibration keeps all activations of a batch in memory

Predict = Callable[["NDArray[np.uint8]"], "NDArray[np.float32]"]


def quantize(job: ConversionJob, advance: Callable[[int], None]) -> ConvertedModel:
    """Write `model.onnx`, quantized by the calibration method that changes the probabilities least.

    The ranges are found on one half of the calibration images, the method is chosen on the other. The file has no
    description yet: `set_metadata` adds it.

    Args:
        job: what to convert.
        advance: called with the number of steps done since: two, and three for each calibration image.

    Raises:
        ExportError: there is no space to write it.
    """
    images = np.load(job.calibration, mmap_mode="r")
    half = max(1, len(images) // 2)
    path = find_model(Path(job.run))
    expected = _predictor(path, read_model(path))(images[-half:])
    advance(1)
    graphs, differences = {}, {}
    with explain_write_errors(job.file.parent, ExportError), tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        fold_normalization(path, prepared)
        for method in METHODS:
            ranges = find_ranges(prepared, method, _batches(images[:half], advance))
            graphs[method] = quantize_graph(prepared, ranges)
            probabilities = _predictor(path, graphs[method])(images[-half:])
            differences[method.lower()] = float(np.abs(probabilities - expected).mean())
            advance(half)
        best = min(METHODS, key=lambda method: differences[method.lower()])
        write_atomic(job.file, graphs[best])
    advance(1)
    facts = {"method": best.lower(), "differences": differences, "images": len(images)}
    return ConvertedModel(predict=_predictor(path, graphs[best]), facts=facts)


def set_metadata(file: Path, metadata: Mapping[str, str]) -> None:
    """Replace the metadata of an ONNX file, and write its checksum anew."""
    import onnx

    model = onnx.load(file)
    onnx.helper.set_model_props(model, {key: value for key, value in metadata.items() if key != checksum.KEY})
    write_atomic(file, checksum.with_checksum(model.SerializeToString()))


def _batches(images: NDArray[np.uint8], advance: Callable[[int], None]) -> Iterator[NDArray[np.uint8]]:
    """The images in batches; each is reported when it is done."""
    for first in range(0, len(images), BATCH_SIZE):
        batch = np.ascontiguousarray(images[first : first + BATCH_SIZE])
        yield batch
        advance(len(batch))


def _predictor(path: Path, graph: bytes) -> Predict:
    """A function from (n, size, size, channels) uint8 to probabilities (n, classes) float32."""
    session = start_session(path, graph)

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches = (
            np.ascontiguousarray(images[first : first + BATCH_SIZE]) for first in range(0, len(images), BATCH_SIZE)
        )
        return np.concatenate([session.run(["probabilities"], {"image": batch})[0] for batch in batches])

    return predict
