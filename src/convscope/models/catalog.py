"""A network's name, as the recipe has it, to the network; and its weights to and from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convscope.models.classic import classic
from convscope.models.compact import compact
from convscope.models.frameworks import keras

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convscope.recipe import Recipe


def build_network(recipe: Recipe, num_classes: int) -> Any:
    """The network that a recipe describes, with first weights from its seed.

    Returns: a `keras.Model` from `image` uint8 to `probabilities`, with layers `block1`..., `features`, `logits`.
    """
    if recipe.network == "compact":
        return compact((None, None, recipe.channels), num_classes, filters=recipe.filters, seed=recipe.seed)
    shape = (recipe.image_size, recipe.image_size, recipe.channels)
    return classic(shape, num_classes, filters=recipe.filters, dense_units=recipe.dense_units, seed=recipe.seed)


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
