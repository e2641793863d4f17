"""A Keras network as ONNX graphs: one that answers, and one that also shows what is inside. Needs TensorFlow."""

from __future__ import annotations

import json
import logging
from typing import Any

from convscope.networks.catalog import outputs_of
from convscope.networks.frameworks import tf
from convscope.networks.hirescam import blocks_of, evidence, head_of

OPSET = 17
ANSWERS = ("probabilities", "features")
HEAT = "heat"


def inside_graph(model: Any, shape: tuple[int, int, int]) -> Any:
    """The network as an `onnx.ModelProto`, every block and a heat map of each class among its outputs.

    Args:
        model: a `keras.Model` with blocks, `features` and `logits`.
        shape: (height, width, channels) of the images.

    Returns: from `image` (batch, height, width, channels) uint8 to `probabilities`, `features`, `block1`, ... in
        (batch, h, w, channels) and `heat` (batch, h, w, classes), all float32.
    """
    import tf2onnx

    logging.getLogger("tf2onnx.optimizer").setLevel(logging.ERROR)  # tracebacks of simplifications that it gives up on
    shown = (*ANSWERS, *blocks_of(model))
    network = outputs_of(model, *dict.fromkeys((*shown, *(layer.name for layer in head_of(model)))))

    def look(image: Any) -> dict[str, Any]:
        outputs = network(image, training=False)
        return {name: outputs[name] for name in shown} | {HEAT: evidence(model, outputs)}

    signature = [tf.TensorSpec((None, *shape), tf.uint8, name="image")]
    proto, _ = tf2onnx.convert.from_function(
        tf.function(look, input_signature=signature, autograph=False), input_signature=signature, opset=OPSET
    )
    return _name_batches(proto)


def answering_graph(inside: Any) -> Any:
    """The part of `inside_graph` that answers: `probabilities` and `features` alone."""
    from onnx.utils import Extractor
    from tf2onnx.graph import GraphUtil

    part = Extractor(inside).extract_model(["image"], list(ANSWERS))
    # without the other outputs most of its transpositions cancel each other
    return _name_batches(GraphUtil.optimize_model_proto(part))


def to_bytes(proto: Any, metadata: dict[str, str]) -> bytes:
    """A graph as the content of a file that describes itself."""
    del proto.metadata_props[:]
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    return bytes(proto.SerializeToString())


def metadata_of(facts: dict[str, Any]) -> dict[str, str]:
    """What a model says of itself, for others: under the keys and in the spelling that Ultralytics' exports have."""
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


def _name_batches(proto: Any) -> Any:
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return proto
