"""bundle/onnx_safety.py: what a network of convscope never needs is detected in an ONNX file, wherever it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import random_model

from convscope.bundle.bundle import open_bundle
from convscope.bundle.onnx_safety import find_danger
from convscope.errors import BundleError


@pytest.fixture
def proto(tmp_path: Path) -> Any:
    """A safe model, to be changed."""
    import onnx

    return onnx.load_model(random_model(("a", "b")).write(tmp_path / "safe.onnx"))


def _external_weights(proto: Any) -> None:
    from onnx import TensorProto

    tensor = proto.graph.initializer[1]
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    tensor.ClearField("raw_data")


def _external_without_location(proto: Any) -> None:
    from onnx import TensorProto

    proto.graph.initializer[0].data_location = TensorProto.EXTERNAL


def _external_constant(proto: Any) -> None:
    from onnx import TensorProto, helper

    tensor = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=tensor))


def _custom_operator(proto: Any) -> None:
    proto.graph.node[0].domain = "com.example"
    proto.graph.node[0].op_type = "Shell"


def _operator_of_onnx_runtime(proto: Any) -> None:
    proto.graph.node[2].domain = "com.microsoft"


def _loop(proto: Any) -> None:
    from onnx import helper

    body = helper.make_graph([], "body", [], [])
    proto.graph.node.append(helper.make_node("Loop", ["", ""], [], body=body))


def _function(proto: Any) -> None:
    from onnx import helper

    imports = [helper.make_opsetid("", 17)]
    node = helper.make_node("Identity", ["x"], ["y"])
    proto.functions.append(helper.make_function("mine", "F", ["x"], ["y"], [node], imports))


def _sparse(proto: Any) -> None:
    from onnx import helper, numpy_helper

    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "indices")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))


def _training(proto: Any) -> None:
    proto.training_info.add()


DANGERS = [
    (_external_weights, "weights in another file"),
    (_external_without_location, "weights in another file"),
    (_external_constant, "weights in another file"),
    (_custom_operator, "the operator Shell of another library"),
    (_operator_of_onnx_runtime, "the operator Flatten of another library"),
    (_loop, "an operator with a subgraph"),
    (_function, "custom functions"),
    (_sparse, "sparse weights"),
    (_training, "training instructions"),
]


@pytest.mark.parametrize(("change", "danger"), DANGERS, ids=[change.__name__ for change, _ in DANGERS])
def test_danger_is_detected_and_refused(proto: Any, tmp_path: Path, change: Callable[[Any], None], danger: str) -> None:
    """Each is named, and the file is refused before anything runs it."""
    assert find_danger(proto.SerializeToString()) == ""
    change(proto)
    file = tmp_path / "model.onnx"
    file.write_bytes(proto.SerializeToString())
    assert find_danger(file.read_bytes()) == danger
    with pytest.raises(BundleError, match=f"with {danger}"):
        open_bundle(file)


def test_second_graph_is_checked_too(proto: Any) -> None:
    """Protobuf merges a message that comes twice, so a danger in the second one counts."""
    import onnx

    safe = proto.SerializeToString()
    _custom_operator(proto)
    other = onnx.ModelProto(graph=proto.graph).SerializeToString()
    assert find_danger(safe + other) == "the operator Shell of another library"


def test_truncated_file_is_never_dangerous(proto: Any) -> None:
    """A safe file that ends early is refused as such, or has nothing dangerous; it is never mistaken for another."""
    data = proto.SerializeToString()
    for end in range(0, len(data), 7):
        try:
            assert find_danger(data[:end]) == ""
        except ValueError as error:
            assert str(error)  # noqa: PT017 - both outcomes are right


@pytest.mark.slow
@given(st.binary(max_size=300))
def test_any_bytes_end_well(data: bytes) -> None:
    """Whatever is given: a result or a ValueError, soon."""
    try:
        assert isinstance(find_danger(data), str)
    except ValueError:
        return
