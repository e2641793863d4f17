"""models/catalog.py: a recipe becomes a network, and a network's weights become arrays and come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convscope.models.catalog import build_network, outputs_of, read_weights, set_weights
from convscope.recipe import Recipe

pytestmark = pytest.mark.tensorflow

RECIPE = Recipe(network="classic", image_size=16, channels=1, filters=(4, 4), dense_units=6, seed=5)


@pytest.fixture
def model() -> Any:
    """A small network."""
    return build_network(RECIPE, 3)


def test_network_is_the_recipes() -> None:
    """Size, channels, filters, width and classes come from the recipe and the data, none from a constant."""
    model = build_network(Recipe(network="classic", image_size=20, channels=3, filters=(2, 3, 5), dense_units=7), 4)
    shapes = {name: tuple(model.get_layer(name).output.shape[1:]) for name in ("image", "block3", "features", "logits")}
    assert shapes == {"image": (20, 20, 3), "block3": (2, 2, 5), "features": (7,), "logits": (4,)}


def test_default_recipe_is_the_reference() -> None:
    """Without any choice the network has the reference's 2,126,178 weights for two classes."""
    assert build_network(Recipe(network="classic"), 2).count_params() == 2_126_178


def test_seed_is_the_recipes() -> None:
    """Two networks of one recipe start alike."""
    one, two = (read_weights(build_network(RECIPE, 3)) for _ in range(2))
    assert all((one[name] == two[name]).all() for name in one)


def test_outputs_are_named_and_share_the_weights(model: Any) -> None:
    """Any layers come out by name, and follow the network's weights when these change."""
    part = outputs_of(model, "block1", "logits")
    images = np.full((2, 16, 16, 1), 200, np.uint8)
    before = part(images)
    assert {name: tuple(tensor.shape) for name, tensor in before.items()} == {"block1": (2, 8, 8, 4), "logits": (2, 3)}
    set_weights(model, {name: array + 1 for name, array in read_weights(model).items()})
    assert (part(images)["logits"].numpy() != before["logits"].numpy()).all()


def test_weights_come_back(model: Any) -> None:
    """What was read can be put into another network of the same recipe, to the bit."""
    weights = {
        name: np.random.default_rng(0).normal(size=array.shape).astype("f4")
        for name, array in read_weights(model).items()
    }
    set_weights(model, weights)
    other = build_network(RECIPE, 3)
    set_weights(other, read_weights(model))
    assert all((weights[name] == array).all() for name, array in read_weights(other).items())


def test_read_weights_are_a_copy(model: Any) -> None:
    """Weights that were read stay as they were when the network learns on."""
    kept = read_weights(model)
    before = {name: array.copy() for name, array in kept.items()}
    for weight in model.weights:
        weight.value.assign_add(np.ones(weight.shape, np.float32))
    assert all((kept[name] == before[name]).all() for name in kept)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_weights_of_another_network_are_refused(model: Any, change: str) -> None:
    """A weight too few, one too many, or one of another shape is an error, not a network that is half another."""
    weights = read_weights(model)
    if change == "missing":
        del weights["dense/bias"]
    elif change == "unknown":
        weights["block3_convolution/bias"] = np.zeros(4, np.float32)
    else:
        weights["dense/bias"] = np.zeros(7, np.float32)
    with pytest.raises((KeyError, ValueError), match=r"bias|shape"):
        set_weights(model, weights)
