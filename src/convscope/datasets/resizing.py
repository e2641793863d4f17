"""The decoded images of a cache at a smaller size: resized once, and kept beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from convscope.datasets.cache import explain_os_errors
from convscope.datasets.memory_map import RowReader
from convscope.environment import available_cores
from convscope.files import open_atomic
from convscope.progress import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK_PIXELS = 2**20  # that a thread resizes at once: 64 images of 128 pixels
READ_IMAGES = 1024  # that are read before their memory is released


def resize_images(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The same images at a smaller size; of a memory map they are resized once, and kept in a file beside its own.

    Args:
        images: (n, s, s, channels) uint8: a memory map, or a plain array.
        size: of the result, at most s.

    Returns: (n, size, size, channels) uint8: a memory map of a memory map.

    Raises:
        CacheError: the resized images cannot be written.
    """
    if size == images.shape[1]:
        return images
    shape = (len(images), size, size, images.shape[3])
    source = memory_map_file(images)
    if source is None:
        return np.concatenate(list(_resized_chunks(images, size))) if len(images) else np.empty(shape, np.uint8)
    path = source.with_name(f"images-{size}.uint8")
    with explain_os_errors(path.parent):
        if not path.exists() or path.stat().st_size != np.prod(shape):
            with open_atomic(path) as file, progress(f"resizing to {size} pixels", len(images), unit="images") as bar:
                for chunk in _resized_chunks(images, size):
                    file.write(chunk.tobytes())
                    bar.advance(len(chunk))
        return np.memmap(path, np.uint8, mode="r", shape=shape)


def memory_map_file(images: NDArray[np.uint8]) -> Path | None:
    """The file whose complete content a memory map is; None for a slice of one, or another array.

    Raises:
        CacheError: the file has been removed.
    """
    if not isinstance(images, np.memmap) or images.filename is None:
        return None
    path = Path(os.fsdecode(images.filename))
    with explain_os_errors(path.parent):
        return path if path.stat().st_size == images.nbytes else None


def _resized_chunks(images: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.uint8]]:
    reader = RowReader(images)
    chunk_images = max(1, CHUNK_PIXELS // images.shape[1] ** 2)
    with ThreadPoolExecutor(available_cores()) as threads:
        for first in range(0, len(images), READ_IMAGES):
            batch = reader[first : first + READ_IMAGES]
            chunks = np.split(batch, range(chunk_images, len(batch), chunk_images))
            yield from threads.map(partial(_resize_chunk, size=size), chunks)


def _resize_chunk(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(n, s, s, c) -> (n, size, size, c), bilinear with antialiasing: bit for bit as Pillow resizes one image.

    Pillow resizes rows, then columns. So all images are resized at once, first below each other and then beside each
    other, where no pixel mixes with one of another image: 1.7 times as fast on two cores (n = 4) as one by one.
    """
    count, side, _, channels = images.shape
    below = images.reshape(count * side, side, channels)
    narrow = _resize(below, size, count * side).reshape(count, side, size * channels)
    beside = np.ascontiguousarray(narrow.swapaxes(0, 1)).reshape(side, count * size * channels, 1)
    small = _resize(beside, count * size * channels, size).reshape(size, count, size, channels)
    return np.ascontiguousarray(small.swapaxes(0, 1))


def _resize(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """An image (h, w, c) with 1 or 3 channels -> (height, width, c), or (height, width) for one channel."""
    plane = image[..., 0] if image.shape[2] == 1 else image
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
