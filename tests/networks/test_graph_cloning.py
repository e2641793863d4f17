"""networks/graph_cloning.py: the clone of a third-party network is flat, named, and has the same outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convscope.errors import RecipeError
from convscope.networks.blocks import image_input, layers
from convscope.networks.catalog import named_weights, read_weights, submodel
from convscope.networks.frameworks import keras
from convscope.networks.graph_cloning import clone_with_head, flatten
from convscope.networks.hirescam import block_names

pytestmark = pytest.mark.tensorflow

SHAPE = (16, 16, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), np.uint8)


def clone(trunk: Any) -> Any:
    """A third-party network from float pixels to features, with a head for three classes."""
    image = image_input(SHAPE)
    return clone_with_head(flatten(trunk, SHAPE), image, layers.Rescaling(1.0, name="scale")(image), num_classes=3)


def small(*, name: str | None = None) -> Any:
    """Two resolutions; the first has a squeeze and excitation, the second begins with zero padding."""
    image = keras.Input(SHAPE)
    tensor = layers.Conv2D(4, 3, strides=2, padding="same", name=name)(image)
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(tensor)
    tensor = layers.Multiply()([tensor, layers.Conv2D(4, 1, activation="sigmoid")(squeezed)])
    tensor = layers.BatchNormalization()(tensor + 1.0)
    tensor = layers.ZeroPadding2D(1)(tensor)
    tensor = layers.Conv2D(6, 3, strides=2)(tensor)
    return keras.Model(image, layers.GlobalAveragePooling2D()(tensor))


def test_features_are_those_of_the_original() -> None:
    """The clone has the layers and the weights of the original, to rounding."""
    trunk = small()
    features = submodel(clone(trunk), "features")(IMAGES, training=False)["features"]
    np.testing.assert_allclose(features, trunk(IMAGES.astype("f4"), training=False), rtol=1e-5, atol=1e-4)


def test_blocks_end_each_resolution() -> None:
    """Neither a tensor beside a skip connection, nor padding, nor the image is a block."""
    model = clone(small())
    assert block_names(model) == ("block1", "block2")
    shapes = [tuple(model.get_layer(name).output.shape[1:]) for name in block_names(model)]
    assert shapes == [(8, 8, 4), (4, 4, 6)]
    (norm,) = (layer for layer in model.layers if isinstance(layer, layers.BatchNormalization))
    assert model.get_layer("block1").input is norm.output


def test_names_depend_on_the_network_alone() -> None:
    """Layers and weights have the same names, whatever layers were made before."""
    first = clone(small())
    for _ in range(3):
        layers.Conv2D(1, 1), layers.BatchNormalization(), layers.GlobalAveragePooling2D()
    second = clone(small())
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    assert list(read_weights(first)) == list(read_weights(second))
    assert {"conv2d_1/kernel", "conv2d_2/bias", "batch_normalization_1/gamma"} < read_weights(first).keys()


@pytest.mark.parametrize(("given", "expected"), [("stem", "stem"), ("conv2d_9", "conv2d_1"), ("block2", "conv2d_1")])
def test_names_by_the_author_are_kept(given: str, expected: str) -> None:
    """But for those that look like Keras's numbered ones, and those that convscope uses itself."""
    assert f"{expected}/kernel" in read_weights(clone(small(name=given)))


def test_equal_names_are_made_unique() -> None:
    """Two nested networks may have the same names: the second gets a number."""
    image = keras.Input(SHAPE)
    first, second = (keras.Sequential([layers.Conv2D(3, 3, name="look")], name=name) for name in "ab")
    model = clone(keras.Model(image, layers.Flatten()(second(first(image)))))
    assert [name for name in read_weights(model) if name.endswith("kernel")] == [
        "look/kernel",
        "look_2/kernel",
        "logits/kernel",
    ]


def test_nested_networks_are_flattened() -> None:
    """Models within models become layers of one flat model, with the same features."""
    image = keras.Input(SHAPE)
    inner = keras.Sequential([layers.Conv2D(4, 3), keras.Sequential([layers.ReLU(), layers.MaxPooling2D()])])
    trunk = keras.Model(image, layers.GlobalAveragePooling2D()(inner(image)))
    model = clone(trunk)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    features = submodel(model, "features")(IMAGES)["features"]
    np.testing.assert_allclose(features, trunk(IMAGES.astype("f4")), rtol=1e-5)


