"""networks/tf2onnx_internals.py: what convscope needs of tf2onnx's private parts is there."""

from __future__ import annotations

import pytest

from convscope.networks.tf2onnx_internals import unsupported_operations

pytestmark = pytest.mark.tensorflow


def test_operations_without_a_handler_are_found() -> None:
    """Breaks when `tf2onnx.handler.tf_op` changes: custom networks fail at export, after they were trained."""
    assert unsupported_operations(["Conv2D", "MatMul", "ReadVariableOp", "Erf"]) == set()
    assert unsupported_operations(["Conv2D", "NoSuchOperation", "PartitionedCall"]) >= {"NoSuchOperation"}
