"""What the baselines share: the hyperparameters of the reference network, and photos listed and read with Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 128  # pixels
FILTERS, DENSE_UNITS = (32, 32, 64), 128
INITIAL_DEVIATION = 0.05  # standard deviation of the initial weights, and the value of the initial biases
BATCH_SIZE, LEARNING_RATE = 32, 1e-4
EVALUATION_BATCH_SIZE = 250


def list_photos(folder: Path) -> tuple[list[Path], NDArray[np.int64], int]:
    """The files in all class folders, their labels (n,), and the number of classes."""
    class_folders = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    files_by_class = [sorted(class_folder.iterdir()) for class_folder in class_folders]
    labels = np.repeat(np.arange(len(class_folders)), [len(files) for files in files_by_class])
    return [file for files in files_by_class for file in files], labels, len(class_folders)


def read_photo(path: Path) -> NDArray[np.uint8]:
    """(SIZE, SIZE, 3) uint8, RGB, 0-255, stretched."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))
