"""Whether the pixels of two images are those of one picture: saved again, resized, trimmed, brightened, marked.

A shift and zoom, as of trimming by some per cent, and a change of brightness and contrast are undone first, by least
squares. Then the images must agree closely. So one strict test finds every kind of copy, and images that are only
similar, such as the same digit in two handwritings, fail it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.datasets.memory_map import RowReader

    FloatArray = NDArray[np.float64]

GREY = (299, 587, 114)  # thousandths of red, green and blue
SIDE = 32  # of the thumbnails that are compared; they are registered at twice this size
ITERATIONS = 2  # of the registration; a third changes nothing
DETAIL = (30.0, 60.0)  # independent edges: at most 30 in a digit or a single disc, over 60 in most photos
MAX_SHIFT = (0.4, 2.0)  # of the 32 pixels of a thumbnail, for little detail and for much (6 %)
MIN_CORRELATION = (0.975, 0.9)  # of registered grey values, for little detail and for much
MIN_EDGE_CORRELATION = (0.98, 0.85)  # of differences between pixels; rarely over 0.5 for photos that are no copies
GAINS = (0.5, 2.0)  # range of the factor by which the contrast of a copy differs
MAX_COLOR_DIFFERENCE = 16.0  # mean, in levels of 255


def are_copies(
    images: NDArray[np.uint8] | RowReader, pairs: NDArray[np.int64], flipped: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether the pixels of pairs of images agree after a small shift, zoom and change of contrast.

    Args:
        images: (n, size, size, channels) uint8.
        pairs: (m, 2) int64, rows of `images`.
        flipped: (m,) bool, whether the first of a pair is to be flipped horizontally.

    Returns: (m,) bool.
    """
    if not len(pairs):
        return np.empty(0, bool)
    rows, indices = np.unique(pairs, return_inverse=True)
    large = np.stack([_thumbnail(images[row]) for row in rows])  # (rows, 64, 64, channels)
    indices = indices.reshape(pairs.shape)
    ones, twos = large[indices[:, 0]], large[indices[:, 1]]
    ones = np.where(flipped[:, np.newaxis, np.newaxis, np.newaxis], ones[:, :, ::-1], ones)
    grey, target = _grey(ones), _halve(_grey(twos))
    across, down = np.zeros((2, len(pairs), 2))
    for _ in range(ITERATIONS):
        factors, _ = _fit(_smooth(_move(grey, across, down)), _smooth(target))
        gains = np.where(factors[:, 1:2] < GAINS[0], np.inf, factors[:, 1:2])
        across = np.clip(across + factors[:, 2:4] / gains, -MAX_SHIFT[1], MAX_SHIFT[1])
        down = np.clip(down + factors[:, 4:6] / gains, -MAX_SHIFT[1], MAX_SHIFT[1])
    factors, fitted = _fit(_move(grey, across, down), target)
    gains = factors[:, 1]
    edges, target_edges = _edges(fitted), _edges(target)
    detail = np.minimum(_detail(edges), _detail(target_edges))
    agree: NDArray[np.bool_] = _correlation(fitted, target) >= np.interp(detail, DETAIL, MIN_CORRELATION)
    agree &= _correlation(edges, target_edges) >= np.interp(detail, DETAIL, MIN_EDGE_CORRELATION)
    shifts = np.maximum(np.abs(across).sum(axis=1), np.abs(down).sum(axis=1))
    agree &= shifts <= np.interp(detail, DETAIL, MAX_SHIFT)
    agree &= (gains >= GAINS[0]) & (gains <= GAINS[1])
    if images.shape[3] == 3:
        differences = gains[agree, np.newaxis] * _colors(ones[agree]) - _colors(twos[agree])
        agree[agree] = np.abs(differences).mean(axis=1) <= MAX_COLOR_DIFFERENCE
    return agree


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(size, size, channels) -> (64, 64, channels)."""
    full = Image.fromarray(image if image.shape[2] == 3 else image[..., 0])
    small = full.resize((2 * SIDE, 2 * SIDE), Image.Resampling.BILINEAR)
    return np.asarray(small).reshape(2 * SIDE, 2 * SIDE, -1)


def _grey(images: NDArray[np.uint8]) -> FloatArray:
    """(n, 64, 64, channels) uint8 -> (n, 64, 64), 0-255."""
    weights = np.array(GREY if images.shape[3] == 3 else (1000,), np.float64)
    return images @ (weights / 1000)


def _colors(images: NDArray[np.uint8]) -> FloatArray:
    """Red minus green and blue minus green, means of 8 x 8 tiles: (n, 64, 64, 3) -> (n, 128)."""
    tiles = images.reshape(len(images), 8, 8, 8, 8, 3).mean(axis=(2, 4))  # (n, 8, 8, 3)
    differences: FloatArray = tiles[..., ::2] - tiles[..., 1:2]
    return differences.reshape(len(images), 128)


def _halve(images: FloatArray) -> FloatArray:
    """(n, 64, 64) -> (n, 32, 32)."""
    rows = images[:, ::2] + images[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4


def _move(images: FloatArray, across: FloatArray, down: FloatArray) -> FloatArray:
    """(n, 64, 64) -> (n, 32, 32), moved by (n, 2) each: the shift, and what a zoom adds to it at the edge."""
    return _samplers(down) @ images @ _samplers(across).transpose(0, 2, 1)


def _samplers(moves: FloatArray) -> FloatArray:
    """Matrices (n, 32, 64) that sample 64 values at 32 moved positions: linear interpolation, then means of two."""
    positions = np.arange(2 * SIDE) + 2 * (moves[:, :1] + moves[:, 1:] * _axis(2 * SIDE))
    positions = np.clip(positions, 0, 2 * SIDE - 1)
    weights = np.maximum(0, 1 - np.abs(positions[:, :, np.newaxis] - np.arange(2 * SIDE)))  # (n, 64 positions, 64)
    samplers: FloatArray = (weights[:, ::2] + weights[:, 1::2]) / 2
    return samplers


def _axis(size: int) -> FloatArray:
    """The centres of pixels, from -1 to 1."""
    return (2 * np.arange(size) + 1) / size - 1


def _fit(images: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The change that brings each image (n, 32, 32) nearest to its target, by least squares, and its result.

    Returns: (n, 6): brightness, contrast, shift and zoom across, shift and zoom down, the last four times the contrast;
        (n, 32, 32), the changed images.
    """
    across, down = np.gradient(images, axis=2), np.gradient(images, axis=1)
    columns = [np.ones_like(images), images, across, across * _axis(SIDE), down, down * _axis(SIDE)[:, np.newaxis]]
    matrix = np.stack(columns, axis=-1).reshape(len(images), -1, 6)
    transposed = matrix.transpose(0, 2, 1)
    ridge = 1e-3 * np.eye(6)  # an image that is constant along a line does not determine a shift along it
    factors = np.linalg.solve(transposed @ matrix + ridge, transposed @ target.reshape(len(images), -1, 1))
    return factors[..., 0], (matrix @ factors).reshape(target.shape)


