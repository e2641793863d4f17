"""networks/catalog.py: a recipe becomes a network, and a network's weights become arrays and come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convscope.networks.catalog import (
    build_network,
    count_operations,
    named_weights,
    random_states,
    read_weights,
    set_weights,
    submodel,
)
from convscope.networks.frameworks import keras
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve

pytestmark = pytest.mark.tensorflow

RECIPE = resolve(Recipe(network="classic", image_size=16, channels=1, filters=(4, 4), dense_units=6, seed=5))


@pytest.fixture
def model() -> Any:
    """A small network."""
    return build_network(RECIPE, 3)


def test_network_is_built_from_the_recipe() -> None:
    """Size, channels, filters and dense units are the recipe's, the number of classes is the caller's."""
    model = build_network(
        resolve(Recipe(network="classic", image_size=20, channels=3, filters=(2, 3, 5), dense_units=7)), 4
    )
    shapes = {name: tuple(model.get_layer(name).output.shape[1:]) for name in ("image", "block3", "features", "logits")}
    assert shapes == {"image": (20, 20, 3), "block3": (2, 2, 5), "features": (7,), "logits": (4,)}


def test_default_recipe_is_the_reference() -> None:
    """With default values `classic` has the reference's 2,126,178 weights for two classes."""
    assert build_network(resolve(Recipe(network="classic")), 2).count_params() == 2_126_178


def test_initial_weights_follow_from_the_recipes_seed() -> None:
    """Two networks of one recipe have the same initial weights."""
    one, two = (read_weights(build_network(RECIPE, 3)) for _ in range(2))
    assert all((one[name] == two[name]).all() for name in one)


def test_submodel_has_named_outputs_and_shares_the_weights(model: Any) -> None:
    """Its outputs are those of any layers, by name, and change with the network's weights."""
    blocks = submodel(model, "block1", "logits")
    images = np.full((2, 16, 16, 1), 200, np.uint8)
    before = blocks(images)
    assert {name: tuple(tensor.shape) for name, tensor in before.items()} == {"block1": (2, 8, 8, 4), "logits": (2, 3)}
    set_weights(model, {name: array + 1 for name, array in read_weights(model).items()})
    assert (blocks(images)["logits"].numpy() != before["logits"].numpy()).all()


def test_weights_are_set_as_they_were_read(model: Any) -> None:
    """Weights that were read from one network can be set in another of the same recipe, to the bit."""
    weights = {
        name: np.random.default_rng(0).normal(size=array.shape).astype("f4")
        for name, array in read_weights(model).items()
    }
    set_weights(model, weights)
    other = build_network(RECIPE, 3)
    set_weights(other, read_weights(model))
    assert all((weights[name] == array).all() for name, array in read_weights(other).items())


def test_read_weights_are_a_copy(model: Any) -> None:
    """Weights that were read do not change when the network is trained further."""
    kept = read_weights(model)
    before = {name: array.copy() for name, array in kept.items()}
    for weight in model.weights:
        weight.value.assign_add(np.ones(weight.shape, np.float32))
    assert all((kept[name] == before[name]).all() for name in kept)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_weights_of_another_network_are_refused(model: Any, change: str) -> None:
    """A missing weight, an unknown one, or one of another shape is an error."""
    weights = read_weights(model)
    if change == "missing":
        del weights["dense/bias"]
    elif change == "unknown":
        weights["block3_convolution/bias"] = np.zeros(4, np.float32)
    else:
        weights["dense/bias"] = np.zeros(7, np.float32)
    with pytest.raises((KeyError, ValueError), match=r"bias|shape"):
        set_weights(model, weights)


def test_names_of_weights_are_those_of_keras(model: Any) -> None:
    """In convscope's own networks a name is the path in Keras, by which finished runs have saved the weight."""
    compact = build_network(resolve(Recipe(network="compact", image_size=32, filters=(4, 4, 4))), 2)
    for network in (model, compact):
        assert {name: id(weight) for name, weight in named_weights(network).items()} == {
            weight.path: id(weight) for weight in network.weights
        }


def test_names_of_weights_do_not_have_the_numbers_of_keras() -> None:
    """In a custom layer: weights without a name, and inner layers without one."""

    class Custom(keras.layers.Layer):  # type: ignore[misc]
        def build(self, shape: tuple[int | None, ...]) -> None:
            self.inner = [keras.layers.Dense(2), keras.layers.Dense(2)]
            for layer in self.inner:
                layer.build(shape)
            self.factor, self.offset = (self.add_weight(shape=(1,)) for _ in range(2))

        def call(self, inputs: Any) -> Any:
            return inputs * self.factor + self.offset

    def build() -> Any:
        image = keras.Input((4,), name="image")
        return keras.Model(image, Custom(name="custom")(image))

    names = list(read_weights(build()))
    assert names == list(read_weights(build()))
    assert names == [
        "custom/variable",
        "custom/variable_2",
        "custom/dense/kernel",
        "custom/dense/bias",
        "custom/dense/kernel_2",
        "custom/dense/bias_2",
    ]


def test_random_states_are_those_of_dropout(model: Any) -> None:
    """With a state set back a network drops the same units again; convscope's own networks have none."""
    assert random_states(model) == {}
    image = keras.Input((64,), name="image")
    other = keras.Model(image, keras.layers.Dropout(0.5, name="drop")(image))
    (state,) = random_states(other).values()
    assert list(random_states(other)) == ["random/drop/1"]
    ones, before = np.ones((1, 64), np.float32), state.numpy()
    first = other(ones, training=True).numpy()
    assert (other(ones, training=True).numpy() != first).any()
    state.assign(before)
    np.testing.assert_array_equal(other(ones, training=True), first)


def test_operations_of_separable_convolutions_count() -> None:
    """Both kernels, at every position: two operations for each product."""
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, keras.layers.SeparableConv2D(5, 3, padding="same", name="one")(image))
    assert count_operations(model, 8) == 2 * 64 * (9 * 3 + 3 * 5)
