"""data/augmentation.py: changes are a function of seed, epoch, step and image, and the images themselves stay."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from convscope.data.augmentation import GROUP, Augmentation, flip_alternating, shift_groups
from convscope.randomness import generator

Images = NDArray[np.uint8]


def make_images(count: int = 40, size: int = 10, channels: int = 3) -> Images:
    """Noise: no image is its own mirror image."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), np.uint8)


def is_flipped(images: Images, changed: Images) -> NDArray[np.bool_]:
    """Which images are mirrored; all others are as they were."""
    same, mirrored = ((each == changed).all(axis=(1, 2, 3)) for each in (images, images[:, :, ::-1]))
    assert (same ^ mirrored).all()
    return mirrored


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_each_image_is_mirrored_in_every_other_epoch(seed: int) -> None:
    """About half of the images in the first epoch, exactly the other half in the next, and so on."""
    images, rows = make_images(400, 4), np.arange(400, dtype=np.int64) * 3
    epochs = [is_flipped(images, flip_alternating(images, rows, epoch=epoch, seed=seed)) for epoch in range(5)]
    assert 140 < epochs[0].sum() < 260
    for before, after in pairwise(epochs):
        np.testing.assert_array_equal(after, ~before)


@pytest.mark.parametrize("stride", [1, 2, 7, 64])
def test_mirroring_has_nothing_to_do_with_the_order_of_rows(stride: int) -> None:
    """Also among every second or every 64th row about half begin mirrored, so no class is mirrored as a whole."""
    rows = np.arange(300, dtype=np.int64) * stride
    images = make_images(300, 4)
    assert 100 < is_flipped(images, flip_alternating(images, rows, epoch=0, seed=5)).sum() < 200


def test_mirroring_goes_by_the_row_and_not_by_the_place() -> None:
    """An image is mirrored or not in whatever batch and place it comes; another seed draws another half."""
    images, rows = make_images(), np.arange(40, dtype=np.int64)
    order = np.random.default_rng(1).permutation(40)
    whole = flip_alternating(images, rows, epoch=3, seed=9)
    np.testing.assert_array_equal(flip_alternating(images[order], rows[order], epoch=3, seed=9), whole[order])
    assert (flip_alternating(images, rows, epoch=3, seed=10) != whole).any()


@pytest.mark.parametrize("count", [1, GROUP, GROUP + 1, 3 * GROUP - 1])
def test_shift_is_a_roll_that_repeats_the_border(count: int) -> None:
    """Each group of images is rolled as drawn, with the border in place of what comes round; both ways, up to most."""
    images, most = make_images(count), 3
    shifted = shift_groups(images, most, rng=np.random.default_rng(7))
    assert (shifted.shape, shifted.dtype) == (images.shape, np.uint8)
    draws = np.random.default_rng(7)
    for first in range(0, count, GROUP):
        down, right = (most - int(drawn) for drawn in draws.integers(0, 2 * most + 1, size=2))
        expected = roll_with_edge(roll_with_edge(images[first : first + GROUP], down, axis=1), right, axis=2)
        np.testing.assert_array_equal(shifted[first : first + GROUP], expected)


def roll_with_edge(images: Images, by: int, *, axis: int) -> Images:
    """np.roll, with the first or the last line repeated over the lines that came round."""
    rolled = np.moveaxis(np.roll(images, by, axis=axis), axis, 0)
    if by > 0:
        rolled[:by] = rolled[by]
    elif by < 0:
        rolled[by:] = rolled[by - 1]
    return np.moveaxis(rolled, 0, axis)


def test_every_shift_is_drawn() -> None:
    """All places from -2 to 2 both ways come, the plain one too, and none beyond."""
    image = np.zeros((1, 9, 9, 1), np.uint8)
    image[0, 4, 4] = 1
    places = set()
    for step in range(400):
        shifted = shift_groups(image, 2, rng=generator(0, "shift", step))
        (place,) = np.argwhere(shifted[0, :, :, 0])
        places.add((int(place[0]) - 4, int(place[1]) - 4))
    assert places == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}


@pytest.mark.parametrize("choices", [(False, 0.0), (True, 0.0), (False, 0.2), (True, 0.2)])
def test_changes_follow_from_seed_epoch_and_step(choices: tuple[bool, float]) -> None:
    """The same again for the same; another step, epoch or seed gives others where there is anything to draw."""
    flip, shift = choices
    images, rows = make_images(), np.arange(40, dtype=np.int64)
    kept = images.copy()

    def apply(seed: int = 4, epoch: int = 1, step: int = 6) -> Images:
        return Augmentation(flip=flip, shift=shift, seed=seed).apply(images, rows, epoch=epoch, step=step)

    np.testing.assert_array_equal(apply(), apply())
    assert (apply() != apply(epoch=2)).any() == flip
    assert (apply() != apply(step=7)).any() == bool(shift)
    assert (apply() != apply(seed=5)).any() == (flip or bool(shift))
    assert (apply() != images).any() == (flip or bool(shift))
    np.testing.assert_array_equal(images, kept)


def test_images_that_may_not_be_written_can_be_changed() -> None:
    """A memory map that is only read is never written."""
    images = make_images()
    images.flags.writeable = False
    changed = Augmentation(flip=True, shift=0.1, seed=0).apply(images, np.arange(40), epoch=0, step=0)
    assert (changed != images).any()


def test_share_of_the_side_is_rounded_to_pixels() -> None:
    """A tenth of 10 pixels is one pixel; of 4 it is none."""
    rows = np.arange(40)
    small = make_images(size=4)
    nudge = Augmentation(flip=False, shift=0.1, seed=0)
    np.testing.assert_array_equal(nudge.apply(small, rows, epoch=0, step=0), small)
    assert (nudge.apply(make_images(), rows, epoch=0, step=0) != make_images()).any()
