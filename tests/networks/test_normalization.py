"""networks/normalization.py: the fused layer is batch normalisation as in NumPy, and its state is among the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from convscope.networks.catalog import read_weights, set_weights
from convscope.networks.frameworks import keras, tf
from convscope.networks.normalization import ChannelRescaling, FusedBatchNormalization

pytestmark = pytest.mark.tensorflow

EPSILON = 1e-3
Array = NDArray[np.float32]


def make_model() -> Any:
    """The layer alone, on three channels of any size, with four vectors that are neither 0 nor 1."""
    image = keras.Input((None, None, 3))
    model = keras.Model(image, FusedBatchNormalization(name="norm")(image))
    generator = np.random.default_rng(1)
    set_weights(model, {name: generator.uniform(0.5, 2, array.shape) for name, array in read_weights(model).items()})
    return model


def make_inputs(count: int = 4, size: int = 5) -> Array:
    """Values whose channels differ in mean and deviation: (count, size, size, 3) float32."""
    generator = np.random.default_rng(0)
    return (generator.normal(size=(count, size, size, 3)) * [0.5, 2, 7] + [3, -1, 0]).astype("f4")


def normalise(inputs: Array, weights: dict[str, Any], mean: Any, variance: Any) -> Any:
    """Ioffe and Szegedy's equation, in float64."""
    exact = inputs.astype(np.float64)
    return (exact - mean) / np.sqrt(variance + EPSILON) * weights["norm/scale"] + weights["norm/offset"]


@pytest.mark.parametrize(("count", "size"), [(1, 5), (4, 1), (6, 7)])
def test_training_uses_the_batch(count: int, size: int) -> None:
    """In training each channel is normalised by its mean and variance over the batch, rows and columns."""
    model, inputs = make_model(), make_inputs(count, size)
    weights = read_weights(model)
    expected = normalise(inputs, weights, inputs.mean(axis=(0, 1, 2)), inputs.astype("f8").var(axis=(0, 1, 2)))
    np.testing.assert_allclose(model(inputs, training=True), expected, rtol=1e-4, atol=1e-4)


def test_inference_uses_the_moving_statistics() -> None:
    """Otherwise by the moving ones, each image by itself, and they do not change."""
    model, inputs = make_model(), make_inputs()
    weights = read_weights(model)
    expected = normalise(inputs, weights, weights["norm/mean"], weights["norm/variance"])
    np.testing.assert_allclose(model(inputs, training=False), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model(inputs[2:3], training=False), expected[2:3], rtol=1e-4, atol=1e-4)
    assert all((weights[name] == array).all() for name, array in read_weights(model).items())


def test_moving_statistics_follow_the_batches() -> None:
    """Each batch moves them a tenth of the way to its mean and unbiased variance; scale and offset stay."""
    model = make_model()
    before = read_weights(model)
    mean, variance = before["norm/mean"].astype("f8"), before["norm/variance"].astype("f8")
    for count in (2, 3, 4):
        inputs = make_inputs(count)
        model(inputs, training=True)
        mean = 0.9 * mean + 0.1 * inputs.mean(axis=(0, 1, 2))
        variance = 0.9 * variance + 0.1 * inputs.reshape(-1, 3).var(axis=0, ddof=1)
    after = read_weights(model)
    np.testing.assert_allclose(after["norm/mean"], mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(after["norm/variance"], variance, rtol=1e-5)
    assert all((after[name] == before[name]).all() for name in ("norm/scale", "norm/offset"))


def test_gradients_flow_through_the_statistics() -> None:
    """Gradients by input, scale and offset are those of the same equation written out, batch statistics included."""
    model, inputs = make_model(), tf.constant(make_inputs())
    weights = tf.constant(np.random.default_rng(5).normal(size=inputs.shape).astype("f4"))
    scale, offset = (model.get_layer("norm").scale.value, model.get_layer("norm").offset.value)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        fused = tf.reduce_sum(model(inputs, training=True) * weights)
        mean, variance = tf.nn.moments(inputs, axes=[0, 1, 2])
        written_out = tf.reduce_sum(((inputs - mean) / tf.sqrt(variance + EPSILON) * scale + offset) * weights)
    for target in (inputs, scale, offset):
        gradient, expected = tape.gradient(fused, target), tape.gradient(written_out, target)
        assert np.abs(expected).max() > 1e-2
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_statistics_are_weights_that_are_not_trained() -> None:
    """All four vectors are read and set by name; only scale and offset are trainable."""
    model = make_model()
    assert set(read_weights(model)) == {f"norm/{name}" for name in ("scale", "offset", "mean", "variance")}
    assert {weight.path for weight in model.trainable_weights} == {"norm/scale", "norm/offset"}
    model(make_inputs(), training=True)
    other = make_model()
    set_weights(other, read_weights(model))
    np.testing.assert_array_equal(other(make_inputs(2), training=False), model(make_inputs(2), training=False))


def test_bfloat16_stays_bfloat16() -> None:
    """The output has the dtype of the input; the four vectors stay float32."""
    model = FusedBatchNormalization(dtype="bfloat16")
    output = model(tf.constant(make_inputs(), tf.bfloat16), training=True)
    assert output.dtype == tf.bfloat16
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert abs(np.asarray(tf.cast(output, tf.float32)).mean()) < 0.02


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_rescaling_is_by_channel_whatever_the_data_format_of_the_process(data_format: str) -> None:
    """Each channel, the last axis, has its scale and offset, also in a layer that is made from its configuration."""
    layer = ChannelRescaling((1.0, 0.5, 0.1), (0.0, 1.0, 2.0))
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    expected = images * np.array([1, 0.5, 0.1]) + [0, 1, 2]
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(data_format)
    try:
        for rescaling in (layer, ChannelRescaling.from_config(layer.get_config())):
            np.testing.assert_allclose(rescaling(images), expected, rtol=1e-6)
    finally:
        keras.config.set_image_data_format(before)
