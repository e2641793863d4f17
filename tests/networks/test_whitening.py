"""networks/whitening.py: the filters' outputs over the images they were made from are uncorrelated."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sample_images import draw

from convscope.networks.whitening import EPSILON, STRIDE, whitening_filters

pytestmark = pytest.mark.tensorflow


def noise(count: int, channels: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth noise, whose neighbouring pixels are correlated: (count, 24, 24, channels)."""
    rough = np.random.default_rng(seed).normal(0, 1, (count, 29, 29, channels))
    smooth = sum(rough[:, down : down + 24, right : right + 24] for down in range(6) for right in range(6))
    return np.clip(128 + 12 * np.asarray(smooth), 0, 255).astype(np.uint8)


def outputs_of(filters: NDArray[np.float32], images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The output of each filter for each patch, by a loop over patches: (patches, filters)."""
    side = filters.shape[0]
    positions = range(0, images.shape[1] - side + 1, STRIDE)
    patches = [
        image[y : y + side, x : x + side].ravel() / 255 for image in images for y in positions for x in positions
    ]
    return np.asarray(patches, np.float64) @ filters.reshape(-1, filters.shape[3])


@pytest.mark.parametrize("channels", [1, 3])
def test_outputs_are_uncorrelated_and_of_one_variance(channels: int) -> None:
    """Their covariance is the identity, less what EPSILON takes off directions of little variance."""
    images = noise(200, channels)
    filters = whitening_filters(images, side=3, max_filters=10)
    assert (filters.shape, filters.dtype) == ((3, 3, channels, 10), np.float32)
    covariance = np.cov(outputs_of(filters[..., ::2], images), rowvar=False)
    raw = np.cov(outputs_of(np.eye(9 * channels, dtype=np.float32).reshape(3, 3, channels, -1), images), rowvar=False)
    variances = np.sort(np.linalg.eigvalsh(raw))[::-1][:5]
    assert variances[0] > 5 * variances[-1]  # the pixels are not white
    np.testing.assert_allclose(covariance, np.diag(variances / (variances + EPSILON)), atol=0.02)


def test_each_filter_is_followed_by_its_negative() -> None:
    """After a ReLU the two keep both halves of an output."""
    filters = whitening_filters(noise(20, 3), side=4, max_filters=7)
    assert filters.shape == (4, 4, 3, 6)  # an even number
    np.testing.assert_array_equal(filters[..., ::2], -filters[..., 1::2])


def test_number_of_filters_is_bounded_by_the_directions() -> None:
    """A 2 x 2 patch of one channel has four directions: eight filters at most."""
    assert whitening_filters(noise(20, 1), side=2, max_filters=64).shape == (2, 2, 1, 8)
    assert whitening_filters(noise(20, 1), side=2, max_filters=1).shape == (2, 2, 1, 0)


def test_images_of_one_colour_have_finite_filters() -> None:
    """Their variance is 0 in every direction."""
    filters = whitening_filters(np.full((3, 8, 8, 3), 7, np.uint8), side=4, max_filters=16)
    assert np.isfinite(filters).all()


def test_drawn_images_give_the_same_filters_each_time() -> None:
    """Nothing is random."""
    images = np.stack([draw("disc", 16, seed) for seed in range(6)])
    np.testing.assert_array_equal(
        whitening_filters(images, side=4, max_filters=16), whitening_filters(images.copy(), side=4, max_filters=16)
    )
