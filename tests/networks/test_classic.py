"""networks/classic.py: the network is the reference's, to the last weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy_network import logits_of, softmax

from convscope.networks.catalog import read_weights, set_weights, submodel
from convscope.networks.classic import classic
from convscope.networks.frameworks import keras

pytestmark = pytest.mark.tensorflow

REFERENCE_SHAPES = {
    "image": (None, 128, 128, 3),
    "scale": (None, 128, 128, 3),
    "block1_convolution": (None, 128, 128, 32),
    "block1_pool": (None, 64, 64, 32),
    "block1": (None, 64, 64, 32),
    "block2_convolution": (None, 64, 64, 32),
    "block2_pool": (None, 32, 32, 32),
    "block2": (None, 32, 32, 32),
    "block3_convolution": (None, 32, 32, 64),
    "block3_pool": (None, 16, 16, 64),
    "block3": (None, 16, 16, 64),
    "flatten": (None, 16_384),
    "dense": (None, 128),
    "features": (None, 128),
    "logits": (None, 2),
    "probabilities": (None, 2),
}
REFERENCE_WEIGHTS = {
    "block1_convolution/kernel": (3, 3, 3, 32),
    "block1_convolution/bias": (32,),
    "block2_convolution/kernel": (3, 3, 32, 32),
    "block2_convolution/bias": (32,),
    "block3_convolution/kernel": (3, 3, 32, 64),
    "block3_convolution/bias": (64,),
    "dense/kernel": (16_384, 128),
    "dense/bias": (128,),
    "logits/kernel": (128, 2),
    "logits/bias": (2,),
}
TRUNCATED = 0.8796  # standard deviation of a normal distribution truncated at two of its own, divided by the latter


@pytest.fixture(scope="module")
def reference() -> Any:
    """The network of the default recipe, for two classes."""
    return classic((128, 128, 3), 2, filters=(32, 32, 64), dense_units=128, seed=0)


def small(size: int = 12, channels: int = 3, num_classes: int = 3, seed: int = 0) -> Any:
    """A tiny network, with weights large enough that every layer matters."""
    model = classic((size, size, channels), num_classes, filters=(4, 5), dense_units=6, seed=seed)
    generator = np.random.default_rng(1)
    scaled = {name: generator.normal(0, 0.5, array.shape).astype("f4") for name, array in read_weights(model).items()}
    set_weights(model, scaled)
    return model


def random_images(count: int, size: int, channels: int = 3) -> np.ndarray:
    """Noise: (count, size, size, channels) uint8."""
    return np.random.default_rng(2).integers(0, 256, (count, size, size, channels), np.uint8)


def test_layers_and_shapes_are_the_references(reference: Any) -> None:
    """Three convolutions with pooling before ReLU, 16,384 values into the dense layer, in this order."""
    assert {layer.name: tuple(layer.output.shape) for layer in reference.layers} == REFERENCE_SHAPES
    assert [layer.name for layer in reference.layers] == list(REFERENCE_SHAPES)


def test_weights_are_the_references(reference: Any) -> None:
    """Every weight has the reference's shape; there are 2,126,178 values, and all are trainable."""
    assert {weight.path: tuple(weight.shape) for weight in reference.weights} == REFERENCE_WEIGHTS
    assert reference.count_params() == 2_126_178
    assert len(reference.trainable_weights) == len(reference.weights)


def test_kernels_start_from_a_truncated_normal(reference: Any) -> None:
    """Standard deviation 0.05, truncated at two of it, in each layer; no two layers have equal kernels."""
    kernels = {name: array for name, array in read_weights(reference).items() if name.endswith("kernel")}
    for name, kernel in kernels.items():
        error = 0.05 / np.sqrt(kernel.size)  # of the mean; of the deviation it is less
        assert abs(kernel).max() <= 0.1 + 1e-6, name
        assert abs(kernel).max() > 0.09, name
        assert kernel.mean() == pytest.approx(0, abs=5 * error), name
        assert kernel.std() == pytest.approx(0.05 * TRUNCATED, abs=5 * error), name
    starts = {kernel.ravel()[:64].tobytes() for kernel in kernels.values()}
    assert len(starts) == len(kernels)


