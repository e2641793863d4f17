"""datasets/memory_map.py: what was looked at is given back in time, and is still there to be looked at again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from convscope.datasets.memory_map import Reader, give_back


def resident(file: Path) -> int:
    """The bytes of a mapped file that count as this process's memory."""
    lines = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines()
    first = next(number for number, line in enumerate(lines) if line.endswith(str(file)))
    return next(int(line.split()[1]) * 1024 for line in lines[first:] if line.startswith("Rss:"))


@pytest.fixture
def images(tmp_path: Path) -> np.memmap:
    """A hundred images of 12 kB in a file."""
    file = tmp_path / "images.uint8"
    np.arange(64 * 64 * 300, dtype=np.uint8).tofile(file)
    return np.memmap(file, np.uint8, mode="r", shape=(100, 64, 64, 3))


@pytest.mark.skipif(sys.platform != "linux", reason="how much is resident is read as Linux tells it")
def test_pages_are_given_back(images: np.memmap) -> None:
    """None of the file is resident then, and all of it reads as before."""
    file = Path(str(images.filename))
    total = int(images.sum())
    assert resident(file) == file.stat().st_size
    give_back(images)
    assert resident(file) == 0
    assert int(images.sum()) == total


@pytest.mark.skipif(sys.platform != "linux", reason="how much is resident is read as Linux tells it")
def test_nothing_stays_in_memory(images: np.memmap) -> None:
    """However rows are read, nothing of the file is resident after; of a slice, a view, not after the next read."""
    file = Path(str(images.filename))
    reader, plain = Reader(images), np.fromfile(file, np.uint8).reshape(images.shape)  # read without the map
    for rows in np.random.default_rng(0).integers(0, 100, (50, 2)):
        np.testing.assert_array_equal(reader[rows], plain[rows])
        assert resident(file) == 0
    for first in range(0, 100, 10):
        view = reader[first : first + 10]
        assert resident(file) == 0
        np.testing.assert_array_equal(view, plain[first : first + 10])
        assert resident(file) > 0


def test_other_arrays_are_left_alone() -> None:
    """An array in memory has nothing to give back, and stays as it is; rows, slices and single images are read."""
    images = np.arange(60, dtype=np.uint8).reshape(5, 2, 2, 3)
    reader = Reader(images)
    for rows in (np.array([4, 0]), slice(1, 3), 2):
        np.testing.assert_array_equal(reader[rows], images[rows])
    assert images.sum() == sum(range(60))
