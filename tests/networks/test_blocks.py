"""networks/blocks.py: each block computes what its docstring says, under the name that it is given."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.networks import blocks
from convscope.networks.blocks import Initializers
from convscope.networks.frameworks import keras

pytestmark = pytest.mark.tensorflow

INITIALIZERS = Initializers(0, stddev=0.05, bias=0.25)


def test_input_is_bytes_of_the_given_shape() -> None:
    """It takes any number of uint8 images of one shape, and is called `image`."""
    image = blocks.image_input((4, 6, 3))
    assert (image.name, image.dtype, tuple(image.shape)) == ("image", "uint8", (None, 4, 6, 3))


def test_scale_maps_bytes_to_the_unit_interval() -> None:
    """0 and 255 are the ends of 0..1."""
    scaled = blocks.scale(np.array([[[[0], [255]]]], np.uint8))
    np.testing.assert_allclose(np.ravel(scaled), [0, 1])


def test_convolution_block_halves_the_sides_and_names_its_last_layer() -> None:
    """(h, w, c) -> (h // 2, w // 2, filters), and the layer with the name of the block is the ReLU."""
    image = blocks.image_input((9, 6, 3))
    tensor = blocks.convolution_block(blocks.scale(image), 5, name="block7", initializers=INITIALIZERS)
    assert tuple(tensor.shape) == (None, 4, 3, 5)
    assert [layer.name for layer in keras.Model(image, tensor).layers[2:]] == [
        "block7_convolution",
        "block7_pool",
        "block7",
    ]


def test_outputs_of_a_convolution_block_are_not_negative() -> None:
    """The ReLU comes last."""
    image = blocks.image_input((8, 8, 1))
    model = keras.Model(
        image,
        blocks.convolution_block(
            blocks.scale(image), 16, name="block1", initializers=Initializers(0, stddev=1, bias=0)
        ),
    )
    outputs = model(np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)).numpy()
    assert outputs.min() == 0
    assert outputs.max() > 0


def test_dense_is_linear() -> None:
    """It has no activation: with an input of 0 its output is the bias, and outputs may be negative."""
    vector = keras.Input((3,))
    model = keras.Model(vector, blocks.dense(vector, 8, name="logits", initializers=INITIALIZERS))
    np.testing.assert_allclose(model(np.zeros((1, 3), np.float32)), np.full((1, 8), 0.25))
    assert model(np.full((1, 3), 1e3, np.float32)).numpy().min() < 0


def test_initial_weights_depend_on_the_name_of_the_layer() -> None:
    """Equal names have equal weights, whatever was drawn before; other names and other seeds have others."""

    def kernel(initializers: Initializers, layer: str) -> bytes:
        return np.asarray(initializers.for_layer(layer)["kernel_initializer"]((4, 4))).tobytes()

    assert kernel(INITIALIZERS, "a") == kernel(INITIALIZERS, "a") == kernel(Initializers(0, stddev=0.05, bias=0), "a")
    assert kernel(INITIALIZERS, "a") != kernel(INITIALIZERS, "b")
    assert kernel(INITIALIZERS, "a") != kernel(Initializers(1, stddev=0.05, bias=0), "a")
