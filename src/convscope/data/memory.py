"""Memory that stays flat: pages of a memory map that were looked at are given back every so often.

The system counts every page of a file that a process has looked at as the process's memory, until it needs the room.
Given back, a page costs next to nothing to look at again: it is still in the system's own cache of files.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BYTES = 32 * 1024**2  # that may be looked at before they are given back
AROUND = 64 * 1024  # bytes that Linux maps around an image which it finds in its cache


class Reader:
    """The images of a data set, (n, size, size, channels) uint8, read by rows as an array is.

    Of a memory map at most some `MOST_BYTES` stay in memory; other arrays are left alone.
    """

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.shape = images.shape
        self._images = images
        self._looked_at = 0

    def __getitem__(self, rows: NDArray[np.int64] | slice | int) -> NDArray[np.uint8]:
        """Some of the images; of a slice, or of one row, a view that may be looked at for as long as one likes."""
        some: NDArray[np.uint8] = self._images[rows]
        self._looked_at += some.nbytes + AROUND * (len(rows) if isinstance(rows, np.ndarray) else 1)
        if self._looked_at > MOST_BYTES:
            self._looked_at = 0
            give_back(self._images)
        return some


def give_back(images: NDArray[np.uint8]) -> None:
    """Let the system take the pages of a memory map; of another array do nothing."""
    if isinstance(images.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # Windows has none
        images.base.madvise(mmap.MADV_DONTNEED)
