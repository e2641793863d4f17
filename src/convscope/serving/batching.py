"""A bounded queue of images, and worker threads, one more than cores, that decode them and ask the model.

A worker takes what waits, for up to 5 ms or 32 images, and answers it in one batch. It never waits for a batch to fill:
while all workers are busy the next batch gathers by itself. Decoding and inference share a worker, so the cores are
shared without anybody's dealing them out; Pillow and ONNX Runtime release Python's lock while they compute. The one
more uses a core that another leaves idle, as it does where it waits for that lock.

Images are answered in the order in which they would be if each request had a worker for itself: who sends many, or
large ones, does not keep the others waiting. The very large have a lane and a worker of their own: one of them is in
memory at a time, and the others pass beside it.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from convscope.bundle.bundle import Bundle
from convscope.environment import available_cores
from convscope.errors import BundleError, ImageRefused
from convscope.images.reading import decoding_work, read_image
from convscope.serving.http_errors import Refusal
from convscope.serving.latency_model import Pace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.serving.metrics import Telemetry

BATCH_IMAGES = 32
GATHER_SECONDS = 0.005
SPARE_WORKERS = 1  # with one a core, two cores idle 19 % of the time under full load, with this 10 %; images/s: +7 %
LARGE_WORK = 8_000_000  # more than this is large: a PNG of 8 megapixels, which takes 0.1 to 0.4 s, or a JPEG of 32
HEAD_BYTES = 8192  # read at once, since asking a thread takes longer; where the size stands behind them, in a thread

Look: TypeAlias = "Callable[[NDArray[np.uint8]], Any]"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Job:
    """One image to answer: its bytes, whom the answer is for, and what to do instead of predicting, if anything.

    Attributes:
        work: what there is to decode, as `decoding_work` counts it.
        seconds: that it should take a worker.
        due: the loop's time at which its request would have it, had it a worker for itself.
    """

    data: bytes
    answer: asyncio.Future[Any]
    look: Look | None
    work: int
    seconds: float
    due: float


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """Images that wait for the same workers, in the order in which they are due; and those being answered."""

    workers: int
    jobs: set[Job] = field(default_factory=set)
    queue: queue.PriorityQueue[tuple[float, int, Job | None]] = field(default_factory=queue.PriorityQueue)
    numbers: Iterator[int] = field(default_factory=itertools.count)  # what is due at the same time keeps its order

    def put(self, job: Job | None) -> None:
        """Queue a job; None, which comes after all of them, ends a worker."""
        self.queue.put((math.inf if job is None else job.due, next(self.numbers), job))

    def expected_seconds(self, own: float, now: float) -> float:
        """How long a request would take whose images take a worker of this lane so many seconds."""
        before = sum(job.seconds for job in self.jobs if job.due <= now + own and not job.answer.done())
        return (before + own) / self.workers


@dataclass(slots=True)
class Batch:
    """What a worker does at a time: what it took, what it could decode, what came of it."""

    jobs: list[Job] = field(default_factory=list)
    decoded: list[Job] = field(default_factory=list)
    outcomes: list[tuple[Job, Any]] = field(default_factory=list)
    decoding_seconds: float = 0.0
    asking_seconds: float = 0.0


class Batcher:
    """Answers images for whoever awaits them. All but the workers' own loop runs on the event loop.

    Args:
        bundle: the model, opened with one thread for each answer.
        most_waiting: images that may be waiting or being answered.
        telemetry: where batches are counted.

    Raises:
        BundleError: the model answers with what is no number.
    """

    def __init__(self, bundle: Bundle, *, most_waiting: int, telemetry: Telemetry) -> None:
        self.bundle = bundle
        self.most_waiting = most_waiting
        self.telemetry = telemetry
        self._pace = Pace()
        self._usual, self._large = Lane(available_cores() + SPARE_WORKERS), Lane(1)
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop
        started = time.perf_counter()
        bundle.predict(np.zeros((1, *bundle.square.shape), np.uint8))
        self._pace.learn_asking(1, time.perf_counter() - started)

    @property
    def waiting(self) -> int:
        """Images that wait or are being answered."""
        return len(self._usual.jobs) + len(self._large.jobs)

    def start(self) -> None:
        """Start the workers; answers arrive on the running event loop."""
        self._loop = asyncio.get_running_loop()
        lanes = [lane for lane in (self._usual, self._large) for _ in range(lane.workers)]
        self._threads = [threading.Thread(target=self._work, args=(lane,), daemon=True) for lane in lanes]
        for thread in self._threads:
            thread.start()

    async def stop(self) -> None:
        """Answer what is queued, and end the workers."""
        for lane in (self._usual, self._large):
            for _ in range(lane.workers):
                lane.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def check_room(self, works: Sequence[int], deadline: float) -> None:
        """Do nothing where more images fit into the queue and can be answered in time.

        Args:
            works: what there is to decode in each, as `decoding_work` counts it.
            deadline: the loop's time at which their answer is worth nothing any more.

        Raises:
            Refusal: 503, with the time after which there should be room.
        """
        now = self._loop.time()
        left = deadline - now
        for lane in (self._usual, self._large):
            own = [self._pace.seconds(work) for work in works if self._lane(work) is lane]
            expected = lane.expected_seconds(sum(own), now)
            if self.waiting + len(works) > self.most_waiting:
                raise _overloaded(f"{self.waiting} images waiting", f"room for {len(works)}", expected)
            # a single image is tried where nothing waits: else one slow batch could lock the door
            if expected > left and own and (lane.jobs or len(own) > 1):
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
            Refusal: 503 where the queue has no room for them or the deadline cannot be met, 504 where it was not met,
                500 where the model answers with what is no probability.
        """
        works = [decoding_work(images[0][:HEAD_BYTES])] if len(images) == 1 else [0]
        if not all(works):  # in a thread: there are heads that take a tenth of a second to read
            works = await asyncio.to_thread(lambda: [decoding_work(data) for data in images])
        self.check_room(works, deadline)
        answers = self._queue(images, works, look)
        try:
            async with asyncio.timeout_at(deadline):
                return list(await asyncio.gather(*answers))
        except TimeoutError:
            raise _too_late() from None

    def _lane(self, work: int) -> Lane:
        return self._large if work > LARGE_WORK else self._usual

    def _queue(self, images: Sequence[bytes], works: Sequence[int], look: Look | None) -> list[asyncio.Future[Any]]:
        """Queue the images of one request, each due when those before it would be done."""
        due = dict.fromkeys((self._usual, self._large), self._loop.time())
        answers = []
        for data, work in zip(images, works, strict=True):
            lane, seconds = self._lane(work), self._pace.seconds(work)
            due[lane] += seconds
            answers.append(self._loop.create_future())
            job = Job(data=data, answer=answers[-1], look=look, work=work, seconds=seconds, due=due[lane])
            lane.jobs.add(job)
            lane.put(job)
        return answers

    def _work(self, lane: Lane) -> None:
        """A worker's life."""
        while (first := lane.queue.get()[2]) is not None:
            batch = Batch()
            try:
                self._answer_batch(batch, self._gather(lane, first, batch.jobs))
            except Exception as error:  # a fault of ours, or no memory: it costs this batch only
                batch.outcomes = [(job, error) for job in batch.jobs]
            self._loop.call_soon_threadsafe(self._deliver, lane, batch)

    def _gather(self, lane: Lane, first: Job, jobs: list[Job]) -> Iterator[Job]:
        """What waits, the first included, for a short time; noted in `jobs` as it is taken."""
        until = time.perf_counter() + GATHER_SECONDS
        job: Job | None = first
        while job is not None:
            jobs.append(job)
            yield job
            if len(jobs) == BATCH_IMAGES or time.perf_counter() > until:
                return
            try:
                job = lane.queue.get_nowait()[2]
            except queue.Empty:
                return
        lane.put(None)  # the end has been called, and is heard after this batch

    def _answer_batch(self, batch: Batch, jobs: Iterator[Job]) -> None:
        """Give each job its outcome; one that nobody waits for any more is not computed, and has none."""
        square = self.bundle.square
        images: list[NDArray[np.uint8]] = []
        for job in jobs:
            if job.answer.done():  # its deadline passed, or its client left
                continue
            started = time.perf_counter()
            try:
                images.append(read_image(job.data, size=square.size, fit=square.fit, channels=square.channels))
            except ImageRefused as refusal:
                batch.outcomes.append((job, refusal))
                continue
            batch.decoded.append(job)
            batch.decoding_seconds += time.perf_counter() - started
        started = time.perf_counter()
        asked = [place for place, job in enumerate(batch.decoded) if job.look is None]
        if asked:
            rows = self.bundle.predict(np.stack([images[place] for place in asked]))
            batch.outcomes += zip([batch.decoded[place] for place in asked], rows, strict=True)
        for job, image in zip(batch.decoded, images, strict=True):
            if job.look is None:
                continue
            try:
                batch.outcomes.append((job, job.look(image)))
            except BundleError as error:
                batch.outcomes.append((job, error))
        batch.asking_seconds = time.perf_counter() - started

    def _deliver(self, lane: Lane, batch: Batch) -> None:
        """On the event loop: give each job its outcome, and learn the pace."""
        lane.jobs.difference_update(batch.jobs)
        if batch.decoded:
            self._pace.learn_decoding(
                sum(job.work for job in batch.decoded), len(batch.decoded), batch.decoding_seconds
            )
            self._pace.learn_asking(len(batch.decoded), batch.asking_seconds)
        if batch.outcomes:
            self.telemetry.count_batch(outcome for _, outcome in batch.outcomes)
        for job, outcome in batch.outcomes:
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
        fix="ask again after the time in Retry-After, with fewer or smaller images at once",
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
