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

MOST_BYTES = 128 * 1024**2  # that may be looked at before they are given back


def release(images: NDArray[np.uint8], looked_at: int) -> int:
    """Give the pages of a memory map back when `looked_at` bytes of it are too many; of another array nothing.

    Returns: the bytes that are looked at now.
    """
    if looked_at <= MOST_BYTES:
        return looked_at
    if isinstance(images.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # Windows has none
        images.base.madvise(mmap.MADV_DONTNEED)
    return 0