def test_biases_start_at_a_constant(reference: Any) -> None:
    """Every bias is 0.05, as in the reference."""
    biases = [array for name, array in read_weights(reference).items() if name.endswith("bias")]
    assert len(biases) == 5
    assert all((bias == np.float32(0.05)).all() for bias in biases)


def test_convolutions_are_plain(reference: Any) -> None:
    """3x3, stride 1, same padding, with bias; pooling 2x2, stride 2."""
    for number in (1, 2, 3):
        convolution, pool = (reference.get_layer(f"block{number}_{part}") for part in ("convolution", "pool"))
        assert (convolution.kernel_size, convolution.strides, convolution.padding) == ((3, 3), (1, 1), "same")
        assert convolution.use_bias
        assert (pool.pool_size, pool.strides) == ((2, 2), (2, 2))


@pytest.mark.parametrize(("size", "channels"), [(12, 3), (12, 1), (13, 3)])
def test_outputs_are_those_of_numpy(size: int, channels: int) -> None:
    """The same logits and probabilities as a NumPy network that scales to 0..1 and applies ReLU before the maximum."""
    model = small(size, channels)
    images = random_images(5, size, channels)
    outputs = submodel(model, "logits", "probabilities")(images, training=False)
    expected = logits_of(read_weights(model), images)
    assert np.ptp(expected) > 1  # the logits depend on the image
    np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(outputs["probabilities"], softmax(expected), rtol=1e-4, atol=1e-5)


def test_order_of_pooling_and_relu_changes_no_bit() -> None:
    """ReLU before pooling, the reference's order, gives the same bits from the same convolution."""
    model = small()
    images = random_images(5, 12)
    outputs = submodel(model, "block1_convolution", "block1")(images, training=False)
    convolved = outputs["block1_convolution"]
    assert (convolved.numpy() < 0).any()
    expected = keras.layers.MaxPooling2D(2)(keras.layers.ReLU()(convolved))
    np.testing.assert_array_equal(outputs["block1"], expected)


def test_images_are_scaled_to_one() -> None:
    """uint8 0, 51 and 255 become 0, 0.2 and 1."""
    scaled = submodel(small(), "scale")
    image = np.resize(np.array([0, 51, 255], np.uint8), (1, 12, 12, 3))
    np.testing.assert_allclose(scaled(image)["scale"].numpy()[0, 0, 0], [0, 0.2, 1], atol=1e-7)


def test_input_is_bytes_and_output_is_float32() -> None:
    """Images are uint8, probabilities float32 that add up to 1."""
    model = small()
    assert model.input.dtype == "uint8"
    probabilities = model(random_images(4, 12), training=False).numpy()
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("filters", [(3,), (2, 4), (2, 3, 4, 5)])
def test_filters_units_and_classes_are_the_callers(filters: tuple[int, ...]) -> None:
    """There are as many blocks as filters, and layers have the given widths."""
    model = classic((20, 20, 1), 7, filters=filters, dense_units=9, seed=0)
    widths = [model.get_layer(f"block{number}").output.shape[-1] for number in range(1, len(filters) + 1)]
    assert widths == list(filters)
    side = 20 // 2 ** len(filters)
    assert model.get_layer("flatten").output.shape[-1] == side * side * filters[-1]
    assert model.get_layer("features").output.shape[-1] == 9
    assert model.output.shape == (None, 7)


def test_first_weights_follow_from_the_seed() -> None:
    """The same seed gives the same bits, another seed other kernels."""

    def first_weights(seed: int) -> dict[str, np.ndarray]:
        return read_weights(classic((8, 8, 3), 2, filters=(4,), dense_units=5, seed=seed))

    first, same, other = first_weights(3), first_weights(3), first_weights(4)
    assert all((first[name] == same[name]).all() for name in first)
    assert all((first[name] != other[name]).any() for name in first if name.endswith("kernel"))
