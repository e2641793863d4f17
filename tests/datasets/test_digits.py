"""The data set of the demonstration: ten classes of PNG files, written once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope.datasets.digits import write_digits
from convscope.datasets.listing import list_folder
from convscope.errors import CacheError

pytest.importorskip("sklearn")


@pytest.mark.slow
def test_digits_are_a_folder_of_ten_classes(tmp_path: Path) -> None:
    """1,797 grey images of 8 x 8 that use the full range, all of them listed; no other file is left beside them."""
    folder = write_digits(tmp_path / "digits")
    listing = list_folder(folder)
    assert (len(listing.items), listing.classes, listing.ignored) == (1797, tuple("0123456789"), {})
    pixels = []
    for item in listing.items[::20]:
        with Image.open(folder / item.path) as image:
            assert (image.mode, image.size) == ("L", (8, 8))
            pixels.append(np.asarray(image))
    assert (np.min(pixels), np.max(pixels)) == (0, 255)
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_a_folder_that_exists_is_kept(tmp_path: Path) -> None:
    """Nothing is written to it."""
    assert write_digits(tmp_path) == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The fix is another cache folder."""
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="Not a directory"):
        write_digits(tmp_path / "file" / "digits")
