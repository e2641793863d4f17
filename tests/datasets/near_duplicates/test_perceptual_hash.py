"""Near duplicates: copies of a picture are found among many images; images that are only similar are not grouped."""

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
from convscope.datasets.near_duplicates.perceptual_hash import (
    FLIP,
    MAX_DISTANCE,
    group_near_duplicates,
    perceptual_hashes,
)
from convscope.images.image_reader import read_image


def hash_of(*images: Pixels) -> list[int]:
    """The hashes of images of one size."""
    return [int(hash) for hash in perceptual_hashes(np.stack(images))]


def groups_of(images: Pixels, names: list[str]) -> list[str]:
    """The groups of images with these names."""
    return group_near_duplicates(images, perceptual_hashes(images), names)


def numbered(count: int) -> list[str]:
    """Names that sort by number."""
    return [f"{number:05d}" for number in range(count)]


@pytest.mark.slow
def test_hashes_of_copies_are_near_and_of_others_far() -> None:
    """Usual changes of an image stay within the distance of candidate pairs; other pictures are farther."""
    originals = [scene(200, seed) for seed in range(20)]
    for image in originals:
        first, *others = hash_of(*(read_image(data, size=96) for data in near_copies(image).values()))
        *others, flipped = others
        for other in (*others, flipped ^ int(FLIP)):
            assert (first ^ other).bit_count() <= MAX_DISTANCE
    hashes = hash_of(*originals)
    distances = [(one ^ two).bit_count() for index, one in enumerate(hashes) for two in hashes[:index]]
    assert min(distances) > MAX_DISTANCE


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 31, 64, 200])
def test_the_hash_is_exact(size: int) -> None:
    """The same bits however many are hashed at once; a horizontal flip changes exactly the odd frequencies."""
    images = np.stack([scene(size, seed) for seed in range(40)])
    hashes = perceptual_hashes(images)
    np.testing.assert_array_equal(hashes, np.concatenate([perceptual_hashes(images[[row]]) for row in range(40)]))
    np.testing.assert_array_equal(perceptual_hashes(images[:, :, ::-1]), hashes ^ FLIP)


def test_the_hash_depends_neither_on_size_nor_on_colour_channels() -> None:
    """A grey image in one channel or three, and an image at half its size, have nearly the same hash."""
    image = scene(128, 3)
    small = np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BOX))
    assert (hash_of(image)[0] ^ hash_of(small)[0]).bit_count() <= 1
    grey = image[..., :1]
    assert hash_of(grey) == hash_of(np.repeat(grey, 3, axis=2))


def test_flat_images_have_hash_0() -> None:
    """The signs of an empty page, of any colour and with faint noise, are noise."""
    faint = np.random.default_rng(0).integers(250, 253, size=(64, 64, 3), dtype=np.uint8)
    assert hash_of(np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 200, np.uint8), faint) == [0, 0, 0]
    assert 0 not in hash_of(*(draw(kind, 64, 1) for kind in KINDS))


@pytest.mark.slow
def test_every_copy_is_in_the_group_of_its_picture() -> None:
    """Of 40 scenes with all their copies and 100 other images, each scene is a group with its copies only."""
    files = [near_copies(scene(200, seed)) for seed in range(40)]
    images = [read_image(data, size=64) for copies in files for data in copies.values()]
    images += [scene(64, seed) for seed in range(1000, 1100)]
    names = numbered(len(images))
    groups = groups_of(np.stack(images), names)
    assert groups[:280] == [names[row // 7 * 7] for row in range(280)]
    assert groups[280:] == names[280:]


@pytest.mark.slow
def test_a_group_follows_from_the_contents_alone() -> None:
    """The order of the files does not matter; a group has the smallest name in it, and skipped rows have none."""
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


def test_equal_flat_images_are_one_group() -> None:
    """Thousands of white and black images are two groups, found fast; a grey one is another group."""
    images = np.zeros((6000, 16, 16, 3), np.uint8)
    images[::2] = 255
    images[100] = 128
    started = time.monotonic()
    groups = groups_of(images, numbered(6000))
    assert time.monotonic() - started < 20
    assert Counter(groups) == {"00000": 2999, "00001": 3000, "00100": 1}


@pytest.mark.slow
def test_many_similar_images_are_fast_and_not_grouped() -> None:
    """600 icons of one coarse shape, each with other details, take seconds, and are 600 groups."""
    base = Image.fromarray(draw("ring", 64, 5)).resize((32, 32))
    random_pixels = np.random.default_rng(0).integers(-20, 20, size=(600, 32, 32, 1))
    images = (np.asarray(base)[np.newaxis].astype(int) + random_pixels).clip(0, 255).astype(np.uint8)
    hashes = perceptual_hashes(images)
    assert max(Counter(hashes.tolist()).values()) > 10
    started = time.monotonic()
    groups = group_near_duplicates(images, hashes, numbered(600))
    assert time.monotonic() - started < 60
    assert len(set(groups)) == 600


def test_no_images_are_no_groups() -> None:
    """No images, or only refused ones, are no error."""
    assert groups_of(np.zeros((0, 8, 8, 3), np.uint8), []) == []
    assert groups_of(np.zeros((2, 8, 8, 3), np.uint8), ["", ""]) == ["", ""]
    assert groups_of(np.stack([scene(16, 1), scene(16, 2)]), ["b", "a"]) == ["b", "a"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 24])
def test_drawn_shapes_are_no_near_duplicates(size: int) -> None:
    """300 discs, bars and rings, all different, are 300 groups, also at small sizes."""
    images = np.stack([draw(kind, size, seed) for kind in KINDS for seed in range(100)])
    assert len(set(groups_of(images, numbered(300)))) == 300


@pytest.mark.slow
def test_handwritten_digits_are_no_copies(tmp_path: Path) -> None:
    """Of 1,797 digits, many of them similar, at most a few are found to be copies, at each size."""
    pytest.importorskip("sklearn")
    files = sorted(write_digits(tmp_path / "digits").rglob("*.png"))
    for size in (8, 32):
        images = np.stack([read_image(file, size=size, channels=1) for file in files])
        assert len(set(groups_of(images, numbered(len(files))))) >= len(files) - 3
