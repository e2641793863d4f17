"""Resizing: the same images at a smaller size, made once, kept beside the cache, and never used incomplete."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sample_images import write_folder

from convscope.datasets.cache import Cache, open_cache
from convscope.datasets.resizing import CHUNK_PIXELS, resize_images
from convscope.errors import CacheError
from convscope.images.decoder_pool import InputSpec

CHUNK = CHUNK_PIXELS // 64**2  # images of 64 pixels that are resized at once


@pytest.fixture
def large(tmp_path: Path) -> Cache:
    """Nine drawings, decoded at 32 pixels."""
    return open_large(tmp_path, channels=3)


def open_large(parent: Path, *, size: int = 32, channels: int = 3) -> Cache:
    """Nine drawings of 60 x 60 in `parent`, decoded."""
    root = parent / "photos"
    if not root.exists():
        write_folder(root, per_class=3, size=60)
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))
    return open_cache(root, paths, InputSpec(size, "stretch", channels), folder=parent / "cache")


def files_of(cache: Cache) -> set[str]:
    """The names in the folder of a cache."""
    return {path.name for path in cache.path.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_resized_images_are_nearly_those_decoded_small(tmp_path: Path, channels: int) -> None:
    """Resized in two steps or in one, images differ by the smoothing of the first step and by rounding."""
    resized = resize_images(open_large(tmp_path, channels=channels).images, 16)
    small = open_large(tmp_path, size=16, channels=channels).images
    assert (resized.shape, resized.dtype) == ((9, 16, 16, channels), np.uint8)
    difference = np.abs(resized.astype(int) - small)
    assert difference.mean() < 3
    others = np.abs(np.roll(resized, 1, axis=0).astype(int) - small)
    assert others.mean() > 20  # images do differ


def test_the_same_size_is_the_same_images(large: Cache) -> None:
    """Nothing is resized or written."""
    before = files_of(large)
    assert resize_images(large.images, 32) is large.images
    assert files_of(large) == before


def test_a_slice_never_overwrites_the_file(large: Cache) -> None:
    """A slice of the map is resized in memory: the file beside the cache has all images."""
    complete = np.array(resize_images(large.images, 16))
    part = resize_images(large.images[2:5], 16)
    np.testing.assert_array_equal(part, complete[2:5])
    np.testing.assert_array_equal(resize_images(large.images, 16), complete)


def test_resized_images_are_kept_and_used_again(large: Cache) -> None:
    """They are a memory map of one more file in the folder of the cache, which is not made a second time."""
    before = files_of(large)
    first = resize_images(large.images, 20)
    assert isinstance(first, np.memmap)
    assert files_of(large) - before == {"images-20.uint8"}
    file = large.path / "images-20.uint8"
    made = file.stat().st_mtime_ns
    marked = bytearray(file.read_bytes())
    marked[0] ^= 255
    file.write_bytes(marked)  # resizing again would overwrite this
    changed = file.stat().st_mtime_ns
    again = resize_images(large.images, 20)
    assert again.ravel()[0] == marked[0]
    assert file.stat().st_mtime_ns == changed >= made
    assert not again.flags.writeable


@pytest.mark.slow
@pytest.mark.parametrize("num_bytes", [0, 100, 9 * 20 * 20 * 3 - 1, 9 * 20 * 20 * 3 + 1])
def test_a_file_of_another_length_is_never_used(large: Cache, num_bytes: int) -> None:
    """Too short or too long, it is made again."""
    expected = np.array(resize_images(large.images, 20))
    file = large.path / "images-20.uint8"
    file.write_bytes(file.read_bytes()[:num_bytes].ljust(num_bytes, b"x"))
    np.testing.assert_array_equal(resize_images(large.images, 20), expected)
    assert file.stat().st_size == expected.nbytes


def test_a_failed_write_is_an_error_and_leaves_no_file(large: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither under its name nor beside it; the next call makes a complete one."""
    before = files_of(large)

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(CacheError, match="no space"):
            resize_images(large.images, 20)
    assert files_of(large) == before
    assert resize_images(large.images, 20).shape == (9, 20, 20, 3)


def test_the_cache_stays_intact(large: Cache, tmp_path: Path) -> None:
    """A cache with resized images beside it is opened as before, with the same pixels."""
    kept = np.array(large.images)
    resize_images(large.images, 16)
    again = open_large(tmp_path)
    assert again.path == large.path
    assert "images-16.uint8" in files_of(again)
    np.testing.assert_array_equal(again.images, kept)


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1])
def test_plain_arrays_are_resized_in_memory(count: int) -> None:
    """Any number of images, in order, each as if alone; no file is written."""
    images: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 1), np.uint8)
    resized = resize_images(images, 4)
    assert (resized.shape, resized.dtype) == ((count, 4, 4, 1), np.uint8)
    for row in {0, count // 2, count - 1} & set(range(count)):
        np.testing.assert_array_equal(resized[row], resize_images(images[row : row + 1], 4)[0])


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("side", "size"), [(64, 32), (64, 48), (40, 13), (5, 1), (2000, 500)])
def test_resizing_is_that_of_pillow_for_each_image(side: int, size: int, channels: int) -> None:
    """To the bit, whatever image is beside it: noise, whose pixels differ from their neighbours."""
    images: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (3, side, side, channels), np.uint8)
    for resized, image in zip(resize_images(images, size), images, strict=True):
        alone = Image.fromarray(image[..., 0] if channels == 1 else image).resize(
            (size, size), Image.Resampling.BILINEAR
        )
        np.testing.assert_array_equal(resized, np.asarray(alone).reshape(size, size, channels))
