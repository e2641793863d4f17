"""The worker process of `conversion_client`: converts a model, as the first request says, then predicts with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from convscope.errors import ConvscopeError, ImageRefused
from convscope.exporting.conversion_client import ConversionJob, ConvertedModel
from convscope.images.image_reader import read_bytes
from convscope.worker_process import Message, Reply


def serve_parent(requests: Iterator[Message], reply: Reply) -> None:
    """Convert the model of the first request, with a reply for each number of steps done; predict for the others."""
    job, _ = next(requests)
    try:
        model = convert(ConversionJob(**job), lambda count: reply({"steps": count}, b""))
    except ConvscopeError as error:
        reply({"found": error.found, "expected": error.expected, "fix": error.fix}, b"")
        return
    reply({"facts": model.facts}, b"")
    for request, data in requests:
        if "paths" in request:
            rows = model.predict_encoded([_content(path) for path in request["paths"]])
            probabilities = b"".join(row.tobytes() for row in rows if row is not None)
            reply({"readable": [row is not None for row in rows]}, probabilities)
        else:
            predicted = model.predict(np.frombuffer(data, np.uint8).reshape(request["shape"]))
            reply({}, np.ascontiguousarray(predicted, np.float32).tobytes())


def convert(job: ConversionJob, count_steps: Callable[[int], None]) -> ConvertedModel:
    """Convert a model.

    Args:
        job: what to convert.
        count_steps: called with the number of steps done since the last call; there are two, and one for each
            calibration image and pass over them.

    Raises:
        ConvscopeError: it cannot be converted.
    """
    if job.to == "onnx-int8":
        from convscope.exporting.quantization import quantize

        return quantize(job, count_steps)
    from convscope.networks.framework_setup import configure_tensorflow

    configure_tensorflow()  # this process is ours
    if job.to == "savedmodel":
        from convscope.exporting.savedmodel import save_model

        return save_model(job, count_steps)
    from convscope.exporting.litert import convert_to_litert

    return convert_to_litert(job, count_steps)


def _content(path: str) -> bytes:
    """The bytes of a file; no bytes, which no export can read, where the file cannot be read."""
    try:
        return read_bytes(Path(path))
    except ImageRefused:
        return b""
