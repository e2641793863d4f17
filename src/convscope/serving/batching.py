"""A bounded queue of images, and worker threads, one more than cores, that decode them and run the model.

A worker takes queued images for up to 5 ms, at most 32, and predicts them in one batch. It never waits for a batch to
fill: while all workers are busy the next batch gathers in the queue. A worker does both decoding and inference, so the
cores are always shared between the two; Pillow and ONNX Runtime release Python's GIL while they compute. The extra
worker uses a core that another leaves idle, for example while it waits for the GIL.
Very large images have a pool of one worker: only one of them is in memory at a time, and other images do not wait.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.bundle.bundle import Bundle
from convscope.environment import available_cores
from convscope.errors import BundleError, ImageRefused
from convscope.images.image_reader import decoding_work, read_image
from convscope.serving.http_errors import HTTPError
from convscope.serving.latency_model import LatencyModel
from convscope.serving.worker_pool import ImageFunction, Job, WorkerPool

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.serving.metrics import ServiceMetrics

BATCH_IMAGES = 32
GATHER_SECONDS = 0.005
EXTRA_WORKERS = (
    1  # with a worker per core two cores idle 19 % of the time under full load, with this 10 %; +7 % images/s
)
LARGE_PIXELS = 8_000_000  # more is large: a PNG of 8 megapixels, which takes 0.1 to 0.4 s, or a JPEG of 32
HEADER_BYTES = 8192  # are parsed on the event loop, since a thread takes longer; the rest, if need be, in a thread


@dataclass(slots=True)
class Batch:
    """What a worker processes at a time: the jobs, those whose images could be decoded, and the outcomes."""

    jobs: list[Job] = field(default_factory=list)
    decoded: list[Job] = field(default_factory=list)
    outcomes: list[tuple[Job, Any]] = field(default_factory=list)
    decoding_seconds: float = 0.0
    inference_seconds: float = 0.0


class Batcher:
    """Processes images in batches. All methods but those of the workers run on the event loop.

    Args:
        bundle: the model, opened with one thread per call.
        max_waiting: images that may be queued or processed.
        metrics: where batches are counted.

    Raises:
        BundleError: the output of the model is not finite.
    """

    def __init__(self, bundle: Bundle, *, max_waiting: int, metrics: ServiceMetrics) -> None:
        self.bundle = bundle
        self.max_waiting = max_waiting
        self.metrics = metrics
        self._latency = LatencyModel()
        self._normal, self._large = WorkerPool(available_cores() + EXTRA_WORKERS), WorkerPool(1)
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop
        started = time.perf_counter()
        bundle.predict(np.zeros((1, *bundle.square.shape), np.uint8))
        self._latency.update_inference(1, time.perf_counter() - started)

    @property
    def waiting(self) -> int:
        """The number of images that are queued or processed."""
        return len(self._normal.jobs) + len(self._large.jobs)

    def start(self) -> None:
        """Start the workers; outcomes are delivered on the running event loop."""
        self._loop = asyncio.get_running_loop()
        pools = [pool for pool in (self._normal, self._large) for _ in range(pool.num_workers)]
        self._threads = [threading.Thread(target=self._work, args=(pool,), daemon=True) for pool in pools]
        for thread in self._threads:
            thread.start()

    async def stop(self) -> None:
        """Process what is queued, and stop the workers."""
        for pool in (self._normal, self._large):
            for _ in range(pool.num_workers):
                pool.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def check_capacity(self, pixels: Sequence[int], deadline: float) -> None:
        """Check that more images fit into the queue and can be processed in time.

        Args:
            pixels: to decode, of each image, as `decoding_work` counts them.
            deadline: of the request, in the event loop's time.

        Raises:
            HTTPError: 503, with the time after which the client may retry.
        """
        now = self._loop.time()
        remaining = deadline - now
        for pool in (self._normal, self._large):
            seconds = [self._latency.estimate_seconds(count) for count in pixels if self._pool(count) is pool]
            expected = pool.expected_seconds(sum(seconds), now)
            if self.waiting + len(pixels) > self.max_waiting:
                raise _overloaded(f"{self.waiting} images in the queue", f"room for {len(pixels)} more", expected)
            # a single image is accepted by an idle pool: otherwise one slow batch could reject all that follow
            if expected > remaining and seconds and (pool.jobs or len(seconds) > 1):
                raise _overloaded(
                    f"an expected latency of {expected:.1f} s", f"at most {remaining:.1f} s", expected - remaining
                )

    async def process(
        self, images: Sequence[bytes], *, deadline: float, function: ImageFunction | None = None
    ) -> list[Any]:
        """Process the images of one request.

        Args:
            images: the bytes of image files.
            deadline: of the request, in the event loop's time.
            function: what to compute in a worker from each image (size, size, channels) uint8; None: predict.

        Returns: for each image the result of `function`, or its probabilities (classes,) float32; or its ImageRefused.

        Raises:
            HTTPError: 503 if the queue has no room for them or the deadline cannot be met, 504 if it was not met.
            BundleError: the output of the model is not finite.
        """
        pixels = [decoding_work(images[0][:HEADER_BYTES])] if len(images) == 1 else [0]
        if not all(pixels):  # in a thread: some headers take 0.1 s to parse
            pixels = await asyncio.to_thread(lambda: [decoding_work(data) for data in images])
        self.check_capacity(pixels, deadline)
        futures = self._put(images, pixels, function)
        try:
            async with asyncio.timeout_at(deadline):
                return list(await asyncio.gather(*futures))
        except TimeoutError:
            raise _deadline_passed() from None

    def _pool(self, pixels: int) -> WorkerPool:
        return self._large if pixels > LARGE_PIXELS else self._normal

    def _put(
        self, images: Sequence[bytes], pixels: Sequence[int], function: ImageFunction | None
    ) -> list[asyncio.Future[Any]]:
        """Queue the images of one request, each to be finished after those before it."""
        finish = dict.fromkeys((self._normal, self._large), self._loop.time())
        futures = []
        for data, count in zip(images, pixels, strict=True):
            pool, seconds = self._pool(count), self._latency.estimate_seconds(count)
            finish[pool] += seconds
            futures.append(self._loop.create_future())
            job = Job(
                data=data, future=futures[-1], function=function, pixels=count, seconds=seconds, finish=finish[pool]
            )
            pool.jobs.add(job)
            pool.put(job)
        return futures

    def _work(self, pool: WorkerPool) -> None:
        """The loop of a worker thread."""
        while (first := pool.queue.get()[2]) is not None:
            batch = Batch()
            try:
                self._process_batch(batch, self._gather(pool, first, batch.jobs))
            except Exception as error:  # a bug, or no memory: only this batch fails
                batch.outcomes = [(job, error) for job in batch.jobs]
            self._loop.call_soon_threadsafe(self._deliver, pool, batch)

    def _gather(self, pool: WorkerPool, first: Job, jobs: list[Job]) -> Iterator[Job]:
        """`first` and what else is queued, for a short time; each job is added to `jobs` when it is taken."""
        end = time.perf_counter() + GATHER_SECONDS
        job: Job | None = first
        while job is not None:
            jobs.append(job)
            yield job
            if len(jobs) == BATCH_IMAGES or time.perf_counter() > end:
                return
            try:
                job = pool.queue.get_nowait()[2]
            except queue.Empty:
                return
        pool.put(None)  # the stop signal is for after this batch

    def _process_batch(self, batch: Batch, jobs: Iterator[Job]) -> None:
        """Compute the outcome of each job; a cancelled one is skipped and has none."""
        square = self.bundle.square
        images: list[NDArray[np.uint8]] = []
        for job in jobs:
            if job.future.done():  # its deadline passed, or its client disconnected
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
        predicted = [index for index, job in enumerate(batch.decoded) if job.function is None]
        if predicted:
            rows = self.bundle.predict(np.stack([images[index] for index in predicted]))
            batch.outcomes += zip([batch.decoded[index] for index in predicted], rows, strict=True)
        for job, image in zip(batch.decoded, images, strict=True):
            if job.function is None:
                continue
            try:
                batch.outcomes.append((job, job.function(image)))
            except BundleError as error:
                batch.outcomes.append((job, error))
        batch.inference_seconds = time.perf_counter() - started

    def _deliver(self, pool: WorkerPool, batch: Batch) -> None:
        """On the event loop: set the outcome of each job, and update the latency model and the metrics."""
        pool.jobs.difference_update(batch.jobs)
        if batch.decoded:
            self._latency.update_decoding(
                sum(job.pixels for job in batch.decoded), len(batch.decoded), batch.decoding_seconds
            )
            self._latency.update_inference(len(batch.decoded), batch.inference_seconds)
        if batch.outcomes:
            self.metrics.count_batch(outcome for _, outcome in batch.outcomes)
        for job, outcome in batch.outcomes:
            if job.future.done():
                continue
            if isinstance(outcome, Exception) and not isinstance(outcome, ImageRefused):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)


def _overloaded(found: str, expected: str, seconds: float) -> HTTPError:
    return HTTPError(
        503,
        found=f"an overloaded service: {found}",
        expected=expected,
        fix="retry after the time in Retry-After, with fewer or smaller images at once",
        retry_seconds=max(seconds, 1.0),
    )


def _deadline_passed() -> HTTPError:
    return HTTPError(
        504,
        found="a request that was not processed by its deadline",
        expected="a response within the deadline",
        fix="send fewer or smaller images at once, or allow more time with X-Deadline-Ms or `deadline`",
        retry_seconds=1.0,
    )
