"""networks/hirescam.py: what the graph spells out is the gradient that TensorFlow finds, for every network's head."""

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
    """Networks of others whose heads have one of each layer that there is a rule for."""
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
def test_evidence_is_block_times_gradient(name: str) -> None:
    """Of every class: relu of the sum over channels of the last block times the gradient of the class's logit by it."""
    from convscope.networks.catalog import outputs_of
    from convscope.networks.frameworks import keras, tf
    from convscope.networks.hirescam import blocks_of, evidence, head_of

    model = networks()[name]
    last = blocks_of(model)[-1]
    outputs = outputs_of(model, last, *(layer.name for layer in head_of(model)))(IMAGES, training=False)
    heat = evidence(model, outputs).numpy()
    head = keras.Model(model.get_layer(last).output, model.get_layer("logits").output)
    for index in range(3):
        with tf.GradientTape() as tape:
            tape.watch(outputs[last])
            logit = head(outputs[last], training=False)[:, index]
        expected = tf.nn.relu(tf.reduce_sum(outputs[last] * tape.gradient(logit, outputs[last]), axis=-1)).numpy()
        assert expected.max() > 0
        np.testing.assert_allclose(heat[..., index], expected, atol=1e-6 * expected.max())


def test_blocks_come_first_to_last() -> None:
    """Ten come after nine, also where names would sort otherwise."""
    from convscope.networks.classic import classic
    from convscope.networks.hirescam import blocks_of

    model = classic((1024, 1024, 1), 2, filters=(1,) * 10, dense_units=1, seed=0)
    assert blocks_of(model) == tuple(f"block{number}" for number in range(1, 11))


def test_head_that_is_not_known_is_told() -> None:
    """A layer between the last block and the logits that has no rule is named; no wrong map is made."""
    from convscope.networks.catalog import outputs_of
    from convscope.networks.frameworks import keras
    from convscope.networks.hirescam import evidence, head_of

    image = keras.Input((8, 8, 3), name="image")
    block = keras.layers.Conv2D(2, 3, name="block1")(image)
    pooled = keras.layers.Dense(3, activation="tanh", name="features")(keras.layers.Flatten(name="flat")(block))
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(pooled))
    outputs = outputs_of(model, "block1", *(layer.name for layer in head_of(model)))(np.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match="Dense 'features'"):
        evidence(model, outputs)
