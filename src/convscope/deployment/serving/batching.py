"""A bounded queue of images, and one worker thread for each core that decodes them and asks the model.

A worker takes what waits, for up to 5 ms or 32 images, and answers it in one batch. It never waits for a batch to fill:
while all workers are busy the next batch gathers by itself. Decoding and inference share a worker, so the cores are
shared without anybody's dealing them out; Pillow and ONNX Runtime release Python's lock while they compute.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from convscope.data.image import read_image
from convscope.deployment.bundle import Bundle
from convscope.deployment.serving.refusals import Refusal
from convscope.errors import ImageRefused
from convscope.run import available_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.deployment.serving.telemetry import Telemetry

BATCH_IMAGES = 32
GATHER_SECONDS = 0.005
REMEMBERED = 0.95  # how much of the pace that was known stays, with each batch

Look: TypeAlias = "Callable[[NDArray[np.uint8]], Any]"


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One image to answer: its bytes, whom the answer is for, and what to do instead of predicting, if anything."""

    data: bytes
    answer: asyncio.Future[Any]
    look: Look | None


class Batcher:
    """Answers images for whoever awaits them. All but the workers' own loop runs on the event loop.

    Args:
        bundle: the model, opened with one thread for each answer.
        most_waiting: images that may be waiting or being answered.
        telemetry: where batches are counted.
    """

    def __init__(self, bundle: Bundle, *, most_waiting: int, telemetry: Telemetry) -> None:
        self.bundle = bundle
        self.most_waiting = most_waiting
        self.telemetry = telemetry
        self.waiting = 0
        self._seconds_per_image = 0.0  # of one worker
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Start the workers; answers arrive on the running event loop."""
        self._loop = asyncio.get_running_loop()
        started = time.perf_counter()
        self.bundle.predict(np.zeros((1, *self.bundle.square.shape), np.uint8))
        self._seconds_per_image = time.perf_counter() - started
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(available_cores())]
        for thread in self._threads:
            thread.start()

    async def stop(self) -> None:
        """Answer what is queued, and end the workers."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    @property
    def expected_seconds(self) -> float:
        """How long a next image would take, by the pace of the last batches."""
        return (self.waiting + 1) * self._seconds_per_image / max(len(self._threads), 1)

    def check_room(self, count: int, deadline: float) -> None:
        """Do nothing where `count` more images fit into the queue and can be answered in time.

        Args:
            count: images.
            deadline: the loop's time at which their answer is worth nothing any more.

        Raises:
            Refusal: 503, with the time after which there should be room.
        """
        if self.waiting + count > self.most_waiting:
            raise _overloaded(f"{self.waiting} images waiting", f"room for {count}", self.expected_seconds)
        expected = self.expected_seconds + (count - 1) * self._seconds_per_image / max(len(self._threads), 1)
        left = deadline - self._loop.time()
        if (
            self.waiting and expected > left
        ):  # with nothing waiting it is tried: else one slow batch could lock the door
            raise _overloaded(
                f"an answer that would take {expected:.1f} s", f"one within {left:.1f} s", expected - left
            )

    async def answer(self, images: Sequence[bytes], *, deadline: float, look: Look | None = None) -> list[Any]:
        """Answer the images of one request.

        Args:
            images: the bytes of image files.
            deadline: the loop's time by which the answer has to be there.
            look: what to do with each image (size, size, channels) uint8, in a worker; None: predict.

        Returns: for each image what `look` gave, or its probabilities (classes,) float32; or its ImageRefused.

        Raises:
            Refusal: 503 where the queue has no room for them or the deadline cannot be met, 504 where it was not met.
        """
        self.check_room(len(images), deadline)
        jobs = [Job(data, self._loop.create_future(), look) for data in images]
        self.waiting += len(jobs)
        for job in jobs:
            self._jobs.put(job)
        try:
            async with asyncio.timeout_at(deadline):
                return list(await asyncio.gather(*(job.answer for job in jobs)))
        except TimeoutError:
            raise _too_late() from None

    def _work(self) -> None:
        """A worker's life."""
        while (first := self._jobs.get()) is not None:
            started = time.perf_counter()
            jobs: list[Job] = []
            try:
                outcomes = self._answer_batch(self._gather(first, jobs))
            except Exception as error:  # a fault of ours, or no memory: it costs this batch only
                outcomes = [(job, error) for job in jobs]
            seconds = time.perf_counter() - started
            self._loop.call_soon_threadsafe(self._deliver, outcomes, len(jobs), seconds)

    def _gather(self, first: Job, jobs: list[Job]) -> Iterator[Job]:
        """What waits, the first included, for a short time; noted in `jobs` as it is taken."""
        until = time.perf_counter() + GATHER_SECONDS
        job: Job | None = first
        while job is not None:
            jobs.append(job)
            yield job
            if len(jobs) == BATCH_IMAGES or time.perf_counter() > until:
                return
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
        self._jobs.put(None)  # the end has been called, and is heard after this batch

    def _answer_batch(self, jobs: Iterator[Job]) -> list[tuple[Job, Any]]:
        """Each job with its outcome; one that nobody waits for any more is not computed, and has none."""
        square = self.bundle.square
        outcomes: list[tuple[Job, Any]] = []
        readable: list[tuple[Job, NDArray[np.uint8]]] = []
        for job in jobs:
            if job.answer.done():  # its deadline passed, or its client left
                continue
            try:
                image = read_image(job.data, size=square.size, fit=square.fit, channels=square.channels)
            except ImageRefused as refusal:
                outcomes.append((job, refusal))
                continue
            if job.look is None:
                readable.append((job, image))
            else:
                outcomes.append((job, job.look(image)))
        if readable:
            rows = self.bundle.predict(np.stack([image for _, image in readable]))
            outcomes += [(job, row) for (job, _), row in zip(readable, rows, strict=True)]
        return outcomes

    def _deliver(self, outcomes: list[tuple[Job, Any]], count: int, seconds: float) -> None:
        """On the event loop: give each job its outcome, and learn the pace."""
        self.waiting -= count
        if outcomes:
            pace = seconds / len(outcomes)
            self._seconds_per_image = REMEMBERED * self._seconds_per_image + (1 - REMEMBERED) * pace
            self.telemetry.count_batch(outcome for _, outcome in outcomes)
        for job, outcome in outcomes:
            if job.answer.done():
                continue
            if isinstance(outcome, Exception) and not isinstance(outcome, ImageRefused):
                job.answer.set_exception(outcome)
            else:
                job.answer.set_result(outcome)


def _overloaded(found: str, expected: str, seconds: float) -> Refusal:
    return Refusal(
        503,
        found=f"too much to do: {found}",
        expected=expected,
        fix="ask again after the time in Retry-After",
        retry_seconds=max(seconds, 1.0),
    )


def _too_late() -> Refusal:
    return Refusal(
        504,
        found="an answer that was not ready at the request's deadline",
        expected="one within it",
        fix="send fewer or smaller images at once, or allow more time with --deadline or X-Deadline-Ms",
        retry_seconds=1.0,
    )