def _smooth(images: FloatArray) -> FloatArray:
    """Blur by 1-2-1 in both directions, so that gradients reach farther."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    return (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4


def _edges(images: FloatArray) -> FloatArray:
    """The differences between neighbouring pixels, across and down: (n, 32, 32) -> (n, 31, 31, 2)."""
    return np.stack([np.diff(images, axis=2)[:, :-1], np.diff(images, axis=1)[:, :, :-1]], axis=-1)


def _detail(edges: FloatArray) -> FloatArray:
    """The number of independent edges, 1 or more, (n,): the fewer, the likelier two images agree by chance.

    The participation ratio of their power spectrum, small for soft shapes such as digits, or that of their positions,
    small for one object on a plain background, whichever is smaller.
    """
    spectrum = (np.abs(np.fft.rfft2(edges, axes=(1, 2))) ** 2).sum(axis=3)
    positions = (edges**2).sum(axis=3)
    return np.minimum(_participation(spectrum), 0.4 * _participation(positions))  # 0.4: about equal for photos


def _participation(powers: FloatArray) -> FloatArray:
    """The participation ratio, how many of the powers contribute to their sum: (n, a, b) -> (n,), 1 to a * b."""
    ratios: FloatArray = powers.sum(axis=(1, 2)) ** 2 / ((powers**2).sum(axis=(1, 2)) + 1e-9)
    return ratios


def _correlation(ones: FloatArray, twos: FloatArray) -> FloatArray:
    """Pearson's, of each pair: (n, ...) -> (n,)."""
    ones, twos = ones.reshape(len(ones), -1), twos.reshape(len(twos), -1)
    ones, twos = ones - ones.mean(axis=1, keepdims=True), twos - twos.mean(axis=1, keepdims=True)
    correlations: FloatArray = (ones * twos).sum(axis=1) / np.sqrt((ones**2).sum(axis=1) * (twos**2).sum(axis=1) + 1e-9)
    return correlations
