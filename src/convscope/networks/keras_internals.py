"""The private parts of Keras that convscope uses, all of them. Each has a test, to run with every new version.

Keras has no public way to follow a graph from tensor to tensor.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from convscope.networks.blocks import Tensor
from convscope.networks.frameworks import keras


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation in a graph.

    Attributes:
        operation: a layer, or another `keras.Operation`.
        number: 1 for the first call of this operation in the graph, 2 for the second.
        inputs, outputs: its symbolic tensors.
    """

    operation: Any
    number: int
    inputs: list[Tensor]
    outputs: list[Tensor]


def calls_of(model: Any) -> list[Call]:
    """The calls of a functional model's graph but for its inputs, each after those that it needs.

    The order is that in which `keras.models.clone_model` repeats them.
    """
    nodes = (
        node
        for depth in sorted(model._nodes_by_depth, reverse=True)
        for node in model._nodes_by_depth[depth]
        if not node.is_input
    )
    counts: Counter[int] = Counter()
    calls = []
    for node in nodes:
        counts[id(node.operation)] += 1
        calls.append(Call(node.operation, counts[id(node.operation)], node.input_tensors, node.outputs))
    return calls


def source_of(tensor: Tensor) -> tuple[Any, list[Tensor]]:
    """The operation that made a symbolic tensor, and the tensors that it made it from."""
    operation, node_index, _ = tensor._keras_history
    return operation, operation._inbound_nodes[node_index].input_tensors


def layers_within(model: Any) -> list[Any]:
    """The layers of a model at every depth, also those inside of other layers."""
    return list(model._flatten_layers(include_self=False))


def application_module(build: Any) -> Any:
    """The public module of a function of `keras.applications`, in which its `preprocess_input` is."""
    return getattr(keras.applications, application_module_name(build))


def application_module_name(build: Any) -> str:
    """Its name, such as `mobilenet_v2`: the last part of the private module that defines the function."""
    return str(build.__module__.rpartition(".")[2])
