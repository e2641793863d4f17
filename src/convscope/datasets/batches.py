"""Rows of a cache to batches: the order is a pure function of the seed and the epoch, so any step can be made again.

An epoch visits every image once, in a new order, in full batches; the few images that do not fill the last batch
wait for the next epoch, where the order is another. A data set smaller than a batch is one batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np

from convscope.datasets.augmentation import Augmentation
from convscope.datasets.memory_map import Reader
from convscope.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

Batch = tuple["NDArray[np.uint8]", "NDArray[np.int32]"]
Made = TypeVar("Made")
BATCHES_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Order:
    """Which image is used when.

    Attributes:
        rows: (n,) int64, the rows that are trained on.
        batch_size: images per step, at most n.
        seed: another seed, another order.
    """

    rows: NDArray[np.int64]
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return max(1, len(self.rows) // self.batch_size)

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """The rows of each step of an epoch, (steps, batch) int64. Epochs count from 0."""
        size = min(self.batch_size, len(self.rows))
        shuffled = generator(self.seed, "order", epoch).permutation(self.rows)
        return shuffled[: self.steps_per_epoch * size].reshape(self.steps_per_epoch, size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """What is learned from, and how it is shown.

    Attributes:
        images: (n, size, size, channels) uint8 by size, the same images at each.
        labels: (n,) int32.
        order: which image is used when.
        augmentation: what is changed at random.
        size_of: the image size of a step.
    """

    images: Mapping[int, NDArray[np.uint8]]
    labels: NDArray[np.int32]
    order: Order
    augmentation: Augmentation
    size_of: Callable[[int], int]


def training_batches(lessons: Lessons, *, start: int) -> Iterator[Batch]:
    """Batches from step `start` on, without end: images (B, size, size, channels) uint8 and labels (B,) int32."""
    step = start
    readers = {size: Reader(images) for size, images in lessons.images.items()}
    while True:
        epoch, first = divmod(step, lessons.order.steps_per_epoch)
        for rows in lessons.order.epoch(epoch)[first:]:
            size = lessons.size_of(step)
            images = readers[max(readers) if lessons.augmentation.zoom else size][rows]
            changed = lessons.augmentation.apply(images, rows, size=size, epoch=epoch, step=step)
            yield changed, lessons.labels[rows]
            step += 1


def evaluation_batches(
    images: NDArray[np.uint8], labels: NDArray[np.int32], rows: NDArray[np.int64], *, batch_size: int
) -> Iterator[Batch]:
    """Every row once, in order; the last batch may be smaller."""
    reader = Reader(images)
    for first in range(0, len(rows), batch_size):
        some = rows[first : first + batch_size]
        yield reader[some], labels[some]


class Prefetch(Iterator[Made]):
    """The same values in the same order, made in a thread a few ahead of their use; its errors come out here.

    Use it in a `with`: leaving it ends the thread.
    """

    def __init__(self, source: Iterator[Made], *, ahead: int = BATCHES_AHEAD) -> None:
        self._source = source
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._ready = deque(self._thread.submit(next, source) for _ in range(ahead))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def __next__(self) -> Made:
        self._ready.append(self._thread.submit(next, self._source))
        return self._ready.popleft().result()
