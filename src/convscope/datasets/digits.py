"""The data set that comes along: scikit-learn's 1,797 handwritten digits, written out as a folder of PNG files.

They are real: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998, the test
part: 8 x 8 counts from 0 to 16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from convscope.errors import MissingExtra
from convscope.files import staged_folder

SIZE = 8
HIGHEST = 16


def write_digits(folder: Path) -> Path:
    """Write the digits to `folder/<digit>/<number>.png`, white on black, unless they are there; returns `folder`."""
    if folder.is_dir():
        return folder
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise MissingExtra(command="convscope demo", module="sklearn", extra="train") from None
    digits = load_digits()
    with staged_folder(folder, keep_existing=lambda: True) as staged:
        for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
            place = staged / str(digit)
            place.mkdir(exist_ok=True)
            pixels = np.round(image * (255 / HIGHEST)).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{number:04d}.png")
    return folder