def test_nested_network_that_is_not_trained_keeps_its_statistics() -> None:
    """`base(x, training=False)`, as one fine-tunes: its batch normalisation is frozen, and no other."""
    image = keras.Input(SHAPE)
    base = keras.Sequential([layers.Conv2D(4, 3), layers.BatchNormalization(name="base")])
    tensor = layers.BatchNormalization(name="top")(base(image, training=False))
    model = clone(keras.Model(image, layers.Flatten()(tensor)))
    before = read_weights(model)
    model(IMAGES, training=True)
    changed = {name for name, array in read_weights(model).items() if (array != before[name]).any()}
    assert changed == {"top/moving_mean", "top/moving_variance"}
    assert not any(weight.trainable for name, weight in named_weights(model).items() if name.startswith("base"))


def test_layer_that_is_called_twice_is_cloned_once() -> None:
    """Its weights are shared as before, and a block after its second call is after the second call of the clone."""
    image = keras.Input(SHAPE)
    shared = layers.Conv2D(3, 3, padding="same")
    trunk = keras.Model(image, layers.Flatten()(shared(shared(image))))
    model = clone(trunk)
    assert sum(name.endswith("kernel") for name in read_weights(model)) == 2
    outputs = submodel(model, "block1", "features")(IMAGES)
    np.testing.assert_allclose(outputs["features"], trunk(IMAGES.astype("f4")), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(outputs["block1"].numpy().reshape(4, -1), outputs["features"])


@pytest.mark.parametrize("is_adapted", [True, False])
def test_statistics_of_a_normalization_are_weights(is_adapted: bool) -> None:
    """Keras's `Normalization` becomes a layer whose statistics are saved; the features are the same."""
    image = keras.Input(SHAPE)
    statistics = {} if is_adapted else {"mean": [10.0, 20.0, 30.0], "variance": [4.0, 9.0, 0.0]}
    normalization = layers.Normalization(**statistics)
    trunk = keras.Model(image, layers.Flatten()(layers.Conv2D(2, 3)(normalization(image))))
    if is_adapted:
        normalization.adapt(IMAGES.astype("f4"))
    model = clone(trunk)
    assert {"normalization_1/moving_mean", "normalization_1/moving_variance"} < read_weights(model).keys()
    expected = trunk(IMAGES.astype("f4")).numpy()
    features = submodel(model, "features")(IMAGES, training=True)["features"]
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_normalization_of_another_axis_is_an_error() -> None:
    """It has no counterpart in batch normalisation."""
    image = keras.Input(SHAPE)
    normalized = layers.Normalization(axis=1)(image)
    with pytest.raises(RecipeError, match="other axes than the last"):
        clone(keras.Model(image, layers.Flatten()(layers.Conv2D(2, 3)(normalized))))


def test_layer_without_its_configuration_is_an_error() -> None:
    """A layer whose `get_config` lacks arguments is named."""

    class Incomplete(layers.Layer):  # type: ignore[misc]
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def call(self, inputs: Any) -> Any:
            return self.inner(inputs)

    image = keras.Input(SHAPE)
    with pytest.raises(RecipeError, match=r"Incomplete 'incomplete.*get_config"):
        clone(keras.Model(image, layers.Flatten()(Incomplete(layers.Conv2D(2, 3))(image))))


def test_operations_without_a_counterpart_in_onnx_are_replaced() -> None:
    """A depthwise convolution written as a grouped one, and GELU, as ConvNeXt has them; the features are the same."""
    image = keras.Input(SHAPE)
    tensor = layers.Conv2D(6, 3, groups=3, activation="gelu")(layers.Rescaling(1 / 99)(image))
    trunk = keras.Model(image, layers.GlobalAveragePooling2D()(layers.Activation("gelu")(layers.Conv2D(4, 3)(tensor))))
    model = clone(trunk)
    features = submodel(model, "features")(IMAGES)["features"]
    np.testing.assert_allclose(features, trunk(IMAGES.astype("f4")), rtol=1e-4, atol=1e-5)
    assert "conv2d_1/kernel" in read_weights(model)
    assert not any(getattr(layer, "activation", None) is keras.activations.gelu for layer in model.layers)
    assert max(getattr(layer, "groups", 1) for layer in model.layers) == 1


@pytest.mark.parametrize("scale", [0.01, [0.01, 0.02, 0.03]])
def test_rescaling_does_not_depend_on_the_data_format_of_the_process(scale: Any) -> None:
    """A vector for `Rescaling` is applied to channels as when the network was built, also under `channels_first`."""
    image = keras.Input(SHAPE)
    trunk = keras.Model(image, layers.Flatten()(layers.Conv2D(2, 3)(layers.Rescaling(scale, offset=-1.0)(image))))
    model, expected = clone(trunk), trunk(IMAGES.astype("f4"))
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        features = submodel(model, "features")(IMAGES)["features"]
    finally:
        keras.config.set_image_data_format(before)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
