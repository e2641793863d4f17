"""Images of a disc or a ring in the left or the right half, so that the place of a correct heat map is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sample_images import Pixels

CLASSES = ("disc", "ring")
SIZE = 32
WRONG_EVERY = 29  # one image in 29 is in the wrong folder, as some are in every real data set
NOISE = 5.0  # standard deviation, of 255


def draw_shape(kind: str, seed: int) -> Pixels:
    """A bright disc or ring on dark ground, in the left half for an even seed. Returns: (32, 32, 3) uint8."""
    random = np.random.default_rng([seed, CLASSES.index(kind)])
    y, x = np.mgrid[:SIZE, :SIZE]
    middle_y, middle_x = random.uniform(6, SIZE - 7), random.uniform(6, 9) + (0 if seed % 2 == 0 else SIZE // 2)
    distance = np.hypot(y - middle_y, x - middle_x)
    inside = distance < 5 if kind == "disc" else (distance < 6.2) & (distance > 3.8)
    image = np.where(inside[..., None], random.uniform(140, 240), 40.0) + random.normal(0, NOISE, (SIZE, SIZE, 3))
    return image.clip(0, 255).astype(np.uint8)


def write_shapes(root: Path, *, per_class: int, names: tuple[str, str] = CLASSES) -> Path:
    """Write `root/<class>/<number>.png`; `names` are those of the folders of discs and of rings."""
    for name in names:
        (root / name).mkdir(parents=True)
    for position, kind in enumerate(CLASSES):
        for number in range(per_class):
            folder = names[1 - position] if number % WRONG_EVERY == WRONG_EVERY - 1 else names[position]
            Image.fromarray(draw_shape(kind, number)).save(root / folder / f"{kind}{number:03d}.png")
    return root
