"""data/memory.py: what was looked at is given back in time, and is still there to be looked at again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from convscope.data.memory import MOST_BYTES, release


def resident(file: Path) -> int:
    """The bytes of a mapped file that count as this process's memory."""
    lines = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines()
    first = next(number for number, line in enumerate(lines) if line.endswith(str(file)))
    return next(int(line.split()[1]) * 1024 for line in lines[first:] if line.startswith("Rss:"))


@pytest.mark.skipif(sys.platform != "linux", reason="how much is resident is read as Linux tells it")
def test_pages_are_given_back_when_they_are_many(tmp_path: Path) -> None:
    """Below the limit nothing happens; above it none of the file is resident, and all of it reads as before."""
    file = tmp_path / "images.uint8"
    np.arange(64 * 64 * 300, dtype=np.uint8).tofile(file)
    images = np.memmap(file, np.uint8, mode="r", shape=(100, 64, 64, 3))
    total = int(images.sum())
    assert resident(file) == file.stat().st_size
    assert release(images, 1000) == 1000
    assert resident(file) == file.stat().st_size
    assert release(images, MOST_BYTES + 1) == 0
    assert resident(file) == 0
    assert int(images.sum()) == total


def test_other_arrays_are_left_alone() -> None:
    """An array in memory has nothing to give back, and stays as it is."""
    images = np.ones((2, 2, 2, 3), np.uint8)
    assert release(images, MOST_BYTES + 1) == 0
    assert (images == 1).all()
