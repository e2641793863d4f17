"""Near duplicates: which images show the same picture, though their files differ, so that one split can take them all.

A picture that was saved again, resized, trimmed, brightened, marked or mirrored teaches what its copy is judged by. A
hash of its coarse shapes finds the pairs worth a look in any number of images; then pixels decide, and not what a
network makes of them: so a split is the same whichever network is trained, and needs none to be dealt. What is found
depends on the images' contents alone, not on their names or order. Figures: docs/decisions/duplicates.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from convscope.datasets.memory_map import Reader
from convscope.datasets.near_duplicates.pixel_match import are_copies
from convscope.progress import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

WAVES = 8  # per direction: the hash holds the signs of the 8 x 8 lowest frequencies but the mean
GREY = (2, 5, 1)  # eighths of red, green and blue
EXACT = 2**13  # cosines are rounded to this over the size: then sums are of integers that float32 holds, and exact
FLAT = 1.0  # grey levels: where no wave is higher, the signs are those of noise
MIRROR = np.uint64(0x5555555555555555)  # the signs that a mirrored image has the other way: odd waves across
FARTHEST = 8  # differing signs of a pair worth a look
BLOCKS, SHARED = FARTHEST + 3, 3  # of 11 blocks of signs, a pair within 8 differing ones shares 3 whole blocks
WINDOW = 16  # neighbours that an image is compared with per look: many that look alike cost no more than so many each
MOST_FAILED = 8  # comparisons: with so many that are no copies, though nearer, an image is one of many that look alike
BATCH = 64  # pairs whose pixels are compared at once


def perceptual_hashes(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """64 bits per image that hardly differ between copies: the signs of the lowest frequencies of its grey values.

    Args:
        images: (n, size, size, channels) uint8.

    Returns: (n,) uint64; 0 for an image without any shape, which a hash could say nothing about.
    """
    count, size, _, channels = images.shape
    odd, scale = 2 * np.arange(size) + 1, EXACT // size
    waves = np.round(scale * np.cos(np.pi / (2 * size) * odd * np.arange(WAVES)[:, np.newaxis]))  # (8, size)
    grey = np.array(GREY if channels == 3 else (sum(GREY),), np.float64)
    readers = np.kron(waves, grey).T.astype(np.float32)  # (size * channels, 8): grey values, and their waves across
    plain = np.empty((size, size * channels), np.float32)
    across = np.empty((count, size, WAVES))
    for image, found in zip(images, across, strict=True):  # one by one: 15 us, where 32 at once take 80 each
        plain[:] = image.reshape(size, size * channels)
        found[:] = plain @ readers
    heights = waves @ across  # (n, 8 down, 8 across)
    heights[:, 0, 0] = 0.0  # brightness is no shape
    has_shape = np.abs(heights).max(axis=(1, 2)) > FLAT * sum(GREY) * (scale * size / 2) ** 2
    signs = heights > 0
    signs[:, 0, 0] = True  # so that no image with a shape has hash 0
    hashes = np.packbits(signs.reshape(count, WAVES * WAVES), axis=1).view(">u8")[:, 0].astype(np.uint64)
    return np.where(has_shape, hashes, np.uint64(0))


def near_groups(images: NDArray[np.uint8], hashes: NDArray[np.uint64], names: Sequence[str]) -> list[str]:
    """Which images are nearly equal: for each the smallest name in its group, its own where it has no near duplicate.

    Args:
        images: (n, size, size, channels) uint8.
        hashes: (n,) uint64, their perceptual hashes.
        names: one per image, told by its content; "" for an image to be passed over.
    """
    reader = Reader(images)
    rows = np.array(sorted((row for row, name in enumerate(names) if name), key=names.__getitem__), np.int64)
    heads = list(range(len(names)))
    for one, two in _equal_pixels(reader, hashes, rows):
        _unite(heads, one, two)
    different = np.array([row for row in rows if heads[row] == row and hashes[row]], np.int64)
    pairs, mirrored = _alike(hashes[different])
    pairs = different[pairs]
    failed = np.zeros(len(names), np.int64)
    with progress("comparing near duplicates", len(pairs), unit="pairs") as bar:
        for first in range(0, len(pairs), BATCH):
            some = np.arange(first, min(first + BATCH, len(pairs)))
            bar.advance(len(some))
            some = some[failed[pairs[some]].min(axis=1) < MOST_FAILED]
            some = some[[_head(heads, one) != _head(heads, two) for one, two in pairs[some]]]
            copies = are_copies(reader, pairs[some], mirrored[some])
            for one, two in pairs[some][copies]:
                _unite(heads, one, two)
            np.add.at(failed, pairs[some][~copies].reshape(-1), 1)
    smallest: dict[int, str] = {}
    for row in rows:  # in the order of the names
        smallest.setdefault(_head(heads, row), names[row])
    return [smallest[_head(heads, row)] if name else "" for row, name in enumerate(names)]


def _head(heads: list[int], row: int) -> int:
    while heads[row] != row:
        heads[row] = row = heads[heads[row]]
    return row


def _unite(heads: list[int], one: int, two: int) -> None:
    heads[_head(heads, two)] = _head(heads, one)


def _equal_pixels(images: Reader, hashes: NDArray[np.uint64], rows: Rows) -> Iterator[tuple[int, int]]:
    """Each row whose pixels another had before, with the first of those: any number of blank pages costs one look."""
    _, places, counts = np.unique(hashes[rows], return_inverse=True, return_counts=True)
    first: dict[bytes, int] = {}
    for row in rows[counts[places] > 1]:
        one = first.setdefault(hashlib.sha256(images[row].data).digest(), int(row))
        if one != row:
            yield one, int(row)


def _alike(hashes: NDArray[np.uint64]) -> tuple[Rows, NDArray[np.bool_]]:
    """The pairs of hashes that differ in at most `FARTHEST` bits, as they are or one mirrored, the nearest first.

    A pair that near has `SHARED` of the blocks the same, so for each choice of blocks only neighbours in their order
    are compared. Of a great crowd with equal blocks, each meets its next `WINDOW` neighbours in every choice.

    Returns: (pairs, 2) int64, the smaller first; (pairs,) bool: whether one of them is mirrored.
    """
    count = len(hashes)
    both = np.concatenate([hashes, hashes ^ MIRROR])
    sides = np.argsort(both, kind="stable")
    both = both[sides]
    masks = [np.uint64(sum(1 << bit for bit in range(block, 63, BLOCKS))) for block in range(BLOCKS)]
    found = np.empty(0, np.int64)
    choices = list(combinations(masks, SHARED))
    with progress("looking for near duplicates", len(choices), unit="looks") as bar:
        for choice in choices:
            one, two = _neighbours(both, np.bitwise_or.reduce(choice))
            one, two = sides[one], sides[two]
            useful = ((one < count) | (two < count)) & (one % count != two % count)
            one, two = one[useful], two[useful]
            low, high = np.minimum(one % count, two % count), np.maximum(one % count, two % count)
            codes = (low * count + high) * 2 + ((one < count) != (two < count))
            found = np.union1d(found, codes)
            bar.advance()
    pairs, mirrored = np.stack(np.divmod(found // 2, max(count, 1)), axis=1), (found % 2).astype(bool)
    other = np.where(mirrored, hashes[pairs[:, 1]] ^ MIRROR, hashes[pairs[:, 1]])
    order = np.argsort(np.bitwise_count(hashes[pairs[:, 0]] ^ other), kind="stable")
    return pairs[order], mirrored[order]


def _neighbours(hashes: NDArray[np.uint64], mask: np.uint64) -> tuple[Rows, Rows]:
    """The pairs that are the same under a mask and near elsewhere."""
    keys = hashes & mask
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    ones, twos = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    places = np.arange(len(keys))
    for step in range(1, WINDOW + 1):
        places = places[places + step < len(keys)]
        places = places[keys[places] == keys[places + step]]
        one, two = order[places], order[places + step]
        near = np.bitwise_count(hashes[one] ^ hashes[two]) <= FARTHEST
        ones.append(one[near])
        twos.append(two[near])
    return np.concatenate(ones), np.concatenate(twos)
