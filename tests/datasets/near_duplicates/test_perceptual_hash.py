"""Duplicates: copies of a picture are found among many, once and for all, and what only looks alike is not chained."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_images import KINDS, Pixels, draw, near_copies, scene

from convscope.datasets.digits import write_digits
from convscope.datasets.near_duplicates.perceptual_hash import FARTHEST, MIRROR, near_groups, perceptual_hashes
from convscope.images.reading import read_image


def hash_of(*images: Pixels) -> list[int]:
    """The hashes of images of one size."""
    return [int(hash) for hash in perceptual_hashes(np.stack(images))]


def groups_of(images: Pixels, names: list[str]) -> list[str]:
    """The groups of images that bear names."""
    return near_groups(images, perceptual_hashes(images), names)


def numbered(count: int) -> list[str]:
    """Names in the order of their numbers."""
    return [f"{number:05d}" for number in range(count)]


def test_the_hash_of_a_copy_is_near_and_of_others_far() -> None:
    """All changes that people make stay within the distance that is looked at; other pictures are beyond it."""
    originals = [scene(200, seed) for seed in range(20)]
    for image in originals:
        first, *others = hash_of(*(read_image(data, size=96) for data in near_copies(image).values()))
        *others, mirrored = others
        for other in (*others, mirrored ^ int(MIRROR)):
            assert (first ^ other).bit_count() <= FARTHEST
    hashes = hash_of(*originals)
    distances = [(one ^ two).bit_count() for place, one in enumerate(hashes) for two in hashes[:place]]
    assert min(distances) > FARTHEST


@pytest.mark.parametrize("size", [8, 31, 64, 200])
def test_the_hash_is_exact(size: int) -> None:
    """However many are hashed at once, whatever else is, the same bits; and mirrored, exactly the odd waves turn."""
    images = np.stack([scene(size, seed) for seed in range(40)])
    together = perceptual_hashes(images)
    np.testing.assert_array_equal(together, np.concatenate([perceptual_hashes(images[[row]]) for row in range(40)]))
    np.testing.assert_array_equal(perceptual_hashes(images[:, :, ::-1]), together ^ MIRROR)


def test_the_hash_depends_neither_on_size_nor_on_colour_channels() -> None:
    """The same grey picture in one channel or three, and a scene at half its size, have nearly the same hash."""
    image = scene(128, 3)
    small = np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BOX))
    assert (hash_of(image)[0] ^ hash_of(small)[0]).bit_count() <= 1
    grey = image[..., :1]
    assert hash_of(grey) == hash_of(np.repeat(grey, 3, axis=2))


def test_images_without_shapes_have_no_hash() -> None:
    """Of a blank page, whatever its colour and faint noise, the signs would say nothing."""
    faint = np.random.default_rng(0).integers(250, 253, size=(64, 64, 3), dtype=np.uint8)
    assert hash_of(np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 200, np.uint8), faint) == [0, 0, 0]
    assert 0 not in hash_of(*(draw(kind, 64, 1) for kind in KINDS))


def test_every_copy_is_in_the_group_of_its_picture() -> None:
    """Of 40 scenes with all their copies and 100 others, each has its group and no other joins it."""
    files = [near_copies(scene(200, seed)) for seed in range(40)]
    images = [read_image(data, size=64) for copies in files for data in copies.values()]
    images += [scene(64, seed) for seed in range(1000, 1100)]
    names = numbered(len(images))
    groups = groups_of(np.stack(images), names)
    assert groups[:280] == [names[row // 7 * 7] for row in range(280)]
    assert groups[280:] == names[280:]


def test_a_group_is_told_by_its_contents_alone() -> None:
    """The order of the files says nothing; a group bears the smallest name in it, and passed-over rows bear none."""
    images = np.stack(
        [read_image(data, size=64) for seed in range(8) for data in near_copies(scene(200, seed)).values()]
    )
    names = numbered(len(images))
    random.Random(1).shuffle(names)
    names[3] = names[20] = ""
    groups = groups_of(images, names)
    order = list(range(len(images)))
    random.Random(2).shuffle(order)
    assert groups_of(images[order], [names[row] for row in order]) == [groups[row] for row in order]
    assert groups[3] == groups[20] == ""
    for start in range(0, len(images), 7):
        assert set(groups[start : start + 7]) - {""} == {min(filter(None, names[start : start + 7]))}


def test_equal_pixels_are_one_group_however_blank() -> None:
    """Thousands of blank pages, white and black, are two groups at once; a shade of grey is another picture."""
    images = np.zeros((6000, 16, 16, 3), np.uint8)
    images[::2] = 255
    images[100] = 128
    started = time.monotonic()
    groups = groups_of(images, numbered(6000))
    assert time.monotonic() - started < 20
    assert Counter(groups) == {"00000": 2999, "00001": 3000, "00100": 1}


def test_a_crowd_that_looks_alike_stays_affordable_and_apart() -> None:
    """600 icons of one coarse shape, each with other small parts, take seconds, and are not chained."""
    base = Image.fromarray(draw("ring", 64, 5)).resize((32, 32))
    random_pixels = np.random.default_rng(0).integers(-20, 20, size=(600, 32, 32, 1))
    images = (np.asarray(base)[np.newaxis].astype(int) + random_pixels).clip(0, 255).astype(np.uint8)
    hashes = perceptual_hashes(images)
    assert max(Counter(hashes.tolist()).values()) > 10
    started = time.monotonic()
    groups = near_groups(images, hashes, numbered(600))
    assert time.monotonic() - started < 60
    assert len(set(groups)) == 600


def test_no_images_are_no_groups() -> None:
    """Nothing, or only what was refused, is no error."""
    assert groups_of(np.zeros((0, 8, 8, 3), np.uint8), []) == []
    assert groups_of(np.zeros((2, 8, 8, 3), np.uint8), ["", ""]) == ["", ""]
    assert groups_of(np.stack([scene(16, 1), scene(16, 2)]), ["b", "a"]) == ["b", "a"]


@pytest.mark.parametrize("size", [8, 24])
def test_drawn_shapes_are_no_near_duplicates(size: int) -> None:
    """300 discs, bars and rings, all different, are 300 groups, at sizes at which there is little to see."""
    images = np.stack([draw(kind, size, seed) for kind in KINDS for seed in range(100)])
    assert len(set(groups_of(images, numbered(300)))) == 300


@pytest.mark.slow
def test_handwritten_digits_are_not_taken_for_copies(tmp_path: Path) -> None:
    """Of 1,797 digits, many alike, at most a few are taken for copies, at each size."""
    pytest.importorskip("sklearn")
    files = sorted(write_digits(tmp_path / "digits").rglob("*.png"))
    for size in (8, 32):
        images = np.stack([read_image(file, size=size, channels=1) for file in files])
        assert len(set(groups_of(images, numbered(len(files))))) >= len(files) - 3
