"""Rows of a cache to batches: the order is a pure function of the seed and the epoch, so any step can be made again.

An epoch visits every image once, in a new order, in full batches; the few images that do not fill the last batch
wait for the next epoch, where the order is another. A data set smaller than a batch is one batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np

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


def training_batches(
    images: NDArray[np.uint8], labels: NDArray[np.int32], order: Order, *, start: int
) -> Iterator[Batch]:
    """Batches from step `start` on, without end: images (B, size, size, channels) uint8 and labels (B,) int32."""
    epoch, first = divmod(start, order.steps_per_epoch)
    while True:
        for rows in order.epoch(epoch)[first:]:
            yield images[rows], labels[rows]
        epoch, first = epoch + 1, 0


def evaluation_batches(
    images: NDArray[np.uint8], labels: NDArray[np.int32], rows: NDArray[np.int64], *, batch_size: int
) -> Iterator[Batch]:
    """Every row once, in order; the last batch may be smaller."""
    for first in range(0, len(rows), batch_size):
        some = rows[first : first + batch_size]
        yield images[some], labels[some]


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
