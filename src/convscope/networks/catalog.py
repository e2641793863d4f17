"""Builds the network that a recipe names; reads and sets a network's weights by name."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from convscope.networks.applications import keras_application
from convscope.networks.classic import classic
from convscope.networks.compact import compact
from convscope.networks.custom import custom_network
from convscope.networks.efficientnet import efficientnet_lite0
from convscope.networks.frameworks import keras, keras_defaults
from convscope.randomness import draw_seed
from convscope.recipe.defaults import EFFICIENTNET, KERAS
from convscope.recipe.validation import Precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convscope.recipe.resolved import ResolvedRecipe

NUMBER_BY_KERAS = re.compile(r"_\d+(?=/|$)")  # in the path of a weight


def build_network(
    recipe: ResolvedRecipe, num_classes: int, *, precision: Precision = "float32", load_weights: bool = True
) -> Any:
    """The network that a recipe names, with initial weights from its seed or pretrained ones.

    It does not depend on Keras's settings in the process, nor changes them. In bfloat16 the activations have that
    precision; weights, statistics, logits and probabilities are float32.

    Args:
        recipe: a complete recipe.
        num_classes: the number of classes.
        precision: of the activations.
        load_weights: `False` builds the same network without reading pretrained weights, where others will be set.

    Returns: a `keras.Model` from `image` uint8 to `probabilities`, with layers `block1`..., `features`, `logits`.

    Raises:
        MissingExtra: the pretrained weights are not installed.
        RecipeError: the recipe's network or weights cannot be used.
    """
    with keras_defaults(precision), _seeded(recipe.seed):
        any_size = (None, None, recipe.channels)
        one_size = (recipe.image_size, recipe.image_size, recipe.channels)
        if recipe.kind == "compact":
            return compact(any_size, num_classes, filters=recipe.filters, seed=recipe.seed)
        if recipe.kind == "classic":
            filters, units = recipe.filters, recipe.dense_units
            return classic(one_size, num_classes, filters=filters, dense_units=units, seed=recipe.seed)
        if recipe.network == EFFICIENTNET:
            return efficientnet_lite0(any_size, num_classes, weights=recipe.weights if load_weights else "none")
        if recipe.kind == "pretrained":
            name = recipe.network.removeprefix(KERAS)
            return keras_application(name, one_size, num_classes, weights=recipe.weights, load_weights=load_weights)
        return custom_network(recipe.network, one_size, num_classes)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed what Keras draws for layers without a seed: it takes it from Python's own generator."""
    before = random.getstate()
    random.seed(draw_seed(seed, "layers"))
    try:
        yield
    finally:
        random.setstate(before)


def count_operations(model: Any, size: int) -> int:
    """Floating-point operations of a network's convolutions and dense layers for one image, forward.

    A multiplication and an addition are two.

    Args:
        size: side of the image, in pixels.
    """
    kernel_sizes = {
        layer.name: sum(math.prod(weight.shape) for weight in layer.weights if weight.path.endswith("kernel"))
        for layer in model.layers
    }
    outputs = submodel(model, *(name for name, kernel_size in kernel_sizes.items() if kernel_size))
    shapes = outputs.compute_output_shape((1, size, size, model.input.shape[-1]))
    return sum(2 * math.prod(shape[1:-1]) * kernel_sizes[name] for name, shape in shapes.items())


def convolution_names(model: Any) -> tuple[str, ...]:
    """The names of a network's convolutions with kernels larger than 1 x 1, first to last."""
    convolutions = (layer for layer in model.layers if type(layer) is keras.layers.Conv2D)
    return tuple(layer.name for layer in convolutions if math.prod(layer.kernel_size) > 1)


def submodel(model: Any, *names: str) -> Any:
    """The same network and weights up to the layers `names`; its output is a dictionary by name."""
    with keras_defaults():
        return keras.Model(model.input, {name: model.get_layer(name).output for name in names})


def named_weights(model: Any) -> dict[str, Any]:
    """Every weight by its name, such as `logits/kernel`.

    A name follows from those of the layers and their weights, without the numbers that Keras adds by what was built
    before: in a custom layer, the second weight without a name is `variable_2`.
    """
    named: dict[str, Any] = {}
    for layer in model.layers:
        for weight in layer.weights:
            path = NUMBER_BY_KERAS.sub("", weight.path.removeprefix(f"{layer.name}/"))
            candidates = (f"{layer.name}/{path}{f'_{number}' * (number > 1)}" for number in itertools.count(1))
            named[next(name for name in candidates if name not in named)] = weight
    return named


def random_states(model: Any) -> dict[str, Any]:
    """The states of a network's random generators, such as those of its dropout, by name: variables."""
    states: dict[str, Any] = {}
    for layer in model.layers:
        weights = {id(weight) for weight in layer.weights}
        generators = [variable for variable in layer.variables if id(variable) not in weights]
        states |= {f"random/{layer.name}/{number}": state for number, state in enumerate(generators, start=1)}
    return states


def read_weights(model: Any) -> dict[str, NDArray[np.generic]]:
    """A copy of every weight by its name."""
    return {name: weight.numpy() for name, weight in named_weights(model).items()}


def set_weights(model: Any, weights: Mapping[str, NDArray[np.generic]]) -> None:
    """Set the weights of a network of the same recipe.

    Raises:
        KeyError, ValueError: names or shapes are not this network's.
    """
    named = named_weights(model)
    if named.keys() != weights.keys():
        raise KeyError(", ".join(sorted(named.keys() ^ weights.keys())))
    for name, weight in named.items():
        weight.assign(weights[name])
