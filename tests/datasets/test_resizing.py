"""datasets/resizing.py: the same images smaller, made once, kept beside the cache, and never taken half-made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sample_images import write_folder

from convscope.datasets.cache import Cache, open_cache
from convscope.datasets.resizing import CHUNK_PIXELS, images_at
from convscope.images.decoding import Square

CHUNK = CHUNK_PIXELS // 64**2  # images of 64 pixels that are scaled in one go


@pytest.fixture
def large(tmp_path: Path) -> Cache:
    """Nine drawings, decoded at 32 pixels."""
    return open_large(tmp_path, channels=3)


def open_large(place: Path, *, size: int = 32, channels: int = 3) -> Cache:
    """Nine drawings of 60 x 60 in `place`, decoded."""
    root = place / "photos"
    if not root.exists():
        write_folder(root, per_class=3, size=60)
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))
    return open_cache(root, paths, Square(size, "stretch", channels), folder=place / "cache")


def files_of(cache: Cache) -> set[str]:
    """What lies in the folder of a cache."""
    return {path.name for path in cache.path.iterdir()}


@pytest.mark.parametrize("channels", [1, 3])
def test_scaled_is_as_if_decoded_small(tmp_path: Path, channels: int) -> None:
    """Scaled in two steps or in one, an image is the same but for the smoothing of the first step and rounding."""
    scaled = images_at(open_large(tmp_path, channels=channels).images, 16)
    small = open_large(tmp_path, size=16, channels=channels).images
    assert (scaled.shape, scaled.dtype) == ((9, 16, 16, channels), np.uint8)
    difference = np.abs(scaled.astype(int) - small)
    assert difference.mean() < 3
    others = np.abs(np.roll(scaled, 1, axis=0).astype(int) - small)
    assert others.mean() > 20  # images do differ


def test_the_same_size_is_the_same_images(large: Cache) -> None:
    """Nothing is scaled or written where nothing changes."""
    before = files_of(large)
    assert images_at(large.images, 32) is large.images
    assert files_of(large) == before


def test_some_of_the_images_never_overwrite_all(large: Cache) -> None:
    """A slice of the map is scaled in memory: the file beside the cache is of all images."""
    whole = np.array(images_at(large.images, 16))
    some = images_at(large.images[2:5], 16)
    np.testing.assert_array_equal(some, whole[2:5])
    np.testing.assert_array_equal(images_at(large.images, 16), whole)


def test_scaled_ones_are_kept_and_used_again(large: Cache) -> None:
    """They are a memory map of one more file in the cache's folder, which is read and not made a second time."""
    before = files_of(large)
    first = images_at(large.images, 20)
    assert isinstance(first, np.memmap)
    assert files_of(large) - before == {"images-20.uint8"}
    file = large.path / "images-20.uint8"
    made = file.stat().st_mtime_ns
    marked = bytearray(file.read_bytes())
    marked[0] ^= 255
    file.write_bytes(marked)  # were they scaled again, this would be gone
    changed = file.stat().st_mtime_ns
    again = images_at(large.images, 20)
    assert again.ravel()[0] == marked[0]
    assert file.stat().st_mtime_ns == changed >= made
    assert not again.flags.writeable


@pytest.mark.parametrize("left", [0, 100, 9 * 20 * 20 * 3 - 1, 9 * 20 * 20 * 3 + 1])
def test_a_file_of_another_length_is_never_used(large: Cache, left: int) -> None:
    """Too short or too long, it is made anew, whole."""
    expected = np.array(images_at(large.images, 20))
    file = large.path / "images-20.uint8"
    file.write_bytes(file.read_bytes()[:left].ljust(left, b"x"))
    np.testing.assert_array_equal(images_at(large.images, 20), expected)
    assert file.stat().st_size == expected.nbytes


def test_a_killed_write_leaves_nothing_that_is_used(large: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the middle leaves no file, neither under its name nor beside it; the next try makes it whole."""
    before = files_of(large)

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="no space"):
            images_at(large.images, 20)
    assert files_of(large) == before
    assert images_at(large.images, 20).shape == (9, 20, 20, 3)


def test_the_cache_is_still_whole(large: Cache, tmp_path: Path) -> None:
    """A cache with scaled images beside it is opened as before, with the same pixels."""
    kept = np.array(large.images)
    images_at(large.images, 16)
    again = open_large(tmp_path)
    assert again.path == large.path
    assert "images-16.uint8" in files_of(again)
    np.testing.assert_array_equal(again.images, kept)


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1])
def test_plain_arrays_are_scaled_in_memory(count: int) -> None:
    """Any number of images, in their order, each as if alone; nothing is written anywhere."""
    images: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 1), np.uint8)
    scaled = images_at(images, 4)
    assert (scaled.shape, scaled.dtype) == ((count, 4, 4, 1), np.uint8)
    for row in {0, count // 2, count - 1} & set(range(count)):
        np.testing.assert_array_equal(scaled[row], images_at(images[row : row + 1], 4)[0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("side", "size"), [(64, 32), (64, 48), (40, 13), (5, 1), (2000, 500)])
def test_scaled_is_what_pillow_makes_of_each_image(side: int, size: int, channels: int) -> None:
    """To the bit, whatever lies beside it: noise, whose every pixel differs from its neighbours'."""
    images: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (3, side, side, channels), np.uint8)
    for scaled, image in zip(images_at(images, size), images, strict=True):
        alone = Image.fromarray(image[..., 0] if channels == 1 else image).resize(
            (size, size), Image.Resampling.BILINEAR
        )
        np.testing.assert_array_equal(scaled, np.asarray(alone).reshape(size, size, channels))
