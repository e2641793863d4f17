"""The formats that a model can be exported to: one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Format = Literal["onnx-int8", "litert", "litert-int8", "savedmodel"]


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """What is particular to a format.

    Attributes:
        file: the name of the file, or folder, that the model is written to.
        modules: the Python modules that write it.
        calibration_passes: how often the converter reads each calibration image.
        reads_files: whether the exported model itself can decode image files.
    """

    file: str
    modules: tuple[str, ...]
    calibration_passes: int = 0
    reads_files: bool = False


FORMATS: dict[Format, ExportFormat] = {
    "onnx-int8": ExportFormat("model.onnx", ("onnx",), calibration_passes=3),
    "litert": ExportFormat("model.tflite", ("tensorflow", "keras")),
    "litert-int8": ExportFormat("model.tflite", ("tensorflow", "keras"), calibration_passes=1),
    # TensorFlow Serving wants each version of a model in a folder whose name is its number
    "savedmodel": ExportFormat("1", ("tensorflow", "keras"), reads_files=True),
}
