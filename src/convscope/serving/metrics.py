"""Metrics of the service in Prometheus format: requests, images, batches, the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from convscope.errors import ImageRefused

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
IMAGES_BUCKETS = (1, 2, 4, 8, 16, 32)


class ServiceMetrics:
    """The metrics of one service, in a registry per service: two services in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "convscope_requests", "Requests by path and status", ("path", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "convscope_request_seconds",
            "Duration of a request in seconds",
            ("path",),
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.images = Counter("convscope_images", "Images by outcome", ("outcome",), registry=self.registry)
        self.batches = Histogram(
            "convscope_batch_images", "Images in one batch", buckets=IMAGES_BUCKETS, registry=self.registry
        )
        self.waiting = Gauge("convscope_waiting_images", "Images in the queue", registry=self.registry)
        self.held = Gauge("convscope_body_bytes", "Bytes of request bodies in memory", registry=self.registry)

    def set_gauges(self, *, waiting_images: Callable[[], float], body_bytes: Callable[[], float]) -> None:
        """Set the functions that return the values of the two gauges when /metrics is read."""
        self.waiting.set_function(waiting_images)
        self.held.set_function(body_bytes)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Count one finished request; `path` is the route's pattern, so that clients cannot add label values."""
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def count_batch(self, outcomes: Iterable[Any]) -> None:
        """Count one batch: for each of its images the result, or its ImageRefused."""
        refused = [isinstance(outcome, ImageRefused) for outcome in outcomes]
        self.batches.observe(len(refused))
        self.images.labels("unreadable").inc(sum(refused))
        self.images.labels("ok").inc(len(refused) - sum(refused))

    def to_text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
