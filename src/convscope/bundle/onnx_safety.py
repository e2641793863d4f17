"""An ONNX file from a stranger, looked through before anything runs it: no other files, no code, no control flow.

ONNX Runtime reads weights from any file that a graph names, runs operators that other libraries register, and loops for
as long as a graph says. What convscope writes needs none of that, so a file that does is refused. The file is read as
the protobuf that it is (encoding: protobuf.dev; fields: onnx.proto3) without building anything from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# fields of ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto
GRAPH, TRAINING, FUNCTIONS = 7, 20, 25
NODE, INITIALIZER, SPARSE_INITIALIZER = 1, 5, 15
OPERATOR, ATTRIBUTE, DOMAIN = 4, 5, 7
TENSOR, SUBGRAPH, TENSORS, SUBGRAPHS = 5, 6, 10, 11
EXTERNAL_DATA, DATA_LOCATION = 13, 14
OWN_DOMAINS = frozenset({"", "ai.onnx"})


class Field(NamedTuple):
    """One field of a message: its number, and its value as a number or as bytes."""

    number: int
    value: int | memoryview


def find_danger(data: bytes) -> str:
    """What in an ONNX file must not be run, in a few words; "" where there is nothing.

    Raises:
        ValueError: the bytes are no protobuf.
    """
    for number, value in read_fields(memoryview(data)):
        if number == FUNCTIONS:
            return "functions of its own"
        if number == TRAINING:
            return "instructions for training"
        if number == GRAPH and (danger := _danger_in_graph(_message(value))):
            return danger
    return ""


def read_fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, in order.

    Raises:
        ValueError: it ends early, or holds what protobuf has given up.
    """
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == VARINT:
            value, place = _varint(message, place)
            yield Field(key >> 3, value)
            continue
        if kind == BYTES:
            size, place = _varint(message, place)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise ValueError("a field of an unknown kind")
        if size > len(message) - place:
            raise ValueError("it ends early")
        yield Field(key >> 3, message[place : place + size])
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first; and the place after it."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("it ends early")
        byte = message[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
    raise ValueError("a number of more than 64 bits")


def _danger_in_graph(graph: memoryview) -> str:
    for number, value in read_fields(graph):
        if number == NODE and (danger := _danger_in_node(_message(value))):
            return danger
        if number == INITIALIZER and _is_external(_message(value)):
            return "weights in another file"
        if number == SPARSE_INITIALIZER:
            return "sparse weights"
    return ""


def _danger_in_node(node: memoryview) -> str:
    operator, is_own = "", True
    for number, value in read_fields(node):
        if number == OPERATOR:
            operator = bytes(_message(value)).decode("utf-8", "replace")
        if number == DOMAIN:
            is_own = bytes(_message(value)).decode("utf-8", "replace") in OWN_DOMAINS
        if number == ATTRIBUTE:
            for inner, content in read_fields(_message(value)):
                if inner in (SUBGRAPH, SUBGRAPHS):
                    return "an operator with a graph inside"
                if inner in (TENSOR, TENSORS) and _is_external(_message(content)):
                    return "weights in another file"
    return "" if is_own else f"the operator {operator} of another library"


def _is_external(tensor: memoryview) -> bool:
    return any(
        number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0) for number, value in read_fields(tensor)
    )


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value
