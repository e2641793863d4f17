"""What the peers share: the figures of the reference network, and photos listed by class folder, read by Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 128  # pixels
FILTERS, DENSE_UNITS = (32, 32, 64), 128  # of the reference network
DEVIATION = 0.05  # of its first weights, and the value of its first biases
BATCH_SIZE, LEARNING_RATE = 32, 1e-4


def list_photos(folder: Path) -> tuple[list[Path], NDArray[np.int64], int]:
    """The files of every class folder, their labels (n,), and how many classes there are."""
    classes = sorted(each for each in folder.iterdir() if each.is_dir())
    paths = [sorted(each.iterdir()) for each in classes]
    labels = np.repeat(np.arange(len(classes)), [len(each) for each in paths])
    return [path for each in paths for path in each], labels, len(classes)


def read_photo(path: Path) -> NDArray[np.uint8]:
    """(SIZE, SIZE, 3) uint8, RGB, 0-255, stretched."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))
