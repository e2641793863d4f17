"""A network's name, as the recipe has it, to the network; and its weights to and from plain arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from convscope.models.classic import classic
from convscope.models.compact import compact
from convscope.models.frameworks import keras

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convscope.recipe import Recipe


def build_network(recipe: Recipe, num_classes: int, *, precision: Literal["float32", "bfloat16"] = "float32") -> Any:
    """The network that a recipe describes, with first weights from its seed.

    In bfloat16 the activations have that precision; weights, statistics, logits and probabilities are float32.

    Returns: a `keras.Model` from `image` uint8 to `probabilities`, with layers `block1`..., `features`, `logits`.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "float32" else "mixed_bfloat16")
    try:
        return _build(recipe, num_classes)
    finally:
        keras.config.set_dtype_policy(before)


def _build(recipe: Recipe, num_classes: int) -> Any:
    if recipe.network == "compact":
        return compact((None, None, recipe.channels), num_classes, filters=recipe.filters, seed=recipe.seed)
    shape = (recipe.image_size, recipe.image_size, recipe.channels)
    return classic(shape, num_classes, filters=recipe.filters, dense_units=recipe.dense_units, seed=recipe.seed)


def count_operations(model: Any, size: int) -> int:
    """Floating-point operations of its convolutions and dense layers for one image, forward; an addition counts."""
    symbolic = outputs_of(model, *(layer.name for layer in model.layers if hasattr(layer, "kernel")))
    shapes = symbolic.compute_output_shape((1, size, size, model.input.shape[-1]))
    return sum(
        2 * math.prod(shape[1:-1]) * math.prod(model.get_layer(name).kernel.shape) for name, shape in shapes.items()
    )


def convolutions_of(model: Any) -> tuple[str, ...]:
    """The names of a network's convolutions, first to last."""
    return tuple(layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D))


def outputs_of(model: Any, *names: str) -> Any:
    """The same network and weights, ending in the layers `names`; a dictionary by name."""
    return keras.Model(model.input, {name: model.get_layer(name).output for name in names})


def read_weights(model: Any) -> dict[str, NDArray[np.generic]]:
    """Every weight by its path, such as `logits/kernel`."""
    return {weight.path: weight.numpy() for weight in model.weights}


def set_weights(model: Any, weights: Mapping[str, NDArray[np.generic]]) -> None:
    """Put weights into a network of the same recipe.

    Raises:
        KeyError, ValueError: they are not this network's.
    """
    paths = {weight.path for weight in model.weights}
    if paths != weights.keys():
        raise KeyError(", ".join(sorted(paths ^ weights.keys())))
    for weight in model.weights:
        weight.assign(weights[weight.path])
