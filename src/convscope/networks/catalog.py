"""A network's name, as the recipe has it, to the network; and its weights to and from plain arrays."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from convscope.networks.applications import application
from convscope.networks.classic import classic
from convscope.networks.compact import compact
from convscope.networks.custom import own_network
from convscope.networks.efficientnet import efficientnet_lite0
from convscope.networks.frameworks import keras
from convscope.randomness import draw_seed
from convscope.recipe.defaults import EFFICIENTNET, KERAS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convscope.recipe.recipe import Recipe

NUMBER = re.compile(r"_\d+(?=/|$)")


def build_network(
    recipe: Recipe,
    num_classes: int,
    *,
    precision: Literal["float32", "bfloat16"] = "float32",
    is_blank: bool = False,
) -> Any:
    """The network that a recipe describes, with first weights from its seed, or those that it was trained to before.

    In bfloat16 the activations have that precision; weights, statistics, logits and probabilities are float32.

    Args:
        recipe: whose network is chosen: not `auto`.
        num_classes: how many classes it tells apart.
        precision: of the activations.
        is_blank: leave out weights from before, since others will be put in their place.

    Returns: a `keras.Model` from `image` uint8 to `probabilities`, with layers `block1`..., `features`, `logits`.

    Raises:
        MissingExtra: the weights to start from are not installed.
        RecipeError: the recipe's network or weights cannot be used.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "float32" else "mixed_bfloat16")
    try:
        with _seeded(recipe.seed):
            return _build(recipe, num_classes, is_blank=is_blank)
    finally:
        keras.config.set_dtype_policy(before)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let what Keras draws for layers without a seed follow from ours: it takes it from Python's own generator."""
    before = random.getstate()
    random.seed(draw_seed(seed, "layers"))
    try:
        yield
    finally:
        random.setstate(before)


def _build(recipe: Recipe, num_classes: int, *, is_blank: bool) -> Any:
    any_size = (None, None, recipe.channels)
    one_size = (recipe.image_size, recipe.image_size, recipe.channels)
    if recipe.kind == "compact":
        return compact(any_size, num_classes, filters=recipe.filters, seed=recipe.seed)
    if recipe.kind == "classic":
        return classic(one_size, num_classes, filters=recipe.filters, dense_units=recipe.dense_units, seed=recipe.seed)
    if recipe.network == EFFICIENTNET:
        return efficientnet_lite0(any_size, num_classes, weights="none" if is_blank else recipe.weights)
    if recipe.kind == "pretrained":
        name = recipe.network.removeprefix(KERAS)
        return application(name, one_size, num_classes, weights=recipe.weights, is_blank=is_blank)
    return own_network(recipe.network, one_size, num_classes)


def count_operations(model: Any, size: int) -> int:
    """Floating-point operations of its convolutions and dense layers for one image, forward; an addition counts."""
    kernels = {
        layer.name: sum(math.prod(weight.shape) for weight in layer.weights if weight.path.endswith("kernel"))
        for layer in model.layers
    }
    symbolic = outputs_of(model, *(name for name, count in kernels.items() if count))
    shapes = symbolic.compute_output_shape((1, size, size, model.input.shape[-1]))
    return sum(2 * math.prod(shape[1:-1]) * kernels[name] for name, shape in shapes.items())


def convolutions_of(model: Any) -> tuple[str, ...]:
    """The names of a network's convolutions that look at more than one place, first to last."""
    convolutions = (layer for layer in model.layers if type(layer) is keras.layers.Conv2D)
    return tuple(layer.name for layer in convolutions if math.prod(layer.kernel_size) > 1)


def outputs_of(model: Any, *names: str) -> Any:
    """The same network and weights, ending in the layers `names`; a dictionary by name."""
    return keras.Model(model.input, {name: model.get_layer(name).output for name in names})


def weights_of(model: Any) -> dict[str, Any]:
    """Every weight by its name, such as `logits/kernel`.

    A name follows from those of the layers and their weights, without what Keras numbers as it goes along: in a layer
    of one's own, the second weight that has no name is `variable_2`, whatever was built before.
    """
    named: dict[str, Any] = {}
    for layer in model.layers:
        for weight in layer.weights:
            own = NUMBER.sub("", weight.path.removeprefix(f"{layer.name}/"))
            tried = (f"{layer.name}/{own}{f'_{number}' * (number > 1)}" for number in itertools.count(1))
            named[next(name for name in tried if name not in named)] = weight
    return named


def random_states(model: Any) -> dict[str, Any]:
    """What a network's own draws go on from, such as those of its dropout, by name: variables."""
    states: dict[str, Any] = {}
    for layer in model.layers:
        weights = {id(weight) for weight in layer.weights}
        drawn = [each for each in layer.variables if id(each) not in weights]
        states |= {f"random/{layer.name}/{number}": each for number, each in enumerate(drawn, start=1)}
    return states


def read_weights(model: Any) -> dict[str, NDArray[np.generic]]:
    """Every weight by its name."""
    return {name: weight.numpy() for name, weight in weights_of(model).items()}


def set_weights(model: Any, weights: Mapping[str, NDArray[np.generic]]) -> None:
    """Put weights into a network of the same recipe.

    Raises:
        KeyError, ValueError: they are not this network's.
    """
    named = weights_of(model)
    if named.keys() != weights.keys():
        raise KeyError(", ".join(sorted(named.keys() ^ weights.keys())))
    for name, weight in named.items():
        weight.assign(weights[name])
