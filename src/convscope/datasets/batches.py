"""Batches of the images of a cache; their order is a pure function of seed and epoch, so any step can be repeated.

An epoch has every image once, in a new order, in full batches; the images that do not fill the last batch are left out
of this epoch. A data set smaller than a batch is one batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np

from convscope.datasets.augmentation import Augmentation
from convscope.datasets.memory_map import RowReader
from convscope.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

Batch = tuple["NDArray[np.uint8]", "NDArray[np.int32]"]
Value = TypeVar("Value")
BATCHES_AHEAD = 4


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """The order of the training images.

    Attributes:
        rows: (n,) int64, the rows that are trained on.
        batch_size: images per step, at most n.
        seed: of the order.
    """

    rows: NDArray[np.int64]
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch, at least 1."""
        return max(1, len(self.rows) // self.batch_size)

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """The rows of each step of an epoch, (steps, batch size) int64. Epochs count from 0."""
        size = min(self.batch_size, len(self.rows))
        shuffled = generator(self.seed, "order", epoch).permutation(self.rows)
        return shuffled[: self.steps_per_epoch * size].reshape(self.steps_per_epoch, size)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingInput:
    """The training input pipeline: images, labels, order and augmentation.

    Attributes:
        images: the same images at each size: size -> (n, size, size, channels) uint8.
        labels: (n,) int32.
        order: the order of the images.
        augmentation: how they are changed at random.
        size_at_step: step -> the image size, in pixels.
    """

    images: Mapping[int, NDArray[np.uint8]]
    labels: NDArray[np.int32]
    order: BatchOrder
    augmentation: Augmentation
    size_at_step: Callable[[int], int]


def training_batches(training_input: TrainingInput, *, start: int) -> Iterator[Batch]:
    """Endless batches from step `start` on: images (B, size, size, channels) uint8 and labels (B,) int32."""
    step = start
    readers = {size: RowReader(images) for size, images in training_input.images.items()}
    while True:
        epoch, first = divmod(step, training_input.order.steps_per_epoch)
        for rows in training_input.order.epoch(epoch)[first:]:
            size = training_input.size_at_step(step)
            images = readers[max(readers) if training_input.augmentation.zoom else size][rows]
            augmented = training_input.augmentation.apply(images, rows, size=size, epoch=epoch, step=step)
            yield augmented, training_input.labels[rows]
            step += 1


def evaluation_batches(
    images: NDArray[np.uint8], labels: NDArray[np.int32], rows: NDArray[np.int64], *, batch_size: int
) -> Iterator[Batch]:
    """Batches of every row once, in order; the last one may be smaller."""
    reader = RowReader(images)
    for first in range(0, len(rows), batch_size):
        batch = rows[first : first + batch_size]
        yield reader[batch], labels[batch]


class Prefetch(Iterator[Value]):
    """Iterates over `source` in a thread, a few values ahead; an error of `source` is raised where its value would be.

    Use it in a `with`: leaving it ends the thread.
    """

    def __init__(self, source: Iterator[Value], *, ahead: int = BATCHES_AHEAD) -> None:
        self._source = source
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._ready = deque(self._thread.submit(next, source) for _ in range(ahead))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def __next__(self) -> Value:
        self._ready.append(self._thread.submit(next, self._source))
        return self._ready.popleft().result()
