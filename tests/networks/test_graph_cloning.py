"""networks/graph_cloning.py: a network of others comes out flat, with our names and blocks, and answers as it did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convscope.errors import RecipeError
from convscope.networks.blocks import images, layers
from convscope.networks.catalog import outputs_of, read_weights, weights_of
from convscope.networks.frameworks import keras
from convscope.networks.graph_cloning import blocks_of, dress, flatten
from convscope.networks.hirescam import blocks_of as names_of_blocks

pytestmark = pytest.mark.tensorflow

SHAPE = (16, 16, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), np.uint8)


def dressed(trunk: Any) -> Any:
    """A trunk of others, from float pixels to features, as ours."""
    image = images(SHAPE)
    return dress(flatten(trunk, SHAPE), image, layers.Rescaling(1.0, name="scale")(image), num_classes=3)


def small(*, name: str | None = None) -> Any:
    """Two resolutions; the first has a residual part around a squeeze, the second begins with an edge of zeros."""
    image = keras.Input(SHAPE)
    tensor = layers.Conv2D(4, 3, strides=2, padding="same", name=name)(image)
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(tensor)
    tensor = layers.Multiply()([tensor, layers.Conv2D(4, 1, activation="sigmoid")(squeezed)])
    tensor = layers.BatchNormalization()(tensor + 1.0)
    tensor = layers.ZeroPadding2D(1)(tensor)
    tensor = layers.Conv2D(6, 3, strides=2)(tensor)
    return keras.Model(image, layers.GlobalAveragePooling2D()(tensor))


def test_answers_stay_what_they_were() -> None:
    """The features are those of the network that was given, weights and all, to rounding."""
    trunk = small()
    features = outputs_of(dressed(trunk), "features")(IMAGES, training=False)["features"]
    np.testing.assert_allclose(features, trunk(IMAGES.astype("f4"), training=False), rtol=1e-5, atol=1e-4)


def test_blocks_end_each_resolution() -> None:
    """Neither what is inside of a residual part, nor an edge of zeros, nor the image itself is a block."""
    model = dressed(small())
    assert names_of_blocks(model) == ("block1", "block2")
    shapes = [tuple(model.get_layer(name).output.shape[1:]) for name in names_of_blocks(model)]
    assert shapes == [(8, 8, 4), (4, 4, 6)]
    (normed,) = (each for each in model.layers if isinstance(each, layers.BatchNormalization))
    assert model.get_layer("block1").input is normed.output


def test_names_depend_on_the_network_alone() -> None:
    """Whatever Keras has counted before, layers and weights have the same names."""
    first = dressed(small())
    for _ in range(3):
        layers.Conv2D(1, 1), layers.BatchNormalization(), layers.GlobalAveragePooling2D()
    second = dressed(small())
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    assert list(read_weights(first)) == list(read_weights(second))
    assert {"conv2d_1/kernel", "conv2d_2/bias", "batch_normalization_1/gamma"} < read_weights(first).keys()


@pytest.mark.parametrize(("given", "kept"), [("stem", "stem"), ("conv2d_9", "conv2d_1"), ("block2", "conv2d_1")])
def test_names_that_were_given_stay(given: str, kept: str) -> None:
    """A name that somebody chose is kept, but for those that are numbered, and those that are ours."""
    assert f"{kept}/kernel" in read_weights(dressed(small(name=given)))


def test_names_that_come_twice_are_told_apart() -> None:
    """Two networks inside of one may have the same names: the second gets a number."""
    image = keras.Input(SHAPE)
    one, two = (keras.Sequential([layers.Conv2D(3, 3, name="look")], name=name) for name in "ab")
    model = dressed(keras.Model(image, layers.Flatten()(two(one(image)))))
    assert [name for name in read_weights(model) if name.endswith("kernel")] == [
        "look/kernel",
        "look_2/kernel",
        "logits/kernel",
    ]


def test_networks_inside_are_laid_open() -> None:
    """Models within models come out as one flat row of layers, with the same answers."""
    image = keras.Input(SHAPE)
    inner = keras.Sequential([layers.Conv2D(4, 3), keras.Sequential([layers.ReLU(), layers.MaxPooling2D()])])
    trunk = keras.Model(image, layers.GlobalAveragePooling2D()(inner(image)))
    model = dressed(trunk)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    features = outputs_of(model, "features")(IMAGES)["features"]
    np.testing.assert_allclose(features, trunk(IMAGES.astype("f4")), rtol=1e-5)


def test_network_inside_that_never_trains_keeps_its_statistics() -> None:
    """`base(x, training=False)`, as one fine-tunes: its batch normalisation is frozen, and no other."""
    image = keras.Input(SHAPE)
    base = keras.Sequential([layers.Conv2D(4, 3), layers.BatchNormalization(name="theirs")])
    tensor = layers.BatchNormalization(name="own")(base(image, training=False))
    model = dressed(keras.Model(image, layers.Flatten()(tensor)))
    before = read_weights(model)
    model(IMAGES, training=True)
    changed = {name for name, array in read_weights(model).items() if (array != before[name]).any()}
    assert changed == {"own/moving_mean", "own/moving_variance"}
    assert not any(weight.trainable for name, weight in weights_of(model).items() if name.startswith("theirs"))


def test_layer_that_is_called_twice_stays_one() -> None:
    """Its weights are shared after as before."""
    image = keras.Input(SHAPE)
    shared = layers.Conv2D(3, 3, padding="same")
    model = dressed(keras.Model(image, layers.Flatten()(shared(shared(image)))))
    assert sum(name.endswith("kernel") for name in read_weights(model)) == 2


@pytest.mark.parametrize("is_adapted", [True, False])
def test_normalization_keeps_its_numbers_among_the_weights(is_adapted: bool) -> None:
    """Keras's `Normalization` becomes a layer whose statistics are saved with all else; the answers stay."""
    image = keras.Input(SHAPE)
    numbers = {} if is_adapted else {"mean": [10.0, 20.0, 30.0], "variance": [4.0, 9.0, 0.0]}
    normalization = layers.Normalization(**numbers)
    trunk = keras.Model(image, layers.Flatten()(layers.Conv2D(2, 3)(normalization(image))))
    if is_adapted:
        normalization.adapt(IMAGES.astype("f4"))
    model = dressed(trunk)
    assert {"normalization_1/moving_mean", "normalization_1/moving_variance"} < read_weights(model).keys()
    expected = trunk(IMAGES.astype("f4")).numpy()
    features = outputs_of(model, "features")(IMAGES, training=True)["features"]
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_normalization_of_another_axis_is_told() -> None:
    """What cannot be made of a batch normalisation is refused."""
    image = keras.Input(SHAPE)
    normalized = layers.Normalization(axis=1)(image)
    with pytest.raises(RecipeError, match="other axes than the last"):
        dressed(keras.Model(image, layers.Flatten()(layers.Conv2D(2, 3)(normalized))))


