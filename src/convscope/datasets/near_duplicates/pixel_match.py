"""Whether two images are copies of one picture, by their pixels: saved again, resized, trimmed, brightened, marked.

What trimming a frame by some per cent shifts and zooms, and what brightening changes, is undone first by least squares.
What is left must then agree closely, so one strict measure does for every kind of copy, and images that are only alike,
as the handwritten digits of many people are, fail it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.datasets.memory_map import Reader

    Numbers = NDArray[np.float64]

GREY = (299, 587, 114)  # thousandths of red, green and blue
SIDE = 32  # of the thumbnails that are compared; they are moved at twice this size
ROUNDS = 2  # of moving; a third changes nothing
DETAIL = (30.0, 60.0)  # independent edges: of a digit or a lone disc 30 at most, of most photos over 60
MOST_MOVED = (0.4, 2.0)  # of the 32 pixels of a thumbnail, for little detail and for much: there 6 %
LEAST_ALIKE = (0.975, 0.9)  # correlation of grey values after moving, for little and for much
LEAST_ALIKE_EDGES = (0.98, 0.85)  # of differences from pixel to pixel; of photos that are no copies rarely over 0.5
GAINS = (0.5, 2.0)  # changes of contrast that a copy may have
MOST_COLOR = 16.0  # mean difference in colour, in levels of 255


def are_copies(
    images: NDArray[np.uint8] | Reader, pairs: NDArray[np.int64], mirrored: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether the pixels of pairs of images agree once one is moved, zoomed, and changed in contrast a little.

    Args:
        images: (n, size, size, channels) uint8.
        pairs: (m, 2), rows of `images`.
        mirrored: (m,), whether the first of a pair is to be mirrored.

    Returns: (m,) bool.
    """
    if not len(pairs):
        return np.empty(0, bool)
    rows, places = np.unique(pairs, return_inverse=True)
    large = np.stack([_thumbnail(images[row]) for row in rows])  # (rows, 64, 64, channels)
    places = places.reshape(pairs.shape)
    ones, twos = large[places[:, 0]], large[places[:, 1]]
    ones = np.where(mirrored[:, np.newaxis, np.newaxis, np.newaxis], ones[:, :, ::-1], ones)
    grey, wanted = _grey(ones), _shrink(_grey(twos))
    across, down = np.zeros((2, len(pairs), 2))
    for _ in range(ROUNDS):
        factors, _ = _fit(_smooth(_move(grey, across, down)), _smooth(wanted))
        gains = np.where(factors[:, 1:2] < GAINS[0], np.inf, factors[:, 1:2])
        across = np.clip(across + factors[:, 2:4] / gains, -MOST_MOVED[1], MOST_MOVED[1])
        down = np.clip(down + factors[:, 4:6] / gains, -MOST_MOVED[1], MOST_MOVED[1])
    factors, moved = _fit(_move(grey, across, down), wanted)
    gains = factors[:, 1]
    edges, wanted_edges = _edges(moved), _edges(wanted)
    detail = np.minimum(_detail(edges), _detail(wanted_edges))
    alike: NDArray[np.bool_] = _correlation(moved, wanted) >= np.interp(detail, DETAIL, LEAST_ALIKE)
    alike &= _correlation(edges, wanted_edges) >= np.interp(detail, DETAIL, LEAST_ALIKE_EDGES)
    moves = np.maximum(np.abs(across).sum(axis=1), np.abs(down).sum(axis=1))
    alike &= moves <= np.interp(detail, DETAIL, MOST_MOVED)
    alike &= (gains >= GAINS[0]) & (gains <= GAINS[1])
    if images.shape[3] == 3:
        colors = gains[alike, np.newaxis] * _colors(ones[alike]) - _colors(twos[alike])
        alike[alike] = np.abs(colors).mean(axis=1) <= MOST_COLOR
    return alike


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(size, size, channels) -> (64, 64, channels)."""
    plain = Image.fromarray(image if image.shape[2] == 3 else image[..., 0])
    small = plain.resize((2 * SIDE, 2 * SIDE), Image.Resampling.BILINEAR)
    return np.asarray(small).reshape(2 * SIDE, 2 * SIDE, -1)


def _grey(images: NDArray[np.uint8]) -> Numbers:
    """(n, 64, 64, channels) uint8 -> (n, 64, 64), 0-255."""
    weights = np.array(GREY if images.shape[3] == 3 else (1000,), np.float64)
    return images @ (weights / 1000)


def _colors(images: NDArray[np.uint8]) -> Numbers:
    """How red and how blue an image is in each of 8 x 8 fields, beside its green: (n, 128)."""
    fields = images.reshape(len(images), 8, 8, 8, 8, 3).mean(axis=(2, 4))  # (n, 8, 8, 3)
    differences: Numbers = fields[..., ::2] - fields[..., 1:2]
    return differences.reshape(len(images), 128)


def _shrink(images: Numbers) -> Numbers:
    """(n, 64, 64) -> (n, 32, 32)."""
    lines = images[:, ::2] + images[:, 1::2]
    return (lines[:, :, ::2] + lines[:, :, 1::2]) / 4


def _move(images: Numbers, across: Numbers, down: Numbers) -> Numbers:
    """(n, 64, 64) -> (n, 32, 32), moved and zoomed by (n, 2): the shift, and what is added to it at the right edge."""
    return _samplers(down) @ images @ _samplers(across).transpose(0, 2, 1)


def _samplers(moves: Numbers) -> Numbers:
    """Matrices (n, 32, 64) that read 64 values at 32 moved places: linear between neighbours, mean of two each."""
    places = np.arange(2 * SIDE) + 2 * (moves[:, :1] + moves[:, 1:] * _axis(2 * SIDE))
    places = np.clip(places, 0, 2 * SIDE - 1)
    shares = np.maximum(0, 1 - np.abs(places[:, :, np.newaxis] - np.arange(2 * SIDE)))  # (n, 64 places, 64 values)
    samplers: Numbers = (shares[:, ::2] + shares[:, 1::2]) / 2
    return samplers


def _axis(size: int) -> Numbers:
    """The middles of pixels from -1 to 1."""
    return (2 * np.arange(size) + 1) / size - 1


def _fit(images: Numbers, wanted: Numbers) -> tuple[Numbers, Numbers]:
    """The change that makes each image most like the wanted one, by least squares, and what it makes of it.

    Returns: (n, 6): brightness, contrast, shift and zoom across, shift and zoom down, the last four times the contrast;
    (n, 32, 32).
    """
    across, down = np.gradient(images, axis=2), np.gradient(images, axis=1)
    parts = [np.ones_like(images), images, across, across * _axis(SIDE), down, down * _axis(SIDE)[:, np.newaxis]]
    matrix = np.stack(parts, axis=-1).reshape(len(images), -1, 6)
    turned = matrix.transpose(0, 2, 1)
    steady = 1e-3 * np.eye(6)  # an image that is the same along a line says nothing of a shift along it
    factors = np.linalg.solve(turned @ matrix + steady, turned @ wanted.reshape(len(images), -1, 1))
    return factors[..., 0], (matrix @ factors).reshape(wanted.shape)


def _smooth(images: Numbers) -> Numbers:
    """A little out of focus, 1-2-1 both ways, so that a shift can be seen farther."""
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    wide = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / 4
    return (wide[:, :, :-2] + 2 * wide[:, :, 1:-1] + wide[:, :, 2:]) / 4


def _edges(images: Numbers) -> Numbers:
    """The differences from each pixel to the next, across and down: (n, 31, 31, 2)."""
    return np.stack([np.diff(images, axis=2)[:, :-1], np.diff(images, axis=1)[:, :, :-1]], axis=-1)


def _detail(edges: Numbers) -> Numbers:
    """How many independent edges there are, from 1 up, (n,): two images agree by chance the easier the fewer there are.

    The participation ratio of their spectrum, small for soft shapes such as digits; or that of their places, small
    for a thing alone on an even ground, whichever is smaller.
    """
    waves = (np.abs(np.fft.rfft2(edges, axes=(1, 2))) ** 2).sum(axis=3)
    places = (edges**2).sum(axis=3)
    return np.minimum(_participation(waves), 0.4 * _participation(places))  # so that both say the same of photos


def _participation(powers: Numbers) -> Numbers:
    """How many of the powers have a part in their sum: (n, a, b) -> (n,), from 1 to a * b."""
    ratios: Numbers = powers.sum(axis=(1, 2)) ** 2 / ((powers**2).sum(axis=(1, 2)) + 1e-9)
    return ratios


def _correlation(ones: Numbers, twos: Numbers) -> Numbers:
    ones, twos = ones.reshape(len(ones), -1), twos.reshape(len(twos), -1)
    ones, twos = ones - ones.mean(axis=1, keepdims=True), twos - twos.mean(axis=1, keepdims=True)
    found: Numbers = (ones * twos).sum(axis=1) / np.sqrt((ones**2).sum(axis=1) * (twos**2).sum(axis=1) + 1e-9)
    return found
