"""First filters that whiten: over the images that they are made from, their answers are uncorrelated and of one size.

Neighbouring pixels are nearly alike, and a network spends its first epochs on learning to look at what differs. The
leading eigenvectors of the patches' covariance, each scaled by its eigenvalue, have that done before the first step.
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
AT_ONCE = 128  # images whose patches are in memory
STRIDE = 5  # pixels between the patches that are looked at, both ways


def whitening_filters(images: NDArray[np.uint8], *, side: int, most: int) -> NDArray[np.float32]:
    """The filters of some images, each followed by its negative, which a ReLU keeps the other half of.

    Args:
        images: (n, height, width, channels) uint8, at least one, no smaller than a filter.
        side: of a filter, in pixels.
        most: how many filters there may be.

    Returns: (side, side, channels, filters) float32, `filters` even and at most `most` and 2 * side² * channels, the
        directions of most variance first.
    """
    channels = images.shape[3]
    windows = np.lib.stride_tricks.sliding_window_view(images, (side, side), axis=(1, 2))[:, ::STRIDE, ::STRIDE]
    variances, directions = np.linalg.eigh(_covariance(windows.transpose(0, 1, 2, 4, 5, 3)))
    leading = np.argsort(variances)[::-1][: most // 2]
    filters = directions[:, leading] / np.sqrt(np.maximum(variances[leading], 0) + EPSILON)
    both = np.stack([filters, -filters], axis=-1)
    return np.asarray(both.reshape(side, side, channels, -1), np.float32)


def _covariance(patches: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Of patches (n, rows, columns, side, side, channels) of uint8, taken as 0..1: (values, values).

    TensorFlow multiplies: NumPy's threads wait for each other by spinning, and where other work has the cores, that
    took 5 to 8 s in place of 0.2.
    """
    values = math.prod(patches.shape[3:])
    total, products = np.zeros(values), np.zeros((values, values))
    for some in np.array_split(patches, -(-len(patches) // AT_ONCE)):
        flat = some.reshape(-1, values).astype(np.float32) / 255
        total += flat.sum(axis=0, dtype=np.float64)
        products += tf.matmul(flat, flat, transpose_a=True).numpy()
    count = math.prod(patches.shape[:3])
    mean = total / count
    return np.asarray(products / count - np.outer(mean, mean))
