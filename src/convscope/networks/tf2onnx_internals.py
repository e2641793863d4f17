"""The private parts of tf2onnx that networks use, all of them. Each has a test, to run with every new version."""

from __future__ import annotations

from collections.abc import Iterable


def unsupported_operations(types: Iterable[str]) -> set[str]:
    """Those of some types of TensorFlow operations, such as `Conv2D`, that tf2onnx has no ONNX counterpart for."""
    import tf2onnx.tfonnx  # registers the handlers of all operations
    from tf2onnx.handler import tf_op

    handlers = tf_op.create_mapping(tf2onnx.constants.PREFERRED_OPSET, None)
    return set(types) - set(handlers) - {"ReadVariableOp"}  # that one is replaced by a constant before
