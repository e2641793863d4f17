"""explanation/activations.py: what a layer makes of an image is what its arithmetic says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy_network import convolve, largest_of_four
from sample_images import draw

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("channels", [1, 3])
def test_first_convolution_is_the_one_that_numpy_computes(channels: int) -> None:
    """Every channel at every place, and the block after it, agree with an independent computation in float64."""
    from convscope.explanation.activations import activations_of
    from convscope.networks.catalog import read_weights
    from convscope.networks.classic import classic

    model = classic((16, 16, channels), 2, filters=(4, 5), dense_units=8, seed=1)
    image = draw("ring", 16, 0)[:, :, :channels]
    seen = activations_of(model, image, ["block1_convolution", "block1"])
    weights = {name: np.asarray(array, np.float64) for name, array in read_weights(model).items()}
    expected = convolve(image[np.newaxis] / 255, weights["block1_convolution/kernel"])
    expected = expected + weights["block1_convolution/bias"]
    assert seen["block1_convolution"].shape == (16, 16, 4)
    np.testing.assert_allclose(seen["block1_convolution"], expected[0], atol=1e-5)
    np.testing.assert_allclose(seen["block1"], np.maximum(largest_of_four(expected), 0)[0], atol=1e-5)


def test_each_layer_comes_by_its_name() -> None:
    """Convolutions as (height, width, channels), dense layers as (units,), float32, for one image."""
    from convscope.explanation.activations import activations_of
    from convscope.networks.classic import classic

    model = classic((16, 16, 3), 3, filters=(4, 5), dense_units=8, seed=0)
    seen = activations_of(model, draw("disc", 16, 0), ["block2_convolution", "features", "probabilities"])
    shapes = {name: activation.shape for name, activation in seen.items()}
    assert shapes == {"block2_convolution": (8, 8, 5), "features": (8,), "probabilities": (3,)}
    assert all(activation.dtype == np.float32 for activation in seen.values())
    assert seen["probabilities"].sum() == pytest.approx(1.0)
