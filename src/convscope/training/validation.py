"""Evaluation of a network that is being trained, and its predictions: both are compiled once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.datasets.batches import Prefetch, evaluation_batches
from convscope.datasets.dataset import Dataset
from convscope.datasets.resizing import resize_images
from convscope.errors import FolderError
from convscope.training.step import Tally, make_evaluation_step, make_inference

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_SIZE = 128


class ResizedImages:
    """The images of a data set at several sizes, each resized, or opened, once.

    Args:
        images: (n, size, size, channels) uint8.
    """

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._images = images
        self._resized: dict[int, NDArray[np.uint8]] = {}

    def at(self, size: int) -> NDArray[np.uint8]:
        """The images at a size in pixels: (n, size, size, channels) uint8."""
        if size not in self._resized:
            self._resized[size] = resize_images(self._images, size)
        return self._resized[size]


class Evaluator:
    """Evaluates a network on the splits of a data set.

    Args:
        model: the `keras.Model`, whose weights may change between two evaluations.
        dataset: labels and splits.
        images: of the data set.
    """

    def __init__(self, model: Any, dataset: Dataset, images: ResizedImages) -> None:
        self._dataset = dataset
        self._images = images
        self._tally = Tally()
        self._evaluate = make_evaluation_step(model, self._tally)
        self._infer = make_inference(model)

    def evaluate(self, split: str, *, size: int, max_images: int | None = None) -> dict[str, float]:
        """Mean cross-entropy (nats) and accuracy over every image of a split, or over its first `max_images`.

        Args:
            split: `train`, `validation` or `test`.
            size: the image size in pixels.
            max_images: None: all.

        Returns: `loss` and `accuracy`.

        Raises:
            FolderError: the split has no image.
        """
        rows = self._dataset.rows(split)[:max_images]
        if not len(rows):
            splits = sorted({sample.split for sample in self._dataset.samples} - {""})
            raise FolderError(
                found=f"no images in the split {split!r}", expected=" or ".join(splits), fix="choose one of them"
            )
        batches = evaluation_batches(self._images.at(size), self._dataset.labels, rows, batch_size=BATCH_SIZE)
        self._tally.reset()
        with Prefetch(batches) as ready:
            for images, labels in ready:
                self._evaluate(images, labels)
        loss, accuracy = self._tally.read()
        return {"loss": loss, "accuracy": accuracy}

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, size, size, channels) uint8 -> (n, classes) float32 probabilities."""
        batches = np.split(images, range(BATCH_SIZE, len(images), BATCH_SIZE))
        return np.concatenate([self._infer(batch).numpy() for batch in batches])
