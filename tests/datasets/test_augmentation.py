"""Augmentation: a pure function of seed, epoch, step and rows, which never changes its input."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from convscope.datasets.augmentation import (
    SHIFT_GROUP,
    Augmentation,
    erase_rectangles,
    flip_alternating,
    random_resized_crops,
    shift_groups,
)
from convscope.randomness import generator

Images = NDArray[np.uint8]


def make_images(count: int = 40, size: int = 10, channels: int = 3) -> Images:
    """Noise: no image equals its flip."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), np.uint8)


def is_flipped(images: Images, augmented: Images) -> NDArray[np.bool_]:
    """Which images are flipped; all others are unchanged."""
    same, flipped = ((expected == augmented).all(axis=(1, 2, 3)) for expected in (images, images[:, :, ::-1]))
    assert (same ^ flipped).all()
    return flipped


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_each_image_is_flipped_in_every_other_epoch(seed: int) -> None:
    """About half of the images in the first epoch, exactly the other half in the next, and so on."""
    images, rows = make_images(400, 4), np.arange(400, dtype=np.int64) * 3
    epochs = [is_flipped(images, flip_alternating(images, rows, epoch=epoch, seed=seed)) for epoch in range(5)]
    assert 140 < epochs[0].sum() < 260
    for before, after in pairwise(epochs):
        np.testing.assert_array_equal(after, ~before)


@pytest.mark.parametrize("stride", [1, 2, 7, 64])
def test_flips_do_not_depend_on_the_stride_of_rows(stride: int) -> None:
    """Also among every second or every 64th row about half begin flipped, so no class is flipped completely."""
    rows = np.arange(300, dtype=np.int64) * stride
    images = make_images(300, 4)
    assert 100 < is_flipped(images, flip_alternating(images, rows, epoch=0, seed=5)).sum() < 200


def test_flips_depend_on_the_row_and_not_on_the_position() -> None:
    """An image is flipped or not in any batch and position; another seed draws another half."""
    images, rows = make_images(), np.arange(40, dtype=np.int64)
    order = np.random.default_rng(1).permutation(40)
    flipped = flip_alternating(images, rows, epoch=3, seed=9)
    np.testing.assert_array_equal(flip_alternating(images[order], rows[order], epoch=3, seed=9), flipped[order])
    assert (flip_alternating(images, rows, epoch=3, seed=10) != flipped).any()


@pytest.mark.parametrize("count", [1, SHIFT_GROUP, SHIFT_GROUP + 1, 3 * SHIFT_GROUP - 1])
def test_shift_is_a_roll_that_repeats_the_border(count: int) -> None:
    """Each group is rolled as drawn, in both directions, with the border in place of the pixels that wrap around."""
    images, max_shift = make_images(count), 3
    shifted = shift_groups(images, max_shift, rng=np.random.default_rng(7))
    assert (shifted.shape, shifted.dtype) == (images.shape, np.uint8)
    draws = np.random.default_rng(7)
    for first in range(0, count, SHIFT_GROUP):
        down, right = (max_shift - int(drawn) for drawn in draws.integers(0, 2 * max_shift + 1, size=2))
        expected = roll_with_edge(roll_with_edge(images[first : first + SHIFT_GROUP], down, axis=1), right, axis=2)
        np.testing.assert_array_equal(shifted[first : first + SHIFT_GROUP], expected)


def roll_with_edge(images: Images, by: int, *, axis: int) -> Images:
    """np.roll, with the first or the last line repeated over the lines that wrapped around."""
    rolled = np.moveaxis(np.roll(images, by, axis=axis), axis, 0)
    if by > 0:
        rolled[:by] = rolled[by]
    elif by < 0:
        rolled[by:] = rolled[by - 1]
    return np.moveaxis(rolled, 0, axis)


@pytest.mark.slow
def test_every_shift_is_drawn() -> None:
    """All shifts from -2 to 2 in both directions are drawn, 0 too, and none beyond."""
    image = np.zeros((1, 9, 9, 1), np.uint8)
    image[0, 4, 4] = 1
    shifts = set()
    for step in range(400):
        shifted = shift_groups(image, 2, rng=generator(0, "shift", step))
        (position,) = np.argwhere(shifted[0, :, :, 0])
        shifts.add((int(position[0]) - 4, int(position[1]) - 4))
    assert shifts == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}


