"""The data set of the demonstration: scikit-learn's 1,797 handwritten digits, written as a folder of PNG files.

Their source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998, the test
set: 8 x 8 values from 0 to 16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from convscope.datasets.cache import explain_os_errors
from convscope.errors import MissingExtra
from convscope.files import staged_folder

MAX_VALUE = 16


def write_digits(folder: Path) -> Path:
    """Write the digits to `folder/<digit>/<number>.png`, white on black, unless `folder` exists; returns `folder`.

    Raises:
        MissingExtra: scikit-learn is not installed.
        CacheError: they cannot be written.
    """
    if folder.is_dir():
        return folder
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise MissingExtra(command="convscope demo", module="sklearn", extra="train") from None
    digits = load_digits()
    with explain_os_errors(folder.parent), staged_folder(folder, keep_existing=lambda: True) as staged:
        for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
            class_folder = staged / str(digit)
            class_folder.mkdir(exist_ok=True)
            pixels = np.round(image * (255 / MAX_VALUE)).astype(np.uint8)
            Image.fromarray(pixels).save(class_folder / f"{number:04d}.png")
    return folder
