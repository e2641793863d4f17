"""explanation/filters.py: the convolutions of a network and their weights, as they are."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


def test_convolutions_come_first_to_last() -> None:
    """Every convolution, and no other layer, in the order in which an image meets them."""
    from convscope.explanation.filters import convolutions_of
    from convscope.networks.classic import classic

    model = classic((16, 16, 3), 2, filters=(4, 5, 6), dense_units=8, seed=0)
    assert convolutions_of(model) == ("block1_convolution", "block2_convolution", "block3_convolution")


@pytest.mark.parametrize("channels", [1, 3])
def test_filters_are_the_weights(channels: int) -> None:
    """(height, width, inputs, filters) float32, the very weights that the layer multiplies by."""
    from convscope.explanation.filters import filters_of
    from convscope.networks.catalog import read_weights
    from convscope.networks.classic import classic

    model = classic((16, 16, channels), 2, filters=(4, 5), dense_units=8, seed=0)
    for number, shape in ((1, (3, 3, channels, 4)), (2, (3, 3, 4, 5))):
        weights = filters_of(model, f"block{number}_convolution")
        assert (weights.shape, weights.dtype) == (shape, np.float32)
        np.testing.assert_array_equal(weights, read_weights(model)[f"block{number}_convolution/kernel"])


@pytest.mark.parametrize("layer", ["dense", "nothing"])
def test_layer_without_filters_is_refused(layer: str) -> None:
    """What is no convolution is named, with those that there are."""
    from convscope.explanation.filters import filters_of
    from convscope.networks.classic import classic

    model = classic((16, 16, 3), 2, filters=(4,), dense_units=8, seed=0)
    with pytest.raises(ValueError, match=f"found layer '{layer}'; expected one of block1_convolution"):
        filters_of(model, layer)
