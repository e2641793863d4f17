"""A check of an untrusted ONNX file before ONNX Runtime loads it: no external data, custom operators, or control flow.

ONNX Runtime reads weights from any file that a graph names, runs operators that other libraries register, and loops for
as long as a graph says. A file of convscope needs none of that, so one that does is refused. The file is parsed as
protobuf (encoding: protobuf.dev; fields: onnx.proto3) without building any object from it.
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
STANDARD_DOMAINS = frozenset({"", "ai.onnx"})


class Field(NamedTuple):
    """One field of a message: its number, and its value as a number or as bytes."""

    number: int
    value: int | memoryview


def find_danger(data: bytes) -> str:
    """The first content of an ONNX file that is not safe to run, in a few words; "" where there is none.

    Raises:
        ValueError: the bytes are not valid protobuf.
    """
    for number, value in read_fields(memoryview(data)):
        if number == FUNCTIONS:
            return "custom functions"
        if number == TRAINING:
            return "training instructions"
        if number == GRAPH and (danger := _danger_in_graph(_message(value))):
            return danger
    return ""


def read_fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, in order.

    Raises:
        ValueError: it ends early, or contains a wire type that protobuf no longer uses.
    """
    offset = 0
    while offset < len(message):
        tag, offset = _read_varint(message, offset)
        wire_type = tag & 7
        if wire_type == VARINT:
            value, offset = _read_varint(message, offset)
            yield Field(tag >> 3, value)
            continue
        if wire_type == BYTES:
            size, offset = _read_varint(message, offset)
        elif wire_type in (FIXED32, FIXED64):
            size = 4 if wire_type == FIXED32 else 8
        else:
            raise ValueError("a field of an unknown wire type")
        if size > len(message) - offset:
            raise ValueError("it ends early")
        yield Field(tag >> 3, message[offset : offset + size])
        offset += size


def _read_varint(message: memoryview, offset: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first; and the offset after it."""
    number = 0
    for shift in range(0, 70, 7):
        if offset >= len(message):
            raise ValueError("it ends early")
        byte = message[offset]
        offset += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, offset
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
    operator, is_standard = "", True
    for number, value in read_fields(node):
        if number == OPERATOR:
            operator = bytes(_message(value)).decode("utf-8", "replace")
        if number == DOMAIN:
            is_standard = bytes(_message(value)).decode("utf-8", "replace") in STANDARD_DOMAINS
        if number == ATTRIBUTE:
            for inner, content in read_fields(_message(value)):
                if inner in (SUBGRAPH, SUBGRAPHS):
                    return "an operator with a subgraph"
                if inner in (TENSOR, TENSORS) and _is_external(_message(content)):
                    return "weights in another file"
    return "" if is_standard else f"the operator {operator} of another library"


def _is_external(tensor: memoryview) -> bool:
    return any(
        number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0) for number, value in read_fields(tensor)
    )


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number in place of a message")
    return value
