"""The child's end of `converter`: convert what the order says, then answer until the input ends.

What libraries print goes to standard error; the answers have standard output to themselves.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import numpy as np

from convscope.errors import ConvscopeError, ImageRefused
from convscope.exporting.conversion_client import Converted, Order
from convscope.images.reading import read_bytes

Request = tuple[dict[str, Any], bytes]


def live() -> None:
    """A child's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        serve_parent(read_requests(sys.stdin.buffer), answers)
    except Exception:  # the parent finds it in what this process wrote
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)  # an orderly end would wait for the thread that reads


def serve_parent(requests: Iterator[Request], answers: IO[bytes]) -> None:
    """Convert as the first request says, then answer the others."""

    def tell(message: dict[str, Any], data: bytes = b"") -> None:
        answers.write(json.dumps(message).encode() + b"\n" + data)
        answers.flush()

    order, _ = next(requests)
    try:
        converted = convert(Order(**order), lambda count: tell({"steps": count}))
    except ConvscopeError as error:
        tell({"found": error.found, "expected": error.expected, "fix": error.fix})
        return
    tell({"facts": converted.facts})
    for request, data in requests:
        if "paths" in request:
            read = converted.answer_encoded([_content(path) for path in request["paths"]])
            tell({"readable": [row is not None for row in read]}, b"".join(r.tobytes() for r in read if r is not None))
        else:
            rows = converted.answer(np.frombuffer(data, np.uint8).reshape(request["shape"]))
            tell({"count": len(rows)}, np.ascontiguousarray(rows, np.float32).tobytes())


def convert(order: Order, tell: Callable[[int], None]) -> Converted:
    """Convert a model, telling how many steps are done: its images, as often as they are looked at, and two more."""
    if order.to == "onnx-int8":
        from convscope.exporting.quantization import quantize

        return quantize(order, tell)
    if order.to == "savedmodel":
        from convscope.exporting.savedmodel import save_model

        return save_model(order, tell)
    from convscope.exporting.litert import convert_to_litert

    return convert_to_litert(order, tell)


def read_requests(stream: IO[bytes]) -> Iterator[Request]:
    """The parent's requests. A thread reads them, so that this process ends with the parent, also while it works."""
    waiting: SimpleQueue[Request] = SimpleQueue()

    def read() -> None:
        for line in stream:
            request = json.loads(line)
            waiting.put((request, stream.read(int(np.prod(request["shape"]))) if "shape" in request else b""))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield waiting.get()


def _content(path: str) -> bytes:
    """The bytes of a file; none where there are none, which nothing can read."""
    try:
        return read_bytes(Path(path))
    except ImageRefused:
        return b""
