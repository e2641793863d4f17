"""Finds the last feature map of each resolution in a network's graph: its blocks.

A feature map ends a block if it is a cut vertex of the graph: all that follows is computed from it alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from convscope.errors import RecipeError
from convscope.networks.blocks import Tensor, layers
from convscope.networks.hirescam import POOLS, is_supported
from convscope.networks.keras_internals import Call, calls_of, source_of

SAME_RESOLUTION = 0.6  # of the side of a feature map; larger ones differ by no more than their borders
BORDERS = (layers.ZeroPadding2D, layers.Cropping2D)  # they change the border of a feature map, and end no block


def last_calls_of_resolutions(trunk: Any) -> list[Call]:
    """The calls that make the last feature map (B, h, w, c) of each resolution, first to last.

    Args:
        trunk: a flat `keras.Model` from pixels to features (B, d).

    Raises:
        RecipeError: a heat map cannot be computed from the features back to a feature map.
    """
    last = _last_feature_map(trunk)
    chosen: list[Call] = []
    side = 0.0  # of the first feature map of a resolution
    for call in _cut_vertices(trunk):
        tensor = call.outputs[0]
        if len(tensor.shape) == 4 and (tensor is last or not isinstance(call.operation, BORDERS)):
            if chosen and tensor.shape[1] > SAME_RESOLUTION * side:
                chosen[-1] = call
            else:
                side = tensor.shape[1]
                chosen.append(call)
        if tensor is last:
            break
    return chosen


def describe(operation: Any) -> str:
    """An operation in a message: its class and its name."""
    return f"{type(operation).__name__} {operation.name!r}"


def _last_feature_map(trunk: Any) -> Tensor:
    """The feature map from which the features are computed, by layers that a heat map can be computed through."""
    tensor = trunk.output
    while len(tensor.shape) != 4:
        operation, inputs = source_of(tensor)
        if not is_supported(operation) or len(inputs) != 1:
            raise RecipeError(
                found=f"{describe(operation)} between the convolutions and the classes: no heat map can be computed"
                " through it",
                expected="there: Flatten, GlobalAveragePooling2D or GlobalMaxPooling2D, then Dense, ReLU, Dropout or"
                " BatchNormalization",
                fix="build the end of the network of these",
            )
        (tensor,) = inputs
    operation, _ = source_of(tensor)
    if isinstance(operation, (*POOLS, layers.InputLayer)):
        raise RecipeError(
            found=f"{describe(operation)} as the last feature map",
            expected="convolutions, then Flatten, or a global pooling without `keepdims`",
            fix="change the network",
        )
    return tensor


def _cut_vertices(trunk: Any) -> Iterator[Call]:
    """The calls whose output alone all later ones depend on, from the first one with a kernel on."""
    calls = calls_of(trunk)
    uses = Counter(id(tensor) for call in calls for tensor in call.inputs)  # by calls that are still to come
    live = {id(tensor) for tensor in trunk.inputs}
    has_kernel = False
    for call in calls:
        for tensor in call.inputs:
            uses[id(tensor)] -= 1
            if not uses[id(tensor)]:
                live.discard(id(tensor))
        live.update(id(tensor) for tensor in call.outputs)
        has_kernel = has_kernel or any(len(weight.shape) > 1 for weight in getattr(call.operation, "weights", ()))
        if has_kernel and live == {id(call.outputs[0])}:
            yield call
