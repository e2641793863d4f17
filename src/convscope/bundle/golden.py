"""Golden images: a few images inside a model file with the probabilities that the model gave them when it was written.

`verify` compares with them. They are drawn, not photos: whoever gives a model away does not give training images away.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from convscope.errors import ImageRefused
from convscope.image_rendering import png_bytes
from convscope.images.decoder_pool import InputSpec
from convscope.images.image_reader import read_image
from convscope.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_IMAGES = 12
NUM_CANDIDATES = 96  # of which the `NUM_IMAGES` with the most different probabilities are kept
MIN_CELLS, MAX_CELLS = 2, 24  # along the side of a drawing


@dataclass(frozen=True, slots=True, eq=False)
class GoldenImages:
    """Images (n, size, size, channels) uint8 and their probabilities (n, classes) float32."""

    images: NDArray[np.uint8]
    probabilities: NDArray[np.float32]

    def to_text(self) -> str:
        """JSON; each image is a PNG file in base64."""
        images = [base64.b64encode(png_bytes(image)).decode("ascii") for image in self.images]
        return json.dumps({"images": images, "probabilities": self.probabilities.astype(float).tolist()})

    @classmethod
    def from_text(cls, text: str, square: InputSpec, num_classes: int) -> GoldenImages:
        """Read `to_text` back.

        Raises:
            ValueError: the text is damaged, or another model's.
        """
        try:
            facts = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(facts, dict) or not isinstance(facts.get("images"), list):
            raise ValueError("no list of images")
        try:
            images = [_decode(image, square) for image in facts["images"][: 2 * NUM_IMAGES]]
            probabilities = np.array(facts["probabilities"], np.float32)
        except (ImageRefused, KeyError, TypeError) as error:
            raise ValueError(str(error)) from None
        if not images or probabilities.shape != (len(images), num_classes) or not np.isfinite(probabilities).all():
            raise ValueError("its images and probabilities do not match")
        return cls(np.stack(images), probabilities)


def draw_golden(
    predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]], square: InputSpec, *, seed: int
) -> GoldenImages:
    """Draw images, coarse and fine, and keep those whose probabilities differ most.

    Args:
        predict: the model, (n, size, size, channels) uint8 -> (n, classes) float32.
        square: the size and channels of its images.
        seed: of the drawings.
    """
    draws = generator(seed, "golden")
    images = np.stack([_draw(draws, square) for _ in range(NUM_CANDIDATES)])
    probabilities = predict(images)
    kept = _farthest_points(np.log(probabilities + 1e-6))
    return GoldenImages(images[kept], probabilities[kept])


def _draw(draws: np.random.Generator, square: InputSpec) -> NDArray[np.uint8]:
    """Smooth patches of random colours, all of about one size, with some noise: (size, size, channels) uint8."""
    cells = round(float(np.exp(draws.uniform(np.log(MIN_CELLS), np.log(MAX_CELLS)))))
    coarse = draws.integers(0, 256, (cells, cells, square.channels), np.uint8)
    planes = [Image.fromarray(coarse[..., channel]) for channel in range(square.channels)]
    side = (square.size, square.size)
    smooth = [np.asarray(plane.resize(side, Image.Resampling.BICUBIC)) for plane in planes]
    noise = draws.normal(0, draws.uniform(0, 24), square.shape)
    return np.clip(np.stack(smooth, axis=-1) + noise, 0, 255).astype(np.uint8)


def _farthest_points(rows: NDArray[np.float32]) -> list[int]:
    """Farthest-point sampling (Gonzalez 1985) of (n, classes): each row is the farthest from those before it.

    The first is the farthest from the mean.
    """
    distances = np.linalg.norm(rows - rows.mean(axis=0), axis=1)
    kept: list[int] = []
    for _ in range(min(NUM_IMAGES, len(rows))):
        kept.append(int(distances.argmax()))
        distances = np.minimum(distances, np.linalg.norm(rows - rows[kept[-1]], axis=1))
    return kept


def _decode(text: str, square: InputSpec) -> NDArray[np.uint8]:
    return read_image(base64.b64decode(text), size=square.size, channels=square.channels)
