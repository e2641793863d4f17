"""networks/blocks.py: each brick does its one thing, under the name that it was given."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.networks import blocks
from convscope.networks.blocks import Start
from convscope.networks.frameworks import keras

pytestmark = pytest.mark.tensorflow

START = Start(0, deviation=0.05, bias=0.25)


def test_images_are_bytes_of_the_shape_asked_for() -> None:
    """The input takes any number of uint8 images of one shape, and is called `image`."""
    image = blocks.images((4, 6, 3))
    assert (image.name, image.dtype, tuple(image.shape)) == ("image", "uint8", (None, 4, 6, 3))


def test_scale_maps_bytes_to_the_unit_interval() -> None:
    """0 and 255 are the ends of 0..1."""
    scaled = blocks.scale(np.array([[[[0], [255]]]], np.uint8))
    np.testing.assert_allclose(np.ravel(scaled), [0, 1])


def test_convolve_halves_the_sides_and_names_its_last_layer() -> None:
    """(h, w, c) -> (h // 2, w // 2, filters), and the block's name is that of the output after the ReLU."""
    image = blocks.images((9, 6, 3))
    tensor = blocks.convolve(blocks.scale(image), 5, name="block7", start=START)
    assert tuple(tensor.shape) == (None, 4, 3, 5)
    assert [layer.name for layer in keras.Model(image, tensor).layers[2:]] == [
        "block7_convolution",
        "block7_pool",
        "block7",
    ]


def test_convolve_never_answers_below_zero() -> None:
    """The ReLU comes last."""
    image = blocks.images((8, 8, 1))
    model = keras.Model(
        image, blocks.convolve(blocks.scale(image), 16, name="block1", start=Start(0, deviation=1, bias=0))
    )
    answer = model(np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)).numpy()
    assert answer.min() == 0
    assert answer.max() > 0


def test_dense_is_linear() -> None:
    """A dense brick has no activation of its own: with no input it answers its bias, and it may answer below zero."""
    vector = keras.Input((3,))
    model = keras.Model(vector, blocks.dense(vector, 8, name="logits", start=START))
    np.testing.assert_allclose(model(np.zeros((1, 3), np.float32)), np.full((1, 8), 0.25))
    assert model(np.full((1, 3), 1e3, np.float32)).numpy().min() < 0


def test_start_draws_each_layer_by_its_name() -> None:
    """Equal names start alike, whatever was drawn before; other names and other seeds start otherwise."""

    def drawn(start: Start, layer: str) -> bytes:
        return np.asarray(start.of(layer)["kernel_initializer"]((4, 4))).tobytes()

    assert drawn(START, "a") == drawn(START, "a") == drawn(Start(0, deviation=0.05, bias=0), "a")
    assert drawn(START, "a") != drawn(START, "b")
    assert drawn(START, "a") != drawn(Start(1, deviation=0.05, bias=0), "a")
