"""The decoded images of a cache at a smaller size, made once and kept beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from convscope.run import available_cores, open_whole
from convscope.terminal import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 256


def images_at(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The same images, (n, size, size, channels) uint8, as a memory map; scaled now if they were not before.

    Args:
        images: (n, s, s, channels) uint8; a memory map, whose file the scaled ones are kept beside, or a plain array.
        size: at most s.
    """
    if size == images.shape[1]:
        return images
    shape = (len(images), size, size, images.shape[3])
    if not isinstance(images, np.memmap) or images.filename is None:
        return np.concatenate(list(_scaled(images, size))) if len(images) else np.empty(shape, np.uint8)
    file = Path(os.fsdecode(images.filename)).with_name(f"images-{size}.uint8")
    if not file.exists() or file.stat().st_size != np.prod(shape):
        with open_whole(file) as whole, progress(f"scaling to {size} pixels", len(images), unit="images") as bar:
            for chunk in _scaled(images, size):
                whole.write(chunk.tobytes())
                bar.advance(len(chunk))
    return np.memmap(file, np.uint8, mode="r", shape=shape)


def _scaled(images: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.uint8]]:
    chunks = (images[first : first + CHUNK] for first in range(0, len(images), CHUNK))
    with ThreadPoolExecutor(available_cores()) as threads:
        yield from threads.map(lambda chunk: _scale_chunk(chunk, size), chunks)


def _scale_chunk(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(n, s, s, c) -> (n, size, size, c), bilinear with antialiasing as when decoding."""
    channels = images.shape[3]
    planes = images[..., 0] if channels == 1 else images
    scaled = [np.asarray(Image.fromarray(each).resize((size, size), Image.Resampling.BILINEAR)) for each in planes]
    return np.stack(scaled).reshape(-1, size, size, channels)
