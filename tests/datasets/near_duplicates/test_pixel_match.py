"""Copies: what people make of a picture is still that picture, and what only looks like it is not."""

from __future__ import annotations

import numpy as np
import pytest
from halves import CLASSES, draw_half
from PIL import Image
from sample_images import KINDS, Pixels, draw, encode, near_copies, scene

from convscope.datasets.near_duplicates.pixel_match import are_copies
from convscope.images.reading import read_image

CHANGES = list(near_copies(scene(200, 0)))


def judge(one: Pixels, other: Pixels, *, mirrored: bool = False) -> bool:
    """Whether two squares are copies."""
    return bool(are_copies(np.stack([one, other]), np.array([[0, 1]]), np.array([mirrored]))[0])


@pytest.mark.parametrize("size", [48, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_a_copy(change: str, channels: int, size: int) -> None:
    """Whatever is done to it, in colour or grey, at any size that shows detail."""
    for seed in range(3):
        files = near_copies(scene(200, seed))
        one = read_image(files["as PNG"], size=size, channels=channels)
        other = read_image(files[change], size=size, channels=channels)
        assert judge(one, other, mirrored=change == "mirrored"), seed
        assert judge(other, one, mirrored=change == "mirrored"), seed


@pytest.mark.parametrize("edge", ["left and top", "right and bottom", "all", "none"])
def test_a_trimmed_picture_is_moved_back(edge: str) -> None:
    """A frame that lost 4 % at any side is a copy all the same, though no pixel is where it was."""
    for seed in range(3):
        image = Image.fromarray(scene(400, seed))
        boxes = {"left and top": (16, 16, 400, 400), "right and bottom": (0, 0, 384, 384), "all": (8, 8, 392, 392)}
        trimmed = image.crop(boxes.get(edge, (0, 0, 400, 400)))
        one, other = (read_image(encode(each), size=64) for each in (image, trimmed))
        assert judge(one, other)
        assert judge(other, one)
    cut = image.crop((80, 80, 400, 400))
    assert not judge(one, read_image(encode(cut), size=64))


def test_a_mirrored_picture_is_a_copy_only_mirrored() -> None:
    """Each side is looked at as it is told."""
    image = scene(64, 1)
    assert not judge(image, image[:, ::-1])
    assert not judge(image, image, mirrored=True)


def test_other_pictures_are_no_copies() -> None:
    """Not one of 276 pairs of scenes, nor of drawn shapes, large or tiny, whose like are many."""
    for size in (8, 64):
        shapes = np.stack([draw(kind, size, seed) for kind in KINDS for seed in range(8)])
        scenes = np.stack([scene(size, seed) for seed in range(24)])
        for images in (shapes, scenes):
            pairs = np.stack(np.triu_indices(len(images), 1), axis=1)
            for mirrored in (False, True):
                assert not are_copies(images, pairs, np.full(len(pairs), mirrored)).any()


def test_other_colours_are_no_copy() -> None:
    """The same shapes in other colours may be another class."""
    image = scene(64, 2)
    assert not judge(image, image[..., ::-1])
    assert not judge(image, 255 - image)


def test_little_detail_must_agree_the_more() -> None:
    """A soft shape that is a little wider, or elsewhere, is another one; a scene that was moved as far is a copy."""
    y, x = np.mgrid[:64, :64]

    def blobs(right: float, width: float = 1.0) -> Pixels:
        one = np.exp(-((y - 30) ** 2 + ((x - right) / width) ** 2 / 2) / 120)
        two = np.exp(-((y - 45) ** 2 + ((x - right + 10) / width) ** 2) / 80)
        return np.repeat(((one + two) * 120)[..., np.newaxis].clip(0, 255), 3, axis=2).astype(np.uint8)

    assert judge(blobs(30), blobs(30.5))
    assert not judge(blobs(30), blobs(33))
    assert not judge(blobs(30), blobs(30, 1.3))
    image = scene(70, 1)
    assert judge(image[:64, :64], image[:64, 3:67])


def test_a_lone_thing_elsewhere_is_no_copy() -> None:
    """Discs and rings on an even ground, each at its own place, are not chained into one another."""
    images = np.stack([draw_half(kind, seed) for kind in CLASSES for seed in range(24)])
    pairs = np.stack(np.triu_indices(len(images), 1), axis=1)
    assert not are_copies(images, pairs, np.zeros(len(pairs), bool)).any()


def test_no_pairs_no_answers() -> None:
    """Nothing to compare is no error."""
    assert are_copies(np.zeros((3, 8, 8, 3), np.uint8), np.empty((0, 2), np.int64), np.empty(0, bool)).shape == (0,)