def test_layer_that_keeps_its_words_to_itself_is_told() -> None:
    """A layer without the `get_config` that it would need is named."""

    class Secret(layers.Layer):  # type: ignore[misc]
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def call(self, inputs: Any) -> Any:
            return self.inner(inputs)

    image = keras.Input(SHAPE)
    with pytest.raises(RecipeError, match=r"Secret 'secret.*get_config"):
        dressed(keras.Model(image, layers.Flatten()(Secret(layers.Conv2D(2, 3))(image))))


@pytest.mark.parametrize("end", ["tanh", "sum", "two pools", "keepdims", "no convolution"])
def test_end_that_no_heat_map_leads_through_is_told(end: str) -> None:
    """It is refused when the network is built, and not when it has been trained."""
    image = keras.Input(SHAPE)
    tensor = layers.Conv2D(2, 3)(image)
    pooled = layers.GlobalAveragePooling2D()(tensor)
    features = {
        "tanh": lambda: layers.Dense(2, activation="tanh")(pooled),
        "sum": lambda: keras.ops.sum(tensor, axis=(1, 2)),
        "two pools": lambda: layers.Concatenate()([pooled, layers.GlobalMaxPooling2D()(tensor)]),
        "keepdims": lambda: layers.Flatten()(layers.GlobalAveragePooling2D(keepdims=True)(tensor)),
        "no convolution": lambda: layers.Dense(2)(layers.Flatten()(image)),
    }[end]()
    with pytest.raises(RecipeError, match=r"no heat map leads through it|as the last feature map"):
        blocks_of(keras.Model(image, features))


def test_what_onnx_does_not_have_is_written_otherwise() -> None:
    """A convolution of each channel by itself, and GELU, as ConvNeXt has them: the same answers, otherwise."""
    image = keras.Input(SHAPE)
    tensor = layers.Conv2D(6, 3, groups=3, activation="gelu")(layers.Rescaling(1 / 99)(image))
    trunk = keras.Model(image, layers.GlobalAveragePooling2D()(layers.Activation("gelu")(layers.Conv2D(4, 3)(tensor))))
    model = dressed(trunk)
    features = outputs_of(model, "features")(IMAGES)["features"]
    np.testing.assert_allclose(features, trunk(IMAGES.astype("f4")), rtol=1e-4, atol=1e-5)
    assert "conv2d_1/kernel" in read_weights(model)
    assert not any(getattr(layer, "activation", None) is keras.activations.gelu for layer in model.layers)
    assert max(getattr(layer, "groups", 1) for layer in model.layers) == 1
