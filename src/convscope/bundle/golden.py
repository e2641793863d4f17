"""Golden inputs: a few images inside a model with the answers that it gave when it was written; its own proof.

They are drawn, not taken from anybody's photos: a model is given away, and its training images are not to go with it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from convscope.drawing import png_bytes
from convscope.errors import ImageRefused
from convscope.images.decoding import Square
from convscope.images.reading import read_image
from convscope.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGES = 12
DRAWN = 96  # of which the `IMAGES` with the most different answers are kept
COARSEST, FINEST = 2, 24  # cells along the side of a drawing


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Images (n, size, size, channels) uint8 and their probabilities (n, classes) float32."""

    images: NDArray[np.uint8]
    probabilities: NDArray[np.float32]

    def to_text(self) -> str:
        """As JSON, the images as PNG files in base64."""
        images = [base64.b64encode(png_bytes(image)).decode("ascii") for image in self.images]
        return json.dumps({"images": images, "probabilities": self.probabilities.astype(float).tolist()})

    @classmethod
    def from_text(cls, text: str, square: Square, num_classes: int) -> Golden:
        """Read `to_text` back.

        Raises:
            ValueError: it is damaged, or of another model.
        """
        try:
            facts = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(facts, dict) or not isinstance(facts.get("images"), list):
            raise ValueError("no list of images")
        try:
            images = [_decode(image, square) for image in facts["images"][: 2 * IMAGES]]
            probabilities = np.array(facts["probabilities"], np.float32)
        except (ImageRefused, KeyError, TypeError) as error:
            raise ValueError(str(error)) from None
        if not images or probabilities.shape != (len(images), num_classes) or not np.isfinite(probabilities).all():
            raise ValueError("images and probabilities that do not belong together")
        return cls(np.stack(images), probabilities)


def draw_golden(answer: Callable[[NDArray[np.uint8]], NDArray[np.float32]], square: Square, *, seed: int) -> Golden:
    """Draw images, coarse and fine, and keep those that the model answers most differently.

    Args:
        answer: the model, (n, size, size, channels) uint8 -> (n, classes) float32.
        square: what its images are.
        seed: of the drawings.
    """
    draws = generator(seed, "golden")
    images = np.stack([_draw(draws, square) for _ in range(DRAWN)])
    probabilities = answer(images)
    kept = _most_different(np.log(probabilities + 1e-6))
    return Golden(images[kept], probabilities[kept])


def _draw(draws: np.random.Generator, square: Square) -> NDArray[np.uint8]:
    """A few colours in smooth patches of one grain, some noise over them."""
    cells = round(float(np.exp(draws.uniform(np.log(COARSEST), np.log(FINEST)))))
    coarse = draws.integers(0, 256, (cells, cells, square.channels), np.uint8)
    planes = [Image.fromarray(coarse[..., channel]) for channel in range(square.channels)]
    side = (square.size, square.size)
    smooth = [np.asarray(plane.resize(side, Image.Resampling.BICUBIC)) for plane in planes]
    noise = draws.normal(0, draws.uniform(0, 24), square.shape)
    return np.clip(np.stack(smooth, axis=-1) + noise, 0, 255).astype(np.uint8)


def _most_different(answers: NDArray[np.float32]) -> list[int]:
    """Row after row, each the farthest from those before it (Gonzalez 1985), the first the farthest from the mean."""
    distance = np.linalg.norm(answers - answers.mean(axis=0), axis=1)
    kept: list[int] = []
    for _ in range(min(IMAGES, len(answers))):
        kept.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(answers - answers[kept[-1]], axis=1))
    return kept


def _decode(text: str, square: Square) -> NDArray[np.uint8]:
    return read_image(base64.b64decode(text), size=square.size, channels=square.channels)
