"""Reads rows of a memory map and releases its pages at once, so that memory stays flat.

The system counts every page of a file that a process has read as the process's memory, until it needs the memory; and
it maps as many around each image as it has in its page cache, up to all of them. Reading a released page again costs
next to nothing: it is still in the page cache. A batch of 64 images takes 0.3 ms longer, of the 160 ms and more of a
training step.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class RowReader:
    """Reads images (n, size, size, channels) uint8 by rows, as an array does.

    Of a memory map only the last slice stays in memory; for other arrays nothing is released.
    """

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.shape = images.shape
        self._images = images

    def __getitem__(self, rows: NDArray[np.int64] | slice | int) -> NDArray[np.uint8]:
        """The images of these rows; for a slice, or one row, a view that stays valid."""
        images: NDArray[np.uint8] = self._images[rows]
        release_pages(self._images)
        return images


def release_pages(images: NDArray[np.uint8]) -> None:
    """Release the pages of a memory map; do nothing for another array."""
    if isinstance(images.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # which Windows has not
        images.base.madvise(mmap.MADV_DONTNEED)
