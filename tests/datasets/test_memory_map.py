"""Memory maps: pages are released as soon as they were read, and can be read again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from convscope.datasets.memory_map import RowReader, release_pages


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


@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident size from /proc")
def test_pages_are_released(images: np.memmap) -> None:
    """Nothing of the file is resident then, and its content is read as before."""
    file = Path(str(images.filename))
    total = int(images.sum())
    assert resident(file) == file.stat().st_size
    release_pages(images)
    assert resident(file) == 0
    assert int(images.sum()) == total


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident size from /proc")
def test_reading_rows_leaves_nothing_in_memory(images: np.memmap) -> None:
    """However rows are read, nothing of the file is resident after; of a slice, a view, not after the next read."""
    file = Path(str(images.filename))
    reader, expected = RowReader(images), np.fromfile(file, np.uint8).reshape(images.shape)  # not mapped
    for rows in np.random.default_rng(0).integers(0, 100, (50, 2)):
        np.testing.assert_array_equal(reader[rows], expected[rows])
        assert resident(file) == 0
    for first in range(0, 100, 10):
        view = reader[first : first + 10]
        assert resident(file) == 0
        np.testing.assert_array_equal(view, expected[first : first + 10])
        assert resident(file) > 0


def test_plain_arrays_are_read_too() -> None:
    """Rows, slices and single images; nothing is released."""
    images = np.arange(60, dtype=np.uint8).reshape(5, 2, 2, 3)
    reader = RowReader(images)
    for rows in (np.array([4, 0]), slice(1, 3), 2):
        np.testing.assert_array_equal(reader[rows], images[rows])
    assert images.sum() == sum(range(60))
