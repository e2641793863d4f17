"""Pixel match: a changed image is a copy of the picture, and an image that only looks similar is not."""

from __future__ import annotations

import numpy as np
import pytest
from localized_shapes import CLASSES, draw_shape
from PIL import Image
from sample_images import KINDS, Pixels, draw, encode, near_copies, scene

from convscope.datasets.near_duplicates.pixel_match import are_copies
from convscope.images.image_reader import read_image

CHANGES = list(near_copies(scene(200, 0)))


def is_copy(one: Pixels, other: Pixels, *, flipped: bool = False) -> bool:
    """Whether two images are copies of one picture."""
    return bool(are_copies(np.stack([one, other]), np.array([[0, 1]]), np.array([flipped]))[0])


@pytest.mark.slow
@pytest.mark.parametrize("size", [48, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_image_is_a_copy(change: str, channels: int, size: int) -> None:
    """After any usual change, in colour or grey, at any size that shows detail."""
    for seed in range(3):
        files = near_copies(scene(200, seed))
        one = read_image(files["as PNG"], size=size, channels=channels)
        other = read_image(files[change], size=size, channels=channels)
        assert is_copy(one, other, flipped=change == "mirrored"), seed
        assert is_copy(other, one, flipped=change == "mirrored"), seed


@pytest.mark.slow
@pytest.mark.parametrize("edge", ["left and top", "right and bottom", "all", "none"])
def test_a_trimmed_image_is_a_copy(edge: str) -> None:
    """An image that lost 4 % at any side is a copy, though no pixel is where it was; one that lost 20 % is not."""
    for seed in range(3):
        image = Image.fromarray(scene(400, seed))
        boxes = {"left and top": (16, 16, 400, 400), "right and bottom": (0, 0, 384, 384), "all": (8, 8, 392, 392)}
        trimmed = image.crop(boxes.get(edge, (0, 0, 400, 400)))
        one, other = (read_image(encode(version), size=64) for version in (image, trimmed))
        assert is_copy(one, other)
        assert is_copy(other, one)
    cut = image.crop((80, 80, 400, 400))
    assert not is_copy(one, read_image(encode(cut), size=64))


def test_a_flipped_image_is_a_copy_only_when_flipped() -> None:
    """Images are compared flipped or not, as `flipped` says."""
    image = scene(64, 1)
    assert not is_copy(image, image[:, ::-1])
    assert not is_copy(image, image, flipped=True)


@pytest.mark.slow
def test_other_pictures_are_no_copies() -> None:
    """Not one of 276 pairs of scenes, nor of drawn shapes, which are similar, large or tiny."""
    for size in (8, 64):
        shapes = np.stack([draw(kind, size, seed) for kind in KINDS for seed in range(8)])
        scenes = np.stack([scene(size, seed) for seed in range(24)])
        for images in (shapes, scenes):
            pairs = np.stack(np.triu_indices(len(images), 1), axis=1)
            for flipped in (False, True):
                assert not are_copies(images, pairs, np.full(len(pairs), flipped)).any()


def test_other_colours_are_no_copy() -> None:
    """The same shapes in other colours may be another class."""
    image = scene(64, 2)
    assert not is_copy(image, image[..., ::-1])
    assert not is_copy(image, 255 - image)


def test_images_of_little_detail_must_agree_more_closely() -> None:
    """A soft shape that is a little wider, or shifted, is another one; a scene that was shifted as far is a copy."""
    y, x = np.mgrid[:64, :64]

    def blobs(right: float, width: float = 1.0) -> Pixels:
        one = np.exp(-((y - 30) ** 2 + ((x - right) / width) ** 2 / 2) / 120)
        two = np.exp(-((y - 45) ** 2 + ((x - right + 10) / width) ** 2) / 80)
        return np.repeat(((one + two) * 120)[..., np.newaxis].clip(0, 255), 3, axis=2).astype(np.uint8)

    assert is_copy(blobs(30), blobs(30.5))
    assert not is_copy(blobs(30), blobs(33))
    assert not is_copy(blobs(30), blobs(30, 1.3))
    image = scene(70, 1)
    assert is_copy(image[:64, :64], image[:64, 3:67])


@pytest.mark.slow
def test_a_single_object_elsewhere_is_no_copy() -> None:
    """Discs and rings on a plain background, each at another position, are not grouped."""
    images = np.stack([draw_shape(kind, seed) for kind in CLASSES for seed in range(24)])
    pairs = np.stack(np.triu_indices(len(images), 1), axis=1)
    assert not are_copies(images, pairs, np.zeros(len(pairs), bool)).any()


def test_no_pairs_are_no_error() -> None:
    """The result is empty."""
    assert are_copies(np.zeros((3, 8, 8, 3), np.uint8), np.empty((0, 2), np.int64), np.empty(0, bool)).shape == (0,)
