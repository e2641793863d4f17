"""Random changes that keep the class, on uint8 batches: each is a pure function of (seed, epoch, image).

Whole batches at a time, without a loop over images: at 64 pixels a step takes less time than a per-image loop would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convscope.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROUP = 8  # images that are shifted together: a slice for each group, not for each image


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What is changed at random.

    Attributes:
        flip: mirror each image in every other epoch, which ones first is drawn (Jordan, 2024, arXiv 2404.00498).
        shift: move images by up to this share of their side, each border repeated into the gap.
        seed: another seed, other changes.
    """

    flip: bool
    shift: float
    seed: int

    def apply(self, images: NDArray[np.uint8], rows: NDArray[np.int64], *, epoch: int, step: int) -> NDArray[np.uint8]:
        """A changed copy of a batch.

        Args:
            images: (B, size, size, channels) uint8.
            rows: (B,) int64, which image of the data set each is.
            epoch, step: when.
        """
        if self.flip:
            images = flip_alternating(images, rows, epoch=epoch, seed=self.seed)
        most = round(self.shift * images.shape[1])
        if most:
            images = shift_groups(images, most, rng=generator(self.seed, "shift", step))
        return images


def flip_alternating(images: NDArray[np.uint8], rows: NDArray[np.int64], *, epoch: int, seed: int) -> NDArray[np.uint8]:
    """Mirror each image in every other epoch; which half begins is drawn by row."""
    mixed = (rows.astype(np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)  # a hash of the row: Fibonacci's
    mirrored = ((mixed >> np.uint64(40)) + np.uint64(epoch)) % np.uint64(2) == 1
    flipped = images.copy()
    flipped[mirrored] = images[mirrored, :, ::-1]
    return flipped


def shift_groups(images: NDArray[np.uint8], most: int, *, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Move each group of images by up to `most` pixels both ways, repeating the border."""
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    shifted = np.empty_like(images)
    height, width = images.shape[1:3]
    for first in range(0, len(images), GROUP):
        down, right = rng.integers(0, 2 * most + 1, size=2)
        group = slice(first, first + GROUP)
        shifted[group] = padded[group, down : down + height, right : right + width]
    return shifted
