"""What the service counts about itself, for Prometheus: requests, images, batches, the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from convscope.errors import ImageRefused

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32)


class Telemetry:
    """The counters of one service; a registry of its own, so that two services in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "convscope_requests", "Requests by address and status", ("path", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "convscope_request_seconds",
            "Time from head to answer, in seconds",
            ("path",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.images = Counter("convscope_images", "Images by outcome", ("outcome",), registry=self.registry)
        self.batches = Histogram(
            "convscope_batch_images", "Images that were answered together", buckets=SIZES, registry=self.registry
        )
        self.waiting = Gauge("convscope_waiting_images", "Images in the queue", registry=self.registry)
        self.held = Gauge("convscope_body_bytes", "Bytes of request bodies in memory", registry=self.registry)

    def watch(self, waiting: Callable[[], float], held: Callable[[], float]) -> None:
        """Ask these for what waits and what is held whenever somebody wants to know."""
        self.waiting.set_function(waiting)
        self.held.set_function(held)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """One request that got its answer; `path` as the routes have it, so that clients cannot make up new ones."""
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def count_batch(self, outcomes: Iterable[Any]) -> None:
        """One batch: what came of each of its images."""
        refused = [isinstance(outcome, ImageRefused) for outcome in outcomes]
        self.batches.observe(len(refused))
        self.images.labels("unreadable").inc(sum(refused))
        self.images.labels("ok").inc(len(refused) - sum(refused))

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
