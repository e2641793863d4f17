"""A server on loopback for tests, and a model with intermediate outputs that needs no TensorFlow."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from sample_images import encode
from tiny_model import COLOURS, TinyModel, colour_model

from convscope.serving.http_protocol import Server
from convscope.serving.service import Service
from convscope.serving.serving import bind_socket

KERNEL = np.random.default_rng(0).normal(0, 1, (1, 1, 3, 4)).astype(np.float32)
WEIGHTS_HASH = "0123"  # an arbitrary hash of the weights
StartServer = Callable[..., httpx.Client]


def photo(colour: str, size: int = 16) -> bytes:
    """A PNG file of one colour."""
    return encode(Image.new("RGB", (size, size), colour))


def slow_photo() -> bytes:
    """A small PNG file with so many pixels that decoding takes about 0.1 s."""
    return encode(Image.new("L", (5000, 5000)), compress_level=1)


def connect(client: httpx.Client) -> socket.socket:
    """A connection for requests that no HTTP library sends."""
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)


def send_slowly(connection: socket.socket) -> None:
    """Send a byte every 20 ms, for longer than any timeout of the tests, but fewer than were announced."""
    for _ in range(900):
        connection.sendall(b"x")
        time.sleep(0.02)


def body_bytes(client: httpx.Client) -> float:
    """Bytes of request bodies that the service holds, by /metrics."""
    lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("convscope_body_bytes ")))


def read_all(connection: socket.socket) -> bytes:
    """The bytes received until the server closes or resets the connection."""
    response = b""
    try:
        while received := connection.recv(65536):
            response += received
    except ConnectionResetError:
        pass
    return response


def write_run(
    folder: Path, classes: tuple[str, str, str] = COLOURS, *, training_images: Path | None = None, **metadata: Any
) -> Path:
    """A run folder whose model classifies colours and has intermediate outputs; `metadata` is added to the model's.

    `training_images`: a folder of classes whose images go into the neighbour index; None: the model has none.
    """
    model = colour_model(classes)
    (folder / "model").mkdir(parents=True)
    facts = {"blocks": ["block1"], "convolutions": ["block1_convolution"], "weights": WEIGHTS_HASH}
    metadata = {"version": "0.1.0", "task": "classify", "network": "tiny"} | metadata
    if training_images is None:
        model.write(folder / "model" / "model.onnx", **facts, **metadata)
    else:
        model.write_with_neighbours(folder / "model", training_images, **facts, **metadata)
    write_introspection(folder / "model" / "inside.onnx", model, facts)
    return folder


def write_introspection(path: Path, model: TinyModel, facts: dict[str, Any]) -> None:
    """inside.onnx: the same network with a block and a heat map for each class; weights.safetensors: its kernel."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from safetensors.numpy import save_file

    size, classes = model.square.size, len(model.classes)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "kernel"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["block1"]),
        helper.make_node("Identity", ["scaled"], ["heat"]),
        helper.make_node("Flatten", ["scaled"], ["features"]),
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
    metadata = {"format": 1, "classes": list(model.classes), "image_size": size, "channels": 3, "fit": "stretch"}
    helper.set_model_props(proto, {"convscope": json.dumps(metadata | facts)})
    onnx.save_model(proto, path)
    save_file({"block1_convolution/kernel": KERNEL}, path.with_name("weights.safetensors"))


@contextmanager
def running_server(service: Service) -> Iterator[httpx.Client]:
    """A client of a server that runs in a thread, on a free port of loopback."""
    server = Server(service)
    with bind_socket("127.0.0.1", 0) as listener:
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
