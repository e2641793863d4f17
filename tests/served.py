"""A service for tests: a model with an inside, made without TensorFlow, and a real server of it on loopback."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from sample_images import encode
from tiny_model import COLOURS, TinyModel, colour_model

from convscope.serving.service import Service
from convscope.serving.serving import Server, listen

KERNEL = np.random.default_rng(0).normal(0, 1, (1, 1, 3, 4)).astype(np.float32)
WEIGHTS = "0123"  # what stands for the hash of the weights
Served = Callable[..., httpx.Client]


def photo(colour: str, size: int = 16) -> bytes:
    """A PNG file of one colour."""
    return encode(Image.new("RGB", (size, size), colour))


def slow_photo() -> bytes:
    """A small file with so many pixels that decoding it takes a while."""
    return encode(Image.new("L", (5000, 5000)), compress_level=1)


def read_all(line: socket.socket) -> bytes:
    """What comes until the other side closes, or breaks off."""
    answer = b""
    try:
        while received := line.recv(65536):
            answer += received
    except ConnectionResetError:
        pass
    return answer


def write_run(
    folder: Path, classes: tuple[str, str, str] = COLOURS, *, learned: Path | None = None, **said: Any
) -> Path:
    """A run folder whose model tells colours apart and has an inside; `said` goes over what it says of itself.

    `learned`: a folder of classes whose images are its training images; None: it carries none.
    """
    model = colour_model(classes)
    (folder / "model").mkdir(parents=True)
    facts = {"blocks": ["block1"], "convolutions": ["block1_convolution"], "weights": WEIGHTS}
    card = {"version": "0.1.0", "task": "classify", "network": "tiny"} | said
    if learned is None:
        model.write(folder / "model" / "model.onnx", **facts, **card)
    else:
        model.write_with_neighbours(folder / "model", learned, **facts, **card)
    write_inside(folder / "model" / "inside.onnx", model, facts)
    return folder


def write_inside(path: Path, model: TinyModel, facts: dict[str, Any]) -> None:
    """The same network with a block and the heat of each class; its one kernel beside it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from safetensors.numpy import save_file

    size, classes = model.square.size, len(model.classes)
    nodes = [
        helper.make_node("Cast", ["image"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "scale"], ["share"]),
        helper.make_node("MatMul", ["share", "kernel"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["block1"]),
        helper.make_node("Identity", ["share"], ["heat"]),
        helper.make_node("Flatten", ["share"], ["features"]),
        helper.make_node("MatMul", ["features", "matrix"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    outputs = {
        "probabilities": [classes],
        "features": [model.square.num_bytes],
        "heat": [size, size, classes],
        "block1": [size, size, 4],
    }
    graph = helper.make_graph(
        nodes,
        "inside",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", size, size, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in outputs.items()],
        [
            numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"),
            numpy_helper.from_array(KERNEL[0, 0], "kernel"),
            numpy_helper.from_array(model.matrix, "matrix"),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    said = {"format": 1, "classes": list(model.classes), "image_size": size, "channels": 3, "fit": "stretch"}
    helper.set_model_props(proto, {"convscope": json.dumps(said | facts)})
    onnx.save_model(proto, path)
    save_file({"block1_convolution/kernel": KERNEL}, path.with_name("weights.safetensors"))


@contextmanager
def serving(service: Service) -> Iterator[httpx.Client]:
    """A server on a free port of loopback, in a thread; a client that knows its address."""
    server = Server(service)
    with listen("127.0.0.1", 0) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with httpx.Client(base_url=address, timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(60)
    assert not thread.is_alive()
