"""A Keras network as ONNX graphs: one that predicts, and one with its blocks and heat maps as outputs too.

The only module that calls tf2onnx's and ONNX's tools for graphs; those that are not documented have a test each in
`tests/exporting/test_onnx_graphs.py`, which says what breaks when they change. Needs TensorFlow.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from convscope.networks.catalog import submodel
from convscope.networks.frameworks import tf
from convscope.networks.hirescam import block_names, class_heat_maps, head_layers

OPSET = 17
PREDICTION_OUTPUTS = ("probabilities", "features")
HEAT_OUTPUT = "heat"


def introspection_graph(model: Any, shape: tuple[int, int, int]) -> Any:
    """The network as an `onnx.ModelProto`, every block and a heat map of each class among its outputs.

    Args:
        model: a `keras.Model` with blocks, `features` and `logits`.
        shape: (height, width, channels) of the images.

    Returns: from `image` (batch, height, width, channels) uint8 to `probabilities`, `features`, `block1`, ... in
        (batch, h, w, channels) and `heat` (batch, h, w, classes), all float32.
    """
    import tf2onnx

    _silence_optimizer()
    names = (*PREDICTION_OUTPUTS, *block_names(model))
    network = submodel(model, *dict.fromkeys((*names, *(layer.name for layer in head_layers(model)))))

    def compute(image: Any) -> dict[str, Any]:
        outputs = network(image, training=False)
        return {name: outputs[name] for name in names} | {HEAT_OUTPUT: class_heat_maps(model, outputs)}

    signature = [tf.TensorSpec((None, *shape), tf.uint8, name="image")]
    proto, _ = tf2onnx.convert.from_function(
        tf.function(compute, input_signature=signature, autograph=False), input_signature=signature, opset=OPSET
    )
    return _name_batch_axes(proto)


def prediction_graph(introspection: Any) -> Any:
    """The part of an `introspection_graph` that computes `probabilities` and `features`, optimized again."""
    from onnx.utils import Extractor
    from tf2onnx.graph import GraphUtil

    _silence_optimizer()
    part = Extractor(introspection).extract_model(["image"], list(PREDICTION_OUTPUTS))
    # without the other outputs most of its transpositions cancel each other
    return _name_batch_axes(GraphUtil.optimize_model_proto(part))


def to_bytes(proto: Any, metadata: dict[str, str]) -> bytes:
    """The content of an ONNX file, with this metadata and no other."""
    del proto.metadata_props[:]
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    return bytes(proto.SerializeToString())


def metadata_of(facts: dict[str, Any]) -> dict[str, str]:
    """The description of a model for other tools, with the keys and the spelling of Ultralytics' exports."""
    size = facts["image_size"]
    return {
        "description": f"{facts['network']} of convscope, an image classifier",
        "author": "convscope",
        "task": "classify",
        "names": repr(dict(enumerate(facts["classes"]))),
        "imgsz": json.dumps([size, size]),
        "channels": str(facts["channels"]),
        "version": facts["version"],
        "date": facts["date"],
        "license": facts["license"],
    }


def _silence_optimizer() -> None:
    """Hide the tracebacks that tf2onnx logs of optimizations that it gives up on."""
    logging.getLogger("tf2onnx.optimizer").setLevel(logging.ERROR)


def _name_batch_axes(proto: Any) -> Any:
    """Name the first axis of all inputs and outputs `batch`."""
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return proto
