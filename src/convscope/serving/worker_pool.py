"""The queue of a pool of workers. It is fair: a client that sends many images, or large ones, delays nobody else.

Images are processed in the order in which they would be finished if each request had a worker for itself.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ImageFunction: TypeAlias = "Callable[[NDArray[np.uint8]], Any]"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Job:
    """One queued image.

    Attributes:
        data: the bytes of the image file.
        future: receives the outcome.
        function: what to compute from the image; None: the probabilities.
        pixels: to decode, as `decoding_work` counts them.
        seconds: estimated time of a worker.
        finish: the event loop's time at which the image would be finished if its request had a worker for itself.
    """

    data: bytes
    future: asyncio.Future[Any]
    function: ImageFunction | None
    pixels: int
    seconds: float
    finish: float


@dataclass(frozen=True, slots=True, eq=False)
class WorkerPool:
    """A number of workers, their queue, ordered by `Job.finish`, and all jobs that are queued or processed."""

    num_workers: int
    jobs: set[Job] = field(default_factory=set)
    queue: queue.PriorityQueue[tuple[float, int, Job | None]] = field(default_factory=queue.PriorityQueue)
    numbers: Iterator[int] = field(default_factory=itertools.count)  # first in, first out among equal finish times

    def put(self, job: Job | None) -> None:
        """Queue a job; None, which comes after all jobs, stops a worker."""
        self.queue.put((math.inf if job is None else job.finish, next(self.numbers), job))

    def expected_seconds(self, seconds: float, now: float) -> float:
        """The expected latency of a new request whose images take a worker `seconds`."""
        earlier = sum(job.seconds for job in self.jobs if job.finish <= now + seconds and not job.future.done())
        return (earlier + seconds) / self.num_workers
