"""networks/hirescam.py: the maps are those of the gradient that TensorFlow computes, for the head of every network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sample_images import draw

pytestmark = pytest.mark.tensorflow

IMAGES = np.stack([draw(kind, 32, seed) for seed in range(3) for kind in ("disc", "bar")])


def networks() -> dict[str, Any]:
    """Each network small, with weights under which every class has some evidence."""
    from convscope.networks.classic import classic
    from convscope.networks.compact import compact

    return varied_heads() | {
        "classic": classic((32, 32, 3), 3, filters=(4, 5), dense_units=8, seed=1),
        "compact": compact((32, 32, 3), 3, filters=(4, 5, 6), seed=1),
    }


def varied_heads() -> dict[str, Any]:
    """Third-party networks whose heads have one of each supported layer."""
    from convscope.networks.frameworks import keras

    layers = keras.layers

    def flattened(block: Any) -> Any:
        tensor = layers.Dense(8, activation="relu")(layers.Dropout(0.5)(layers.Flatten()(block)))
        tensor = layers.BatchNormalization(moving_mean_initializer="ones", moving_variance_initializer="ones")(tensor)
        return layers.Activation("linear", name="features")(layers.ReLU(6)(tensor))

    def highest(block: Any) -> Any:
        tensor = layers.BatchNormalization(scale=False)(layers.GlobalMaxPooling2D()(block))
        return layers.Activation("relu", name="features")(layers.GaussianNoise(0.5)(layers.Dense(6)(tensor)))

    def build(head: Any) -> Any:
        image = keras.Input((32, 32, 3), name="image")
        block = layers.Conv2D(4, 5, strides=4, activation="relu", name="block1")(layers.Rescaling(1 / 50)(image))
        return keras.Model(image, layers.Dense(3, name="logits")(head(block)))

    keras.utils.set_random_seed(1)
    return {"flattened": build(flattened), "highest": build(highest)}


@pytest.mark.parametrize("name", ["classic", "compact", "flattened", "highest"])
def test_heat_map_is_block_times_gradient(name: str) -> None:
    """For every class: ReLU of the sum over channels of the last block times the gradient of the logit by it."""
    from convscope.networks.catalog import submodel
    from convscope.networks.frameworks import keras, tf
    from convscope.networks.hirescam import block_names, class_heat_maps, head_layers

    model = networks()[name]
    last = block_names(model)[-1]
    outputs = submodel(model, last, *(layer.name for layer in head_layers(model)))(IMAGES, training=False)
    maps = class_heat_maps(model, outputs).numpy()
    head = keras.Model(model.get_layer(last).output, model.get_layer("logits").output)
    for index in range(3):
        with tf.GradientTape() as tape:
            tape.watch(outputs[last])
            logit = head(outputs[last], training=False)[:, index]
        expected = tf.nn.relu(tf.reduce_sum(outputs[last] * tape.gradient(logit, outputs[last]), axis=-1)).numpy()
        assert expected.max() > 0
        np.testing.assert_allclose(maps[..., index], expected, atol=1e-6 * expected.max())


@pytest.mark.parametrize("network", ["classic", "compact", "efficientnet-lite0"])
def test_heat_maps_of_a_network_in_bfloat16_are_float32(network: str) -> None:
    """With bfloat16 activations the maps are those of the float32 network, to the precision of bfloat16."""
    from convscope.networks.catalog import build_network, read_weights, set_weights, submodel
    from convscope.networks.hirescam import block_names, class_heat_maps, head_layers
    from convscope.recipe.recipe import Recipe
    from convscope.recipe.resolved import resolve

    filters = {"classic": {"filters": (4, 5)}, "compact": {"filters": (4, 5, 6)}}.get(network, {"weights": "none"})
    recipe = resolve(Recipe(network=network, image_size=32, **filters))
    exact = build_network(recipe, 3)
    weights = read_weights(exact)
    weights["logits/kernel"] = np.random.default_rng(0).normal(size=weights["logits/kernel"].shape).astype("f4")
    maps = []
    for model in (exact, build_network(recipe, 3, precision="bfloat16")):
        set_weights(model, weights)
        names = (block_names(model)[-1], *(layer.name for layer in head_layers(model)))
        maps.append(class_heat_maps(model, submodel(model, *names)(IMAGES, training=False)))
    assert maps[1].dtype == "float32"
    np.testing.assert_allclose(maps[1], maps[0], atol=0.1 * np.abs(maps[0]).max())


def test_blocks_are_named_first_to_last() -> None:
    """`block10` comes after `block9`."""
    from convscope.networks.classic import classic
    from convscope.networks.hirescam import block_names

    model = classic((1024, 1024, 1), 2, filters=(1,) * 10, dense_units=1, seed=0)
    assert block_names(model) == tuple(f"block{number}" for number in range(1, 11))


def test_unsupported_head_is_an_error() -> None:
    """A layer between the last block and the logits that is not supported is named."""
    from convscope.networks.catalog import submodel
    from convscope.networks.frameworks import keras
    from convscope.networks.hirescam import class_heat_maps, head_layers

    image = keras.Input((8, 8, 3), name="image")
    block = keras.layers.Conv2D(2, 3, name="block1")(image)
    pooled = keras.layers.Dense(3, activation="tanh", name="features")(keras.layers.Flatten(name="flat")(block))
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(pooled))
    outputs = submodel(model, "block1", *(layer.name for layer in head_layers(model)))(np.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match="Dense 'features'"):
        class_heat_maps(model, outputs)