@pytest.mark.slow
def test_zoom_crops_each_image_to_the_requested_size() -> None:
    """An image whose pixels are their coordinates shows the crop: areas and aspect ratios are those that are drawn."""
    side, zoom = 256, 0.6
    across = np.broadcast_to(np.arange(side, dtype=np.uint8), (side, side))
    images = np.stack([np.stack([across, across.T], axis=-1)] * 300)
    images = np.concatenate([images, np.zeros_like(images[..., :1])], axis=-1)
    zoomed = random_resized_crops(images, 128, zoom, rng=np.random.default_rng(3))
    assert (zoomed.shape, zoomed.dtype) == ((300, 128, 128, 3), np.uint8)
    first, last = (zoomed[:, at, at, :2].astype(float) for at in (0, -1))
    width, height = (
        (last - first + 2) / side
    ).T  # the centres of the first and last pixels are 2 apart from the borders
    area, aspect_ratio = width * height, width / height
    assert 1 - zoom - 0.03 < area.min() < 1 - zoom + 0.03
    assert 0.95 < area.max() <= 1.02
    assert 3 / 4 - 0.03 < aspect_ratio.min() < 0.8
    assert 1.25 < aspect_ratio.max() < 4 / 3 + 0.03
    assert first.min() <= 1 < 254 <= last.max()
    assert all(abs(np.corrcoef(first[:, axis], area)[0, 1]) < 0.9 for axis in (0, 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_zoom_without_a_crop_resizes_as_decoding_does(channels: int) -> None:
    """The complete image is the one that a network is evaluated with at that size."""
    images = make_images(3, 12, channels)
    zoomed = random_resized_crops(images, 6, 0.0, rng=Middle())
    for image, crop in zip(images, zoomed, strict=True):
        plane = image[..., 0] if channels == 1 else image
        resized = Image.fromarray(plane).resize((6, 6), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(crop, np.asarray(resized).reshape(6, 6, channels))


class Middle(np.random.Generator):
    """Draws the middle of every range."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def uniform(self, low: float, high: float, size: int) -> NDArray[np.float64]:  # type: ignore[override]
        return np.full(size, (low + high) / 2)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_erase_fills_one_rectangle_of_each_image_with_its_mean(channels: int) -> None:
    """Of the drawn area and aspect ratio, anywhere in the image; all other pixels are unchanged."""
    side, erase = 64, 0.4
    images = np.random.default_rng(1).integers(0, 100, (300, side, side, channels), np.uint8)
    images[:, ::2] += 150  # so that no pixel has the mean's value
    erased = erase_rectangles(images, erase, rng=np.random.default_rng(3))
    assert (erased.shape, erased.dtype) == (images.shape, np.uint8)
    areas, hidden = [], np.zeros((side, side), bool)
    for image, changed in zip(images, erased, strict=True):
        mean = np.rint(image.mean(axis=(0, 1))).astype(np.uint8)
        is_hidden = (changed == mean).all(axis=-1)
        np.testing.assert_array_equal(changed[~is_hidden], image[~is_hidden])
        rows, columns = is_hidden.any(axis=1), is_hidden.any(axis=0)
        np.testing.assert_array_equal(is_hidden, rows[:, None] & columns)  # a rectangle, or nothing
        height, width = int(rows.sum()), int(columns.sum())
        assert abs(width - height) <= 0.29 * side * (erase**0.5) + 1  # at most 4:3
        areas.append(width * height / side**2)
        hidden |= is_hidden
    assert 0 <= min(areas) < 0.01
    assert erase - 0.03 < max(areas) < erase + 0.03
    assert abs(np.mean(areas) - erase / 2) < 0.03
    assert hidden.any(axis=0).all()
    assert hidden.any(axis=1).all()


CHOICES = [
    (zoom, flip, shift, erase)
    for zoom in (0.0, 0.5)
    for flip in (False, True)
    for shift in (0.0, 0.2)
    for erase in (0.0, 0.5)
]


@pytest.mark.parametrize("choices", CHOICES)
def test_changes_follow_from_seed_epoch_and_step(choices: tuple[float, bool, float, float]) -> None:
    """Equal arguments give equal images; another step, epoch or seed gives others, where anything is drawn."""
    zoom, flip, shift, erase = choices
    images, rows = make_images(), np.arange(40, dtype=np.int64)
    kept = images.copy()

    def apply(seed: int = 4, epoch: int = 1, step: int = 6) -> Images:
        augmentation = Augmentation(zoom=zoom, flip=flip, shift=shift, erase=erase, seed=seed)
        return augmentation.apply(images, rows, size=10, epoch=epoch, step=step)

    np.testing.assert_array_equal(apply(), apply())
    assert (apply() != apply(epoch=2)).any() == flip
    assert (apply() != apply(step=7)).any() == bool(zoom or shift or erase)
    assert (apply() != apply(seed=5)).any() == bool(zoom or flip or shift or erase)
    assert (apply() != images).any() == bool(zoom or flip or shift or erase)
    np.testing.assert_array_equal(images, kept)


def test_read_only_images_can_be_augmented() -> None:
    """A read-only memory map is not written to."""
    images = make_images()
    images.flags.writeable = False
    augmented = Augmentation(zoom=0.5, flip=True, shift=0.1, erase=0.5, seed=0).apply(
        images, np.arange(40), size=10, epoch=0, step=0
    )
    assert (augmented != images).any()


def test_the_shift_is_rounded_to_pixels() -> None:
    """A tenth of 10 pixels is one pixel; a tenth of 4 is none."""
    rows = np.arange(40)
    small = make_images(size=4)
    augmentation = Augmentation(zoom=0.0, flip=False, shift=0.1, erase=0.0, seed=0)
    np.testing.assert_array_equal(augmentation.apply(small, rows, size=4, epoch=0, step=0), small)
    assert (augmentation.apply(make_images(), rows, size=10, epoch=0, step=0) != make_images()).any()
