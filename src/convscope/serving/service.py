"""The state that all routes share: the model, the settings, the batcher, the request bodies, the metrics."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.bundle.bundle import INSIDE_FILE, WEIGHTS_FILE, Bundle, open_bundle
from convscope.bundle.introspection import Introspection, open_introspection
from convscope.bundle.neighbours import NeighbourIndex, has_neighbours, open_neighbours
from convscope.errors import BundleError
from convscope.image_rendering import data_uri, filter_grid, png_bytes
from convscope.serving.batching import Batcher
from convscope.serving.http_errors import HTTPError
from convscope.serving.metrics import ServiceMetrics
from convscope.serving.request_bodies import MAX_BYTES, RequestBodies
from convscope.serving.settings import ServiceSettings

MAX_IMAGES = 64  # in one request
INFO_FACTS = ("task", "network", "date", "license", "metrics", "data")  # the bundle's facts that GET /info returns


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Service:
    """A model being served.

    Attributes:
        name: the model's name.
        inside: the model with its intermediate outputs; None: it has no inside.onnx.
        neighbours: its neighbour index; None: it has none.
    """

    name: str
    bundle: Bundle
    inside: Introspection | None
    neighbours: NeighbourIndex | None
    settings: ServiceSettings
    batcher: Batcher
    bodies: RequestBodies
    metrics: ServiceMetrics

    @property
    def version(self) -> str:
        """The version of convscope that wrote the model."""
        return str(self.bundle.facts.get("version", "1"))

    @property
    def max_images(self) -> int:
        """How many images one request may contain."""
        return min(MAX_IMAGES, self.settings.queue)

    def deadline(self, milliseconds: int | None) -> float:
        """The deadline, in the event loop's time, of a request that arrives now and may take `milliseconds`."""
        seconds = self.settings.deadline if milliseconds is None else milliseconds / 1000
        return asyncio.get_running_loop().time() + min(seconds, self.settings.deadline)

    def require_inside(self) -> Introspection:
        """The model with its intermediate outputs.

        Raises:
            HTTPError: 404, it has no inside.onnx.
        """
        if self.inside is None:
            raise _missing_file(INSIDE_FILE)
        return self.inside

    def to_json(self) -> dict[str, Any]:
        """The body of GET /info."""
        square = self.bundle.square
        return {
            "name": self.name,
            "version": self.version,
            **{key: self.bundle.facts.get(key) for key in INFO_FACTS},
            "classes": list(self.bundle.classes),
            "image_size": square.size,
            "channels": square.channels,
            "fit": square.fit,
            "inside": self.inside is not None,
            "neighbours": self.neighbours is not None,
            "limits": {"max_bytes": MAX_BYTES, "max_images": self.max_images},
        }


def open_service(model: Path, settings: ServiceSettings) -> Service:
    """Open a model to serve it.

    Raises:
        BundleError: the model, or a file beside it, cannot be used.
    """
    bundle = open_bundle(model, threads=1)  # per call: the batcher has a worker per core
    inside = open_introspection(bundle) if bundle.path.with_name(INSIDE_FILE).is_file() else None
    neighbours = open_neighbours(bundle) if inside is not None and has_neighbours(bundle) else None
    metrics, bodies = ServiceMetrics(), RequestBodies()
    batcher = Batcher(bundle, max_waiting=settings.queue, metrics=metrics)
    metrics.set_gauges(waiting_images=lambda: batcher.waiting, body_bytes=lambda: bodies.held_bytes)
    return Service(
        name=model_name(bundle),
        bundle=bundle,
        inside=inside,
        neighbours=neighbours,
        settings=settings,
        batcher=batcher,
        bodies=bodies,
        metrics=metrics,
    )


def model_name(bundle: Bundle) -> str:
    """A model's name: that in its metadata, else that of its run folder, else that of its file."""
    path = bundle.path.resolve()
    is_in_run = (path.name, path.parent.name) == ("model.onnx", "model")
    return str(bundle.facts.get("name") or (path.parents[1].name if is_in_run else path.stem))


def draw_filters(inside: Introspection) -> dict[str, Any]:
    """The body of GET /filters.

    Raises:
        HTTPError: 404, the file of the weights cannot be used.
    """
    try:
        name, weights = inside.first_filters()
    except BundleError:
        raise _missing_file(WEIGHTS_FILE) from None
    grid, columns = filter_grid(weights)
    height, width, _, count = weights.shape
    return {
        "name": name,
        "count": count,
        "columns": columns,
        "height": height,
        "width": width,
        "picture": data_uri(png_bytes(grid)),
    }


def _missing_file(name: str) -> HTTPError:
    return HTTPError(
        404,
        found=f"a model without {name}, which explanations need",
        expected=f"{name} beside the model, as in a run folder",
        fix="serve the complete run folder of a training with this version",
    )
