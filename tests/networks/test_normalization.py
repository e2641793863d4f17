"""networks/normalization.py: the fused layer is batch normalisation as NumPy has it, and its state is the network's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from convscope.networks.catalog import read_weights, set_weights
from convscope.networks.frameworks import keras, tf
from convscope.networks.normalization import FusedBatchNormalization

pytestmark = pytest.mark.tensorflow

EPSILON = 1e-3
Array = NDArray[np.float32]


def make_model() -> Any:
    """The layer alone, on three channels of any size, with vectors that are none of them trivial."""
    image = keras.Input((None, None, 3))
    model = keras.Model(image, FusedBatchNormalization(name="norm")(image))
    draws = np.random.default_rng(1)
    set_weights(model, {name: draws.uniform(0.5, 2, array.shape) for name, array in read_weights(model).items()})
    return model


def make_inputs(count: int = 4, size: int = 5) -> Array:
    """Values whose channels differ in mean and deviation: (count, size, size, 3) float32."""
    draws = np.random.default_rng(0)
    return (draws.normal(size=(count, size, size, 3)) * [0.5, 2, 7] + [3, -1, 0]).astype("f4")


def normalise(inputs: Array, weights: dict[str, Any], mean: Any, variance: Any) -> Any:
    """Ioffe and Szegedy's equation, in float64."""
    exact = inputs.astype(np.float64)
    return (exact - mean) / np.sqrt(variance + EPSILON) * weights["norm/scale"] + weights["norm/offset"]


@pytest.mark.parametrize(("count", "size"), [(1, 5), (4, 1), (6, 7)])
def test_training_uses_the_batch(count: int, size: int) -> None:
    """While training each channel is normalised by its own mean and variance over the batch, its rows and columns."""
    model, inputs = make_model(), make_inputs(count, size)
    weights = read_weights(model)
    expected = normalise(inputs, weights, inputs.mean(axis=(0, 1, 2)), inputs.astype("f8").var(axis=(0, 1, 2)))
    np.testing.assert_allclose(model(inputs, training=True), expected, rtol=1e-4, atol=1e-4)


def test_inference_uses_the_moving_statistics() -> None:
    """Else by the kept ones, image by image, and nothing is changed."""
    model, inputs = make_model(), make_inputs()
    weights = read_weights(model)
    expected = normalise(inputs, weights, weights["norm/mean"], weights["norm/variance"])
    np.testing.assert_allclose(model(inputs, training=False), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model(inputs[2:3], training=False), expected[2:3], rtol=1e-4, atol=1e-4)
    assert all((weights[name] == array).all() for name, array in read_weights(model).items())


def test_moving_statistics_follow_the_batches() -> None:
    """Each training batch moves them a tenth of the way to its mean and its unbiased variance; the rest stays."""
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
    wanted = tf.constant(np.random.default_rng(5).normal(size=inputs.shape).astype("f4"))
    scale, offset = (model.get_layer("norm").scale.value, model.get_layer("norm").offset.value)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        ours = tf.reduce_sum(model(inputs, training=True) * wanted)
        mean, variance = tf.nn.moments(inputs, axes=[0, 1, 2])
        theirs = tf.reduce_sum(((inputs - mean) / tf.sqrt(variance + EPSILON) * scale + offset) * wanted)
    for target in (inputs, scale, offset):
        slopes, expected = tape.gradient(ours, target), tape.gradient(theirs, target)
        assert np.abs(expected).max() > 1e-2
        np.testing.assert_allclose(slopes, expected, rtol=1e-3, atol=1e-4)


def test_statistics_are_weights_that_do_not_learn() -> None:
    """All four vectors are read, saved and put back by name; only scale and offset are the optimiser's."""
    model = make_model()
    assert set(read_weights(model)) == {f"norm/{name}" for name in ("scale", "offset", "mean", "variance")}
    assert {weight.path for weight in model.trainable_weights} == {"norm/scale", "norm/offset"}
    model(make_inputs(), training=True)
    other = make_model()
    set_weights(other, read_weights(model))
    np.testing.assert_array_equal(other(make_inputs(2), training=False), model(make_inputs(2), training=False))


def test_bfloat16_stays_bfloat16() -> None:
    """Half as many bytes come out as went in half as wide; the four vectors stay float32."""
    model = FusedBatchNormalization(dtype="bfloat16")
    answer = model(tf.constant(make_inputs(), tf.bfloat16), training=True)
    assert answer.dtype == tf.bfloat16
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert abs(np.asarray(tf.cast(answer, tf.float32)).mean()) < 0.02
