"""First filters that whiten: over the images that they are computed from, their outputs are uncorrelated and scaled.

Neighbouring pixels are strongly correlated, and a network spends its first epochs on learning filters that respond to
differences. The leading eigenvectors of the patches' covariance, each divided by the root of its eigenvalue, are such
filters before the first step.
From Page's cifar10-fast (2019) and Jordan, 2024 (arXiv 2404.00498).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convscope.networks.frameworks import tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

EPSILON = 5e-4  # added to each variance, of pixels in 0..1: what varies less is noise
IMAGES_AT_ONCE = 128  # whose patches are in memory
STRIDE = 5  # pixels between the patches, horizontally and vertically


def whitening_filters(images: NDArray[np.uint8], *, side: int, max_filters: int) -> NDArray[np.float32]:
    """The whitening filters of some images, each followed by its negative: a ReLU passes one half of each.

    Args:
        images: (n, height, width, channels) uint8, at least one, no smaller than a filter.
        side: of a filter, in pixels.
        max_filters: the maximum number of filters.

    Returns: (side, side, channels, filters) float32, `filters` even, at most `max_filters` and 2 * side² * channels;
        the directions of most variance come first.
    """
    channels = images.shape[3]
    windows = np.lib.stride_tricks.sliding_window_view(images, (side, side), axis=(1, 2))[:, ::STRIDE, ::STRIDE]
    variances, directions = np.linalg.eigh(_covariance(windows.transpose(0, 1, 2, 4, 5, 3)))
    leading = np.argsort(variances)[::-1][: max_filters // 2]
    filters = directions[:, leading] / np.sqrt(np.maximum(variances[leading], 0) + EPSILON)
    pairs = np.stack([filters, -filters], axis=-1)
    return np.asarray(pairs.reshape(side, side, channels, -1), np.float32)


def _covariance(patches: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The covariance of patches (n, rows, columns, side, side, channels) uint8, scaled to 0..1: (values, values).

    TensorFlow multiplies: NumPy's threads wait for each other by spinning, which took 5 to 8 s in place of 0.2 when
    other processes used the cores.
    """
    values = math.prod(patches.shape[3:])
    total, products = np.zeros(values), np.zeros((values, values))
    for batch in np.array_split(patches, -(-len(patches) // IMAGES_AT_ONCE)):
        flat = batch.reshape(-1, values).astype(np.float32) / 255
        total += flat.sum(axis=0, dtype=np.float64)
        products += tf.matmul(flat, flat, transpose_a=True).numpy()
    count = math.prod(patches.shape[:3])
    mean = total / count
    return np.asarray(products / count - np.outer(mean, mean))
