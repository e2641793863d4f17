"""Groups near duplicates, images that show the same picture though their files differ, so that they share a split.

An image that was saved again, resized, trimmed, brightened, marked or flipped leaks from training into evaluation. A
perceptual hash, of low frequencies, finds the candidate pairs among any number of images; then their pixels decide, not
the features of a network: so the splits are the same for every network. The result depends on the contents of the
images only, not on their names or order. Measured in docs/decisions/duplicates.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from convscope.datasets.memory_map import RowReader
from convscope.datasets.near_duplicates.pixel_match import are_copies
from convscope.progress import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

FREQUENCIES = 8  # per direction: the hash has the signs of the 8 x 8 lowest frequencies except the mean
GREY = (2, 5, 1)  # eighths of red, green and blue
COSINE_SCALE = 2**13  # divided by the size: cosines are rounded to integers, whose sums are exact in float32
MIN_AMPLITUDE = 1.0  # grey levels: where no frequency has more, the signs are those of noise
FLIP = np.uint64(0x5555555555555555)  # the signs that change with a horizontal flip: odd frequencies across
MAX_DISTANCE = 8  # differing bits of a candidate pair
SHARED_BLOCKS = 3
BLOCKS = MAX_DISTANCE + SHARED_BLOCKS  # of bits: a candidate pair has at least 3 of the 11 in common
WINDOW = 16  # neighbours that an image is compared with per choice of blocks: bounds the cost of many similar images
MAX_FAILED = 8  # comparisons: after so many nearer images that are no copies, an image is one of many similar ones
BATCH = 64  # pairs whose pixels are compared at once


def perceptual_hashes(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """64 bits per image, nearly equal for copies: the signs of the lowest frequencies of its grey values.

    Args:
        images: (n, size, size, channels) uint8.

    Returns: (n,) uint64; 0 for a flat image, which has no such signs.
    """
    count, size, _, channels = images.shape
    odd, scale = 2 * np.arange(size) + 1, COSINE_SCALE // size
    cosines = np.round(scale * np.cos(np.pi / (2 * size) * odd * np.arange(FREQUENCIES)[:, np.newaxis]))  # (8, size)
    grey = np.array(GREY if channels == 3 else (sum(GREY),), np.float64)
    row_transform = np.kron(cosines, grey).T.astype(np.float32)  # (size * channels, 8): to grey, and along each row
    flat = np.empty((size, size * channels), np.float32)
    across = np.empty((count, size, FREQUENCIES))
    for image, frequencies in zip(images, across, strict=True):  # one by one 15 us each, 32 at once 80 us each
        flat[:] = image.reshape(size, size * channels)
        frequencies[:] = flat @ row_transform
    amplitudes = cosines @ across  # (n, 8 down, 8 across)
    amplitudes[:, 0, 0] = 0.0  # of the mean
    is_flat = np.abs(amplitudes).max(axis=(1, 2)) <= MIN_AMPLITUDE * sum(GREY) * (scale * size / 2) ** 2
    signs = amplitudes > 0
    signs[:, 0, 0] = True  # so that 0 is the hash of flat images only
    hashes = np.packbits(signs.reshape(count, FREQUENCIES * FREQUENCIES), axis=1).view(">u8")[:, 0].astype(np.uint64)
    return np.where(is_flat, np.uint64(0), hashes)


def group_near_duplicates(images: NDArray[np.uint8], hashes: NDArray[np.uint64], names: Sequence[str]) -> list[str]:
    """Group images that are nearly equal.

    Args:
        images: (n, size, size, channels) uint8.
        hashes: (n,) uint64, their perceptual hashes.
        names: one per image, derived from its content; "" for an image to be skipped.

    Returns: for each image the smallest name in its group, which is its name if it has no near duplicates.
    """
    reader = RowReader(images)
    rows = np.array(sorted((row for row, name in enumerate(names) if name), key=names.__getitem__), np.int64)
    parents = list(range(len(names)))  # a forest of disjoint sets: a root is its parent
    for one, two in _equal_pixels(reader, hashes, rows):
        _unite(parents, one, two)
    different = np.array([row for row in rows if parents[row] == row and hashes[row]], np.int64)
    pairs, flipped = _candidate_pairs(hashes[different])
    pairs = different[pairs]
    num_failed = np.zeros(len(names), np.int64)
    with progress("comparing near duplicates", len(pairs), unit="pairs") as bar:
        for first in range(0, len(pairs), BATCH):
            batch = np.arange(first, min(first + BATCH, len(pairs)))
            bar.advance(len(batch))
            batch = batch[num_failed[pairs[batch]].min(axis=1) < MAX_FAILED]
            batch = batch[[_root(parents, one) != _root(parents, two) for one, two in pairs[batch]]]
            copies = are_copies(reader, pairs[batch], flipped[batch])
            for one, two in pairs[batch][copies]:
                _unite(parents, one, two)
            np.add.at(num_failed, pairs[batch][~copies].reshape(-1), 1)
    smallest: dict[int, str] = {}
    for row in rows:  # sorted by name
        smallest.setdefault(_root(parents, row), names[row])
    return [smallest[_root(parents, row)] if name else "" for row, name in enumerate(names)]


def _root(parents: list[int], row: int) -> int:
    while parents[row] != row:
        parents[row] = row = parents[parents[row]]
    return row


def _unite(parents: list[int], one: int, two: int) -> None:
    parents[_root(parents, two)] = _root(parents, one)


def _equal_pixels(images: RowReader, hashes: NDArray[np.uint64], rows: Rows) -> Iterator[tuple[int, int]]:
    """Each row whose pixels equal those of an earlier one, with the first of these: many equal images cost little."""
    _, indices, counts = np.unique(hashes[rows], return_inverse=True, return_counts=True)
    first: dict[bytes, int] = {}
    for row in rows[counts[indices] > 1]:
        one = first.setdefault(hashlib.sha256(images[row].data).digest(), int(row))
        if one != row:
            yield one, int(row)


def _candidate_pairs(hashes: NDArray[np.uint64]) -> tuple[Rows, NDArray[np.bool_]]:
    """The pairs of hashes that differ in at most `MAX_DISTANCE` bits, as they are or with one flipped, nearest first.

    Such a pair has `SHARED_BLOCKS` equal blocks, so for each choice of blocks only neighbours in the order of these are
    compared. Where very many have equal blocks, each is compared with its next `WINDOW` neighbours in every choice.

    Returns: (pairs, 2) int64, the smaller row first; (pairs,) bool, whether one of them is flipped.
    """
    count = len(hashes)
    both = np.concatenate([hashes, hashes ^ FLIP])
    order = np.argsort(both, kind="stable")
    both = both[order]
    masks = [np.uint64(sum(1 << bit for bit in range(block, 63, BLOCKS))) for block in range(BLOCKS)]
    codes = np.empty(0, np.int64)
    choices = list(combinations(masks, SHARED_BLOCKS))
    with progress("searching near duplicates", len(choices), unit="passes") as bar:
        for choice in choices:
            one, two = _neighbours(both, np.bitwise_or.reduce(choice))
            one, two = order[one], order[two]
            is_pair = ((one < count) | (two < count)) & (one % count != two % count)
            one, two = one[is_pair], two[is_pair]
            low, high = np.minimum(one % count, two % count), np.maximum(one % count, two % count)
            codes = np.union1d(codes, (low * count + high) * 2 + ((one < count) != (two < count)))
            bar.advance()
    pairs, flipped = np.stack(np.divmod(codes // 2, max(count, 1)), axis=1), (codes % 2).astype(bool)
    others = np.where(flipped, hashes[pairs[:, 1]] ^ FLIP, hashes[pairs[:, 1]])
    order = np.argsort(np.bitwise_count(hashes[pairs[:, 0]] ^ others), kind="stable")
    return pairs[order], flipped[order]


def _neighbours(hashes: NDArray[np.uint64], mask: np.uint64) -> tuple[Rows, Rows]:
    """The pairs of hashes that are equal under a mask, and near."""
    keys = hashes & mask
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    ones, twos = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    indices = np.arange(len(keys))
    for step in range(1, WINDOW + 1):
        indices = indices[indices + step < len(keys)]
        indices = indices[keys[indices] == keys[indices + step]]
        one, two = order[indices], order[indices + step]
        is_near = np.bitwise_count(hashes[one] ^ hashes[two]) <= MAX_DISTANCE
        ones.append(one[is_near])
        twos.append(two[is_near])
    return np.concatenate(ones), np.concatenate(twos)
