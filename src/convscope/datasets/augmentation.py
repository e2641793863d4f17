"""Random changes that keep the class, on uint8 batches: each is a pure function of seed, epoch, step and image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from convscope.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_PROPORTION = 4 / 3  # of the sides of what a zoom shows or an eraser hides, either way
GROUP = 8  # images that are shifted together: a slice for each group, not for each image


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What is changed at random.

    Attributes:
        zoom: enlarge a random part of each image, which keeps at least 1 - this share of its area.
        flip: mirror each image in every other epoch, which ones first is drawn (Jordan, 2024, arXiv 2404.00498).
        shift: move images by up to this share of their side, each border repeated into the gap.
        erase: hide a random part of each image, of up to this share of its area.
        seed: another seed, other changes.
    """

    zoom: float
    flip: bool
    shift: float
    erase: float
    seed: int

    def apply(
        self, images: NDArray[np.uint8], rows: NDArray[np.int64], *, size: int, epoch: int, step: int
    ) -> NDArray[np.uint8]:
        """A changed copy of a batch, (B, size, size, channels) uint8.

        Args:
            images: (B, side, side, channels) uint8; a side above `size` is for `zoom` alone, which scales.
            rows: (B,) int64, which image of the data set each is.
            size: pixels.
            epoch, step: when.
        """
        if self.zoom:
            images = zoom_each(images, size, self.zoom, rng=generator(self.seed, "zoom", step))
        if self.flip:
            images = flip_alternating(images, rows, epoch=epoch, seed=self.seed)
        most = round(self.shift * images.shape[1])
        if most:
            images = shift_groups(images, most, rng=generator(self.seed, "shift", step))
        if self.erase:
            images = erase_each(images, self.erase, rng=generator(self.seed, "erase", step))
        return images


def zoom_each(images: NDArray[np.uint8], size: int, most: float, *, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random part of each image, scaled to (B, size, size, channels) (Szegedy et al., arXiv 1409.4842, section 6).

    Its area is drawn from 1 - `most` to all of the image's, its proportions up to 4:3 either way, its place anywhere.
    An image takes 0.1 to 0.4 ms of one core, some 3 % of what a training step of `compact` does with it.
    """
    count, side, channels = len(images), images.shape[1], images.shape[3]
    boxes = draw_boxes(rng.uniform(1 - most, 1, count), rng=rng) * side
    planes = images[..., 0] if channels == 1 else images
    zoomed = np.empty((count, size, size, *planes.shape[3:]), np.uint8)
    for number, (plane, box) in enumerate(zip(planes, boxes.tolist(), strict=True)):
        zoomed[number] = Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR, box=box)
    return zoomed.reshape(count, size, size, channels)


def erase_each(images: NDArray[np.uint8], most: float, *, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random rectangle of each image hidden under the image's mean colour (Zhong et al., arXiv 1708.04896).

    Its area is drawn from 0 to `most` of the image's, its proportions up to 4:3 either way, its place anywhere inside;
    a side that would be longer than the image's is as long as that.
    """
    count, side, channels = len(images), images.shape[1], images.shape[3]
    boxes = np.rint(draw_boxes(rng.uniform(0, most, count), rng=rng) * side).astype(int)
    sums = images.reshape(count, side, -1).sum(axis=1, dtype=np.float32)  # of whole rows: 20 times as fast as at once
    means = np.rint(sums.reshape(count, side, channels).mean(axis=1, dtype=np.float64) / side).astype(np.uint8)
    erased = images.copy()
    for image, mean, (left, top, right, bottom) in zip(erased, means, boxes.tolist(), strict=True):
        image[top:bottom, left:right] = mean
    return erased


def draw_boxes(areas: NDArray[np.float64], *, rng: np.random.Generator) -> NDArray[np.float64]:
    """Rectangles in a square of side 1 at random places: areas (n,) -> (n, 4), left, top, right, bottom."""
    count = len(areas)
    proportion = np.exp(rng.uniform(-1, 1, count) * np.log(MOST_PROPORTION))
    shape = np.minimum(np.sqrt(areas[:, None] * np.stack([proportion, 1 / proportion], axis=1)), 1)  # width, height
    corner = rng.random((count, 2)) * (1 - shape)
    return np.concatenate([corner, np.minimum(corner + shape, 1)], axis=1)


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
