"""One model being served: what all routes share, from the choices of the command line to the queue."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.bundle.bundle import Bundle, open_bundle
from convscope.bundle.introspection import INSIDE, WEIGHTS, Inside, inside_of
from convscope.bundle.neighbours import Neighbours, has_neighbours, neighbours_of
from convscope.drawing import data_uri, filter_grid, png_bytes
from convscope.errors import BundleError, RecipeError
from convscope.serving.batching import Batcher
from convscope.serving.http_errors import Refusal
from convscope.serving.metrics import Telemetry
from convscope.serving.uploads import MAX_BYTES, Room

MOST_IMAGES = 64  # in one request
DEADLINE_SECONDS = 10.0
LONGEST_SECONDS = 3600
LONGEST_QUEUE = 10_000  # looking through it takes a request a millisecond
DESCRIBED = ("task", "network", "date", "license", "metrics", "data")  # the facts that GET /info repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """The choices of a service.

    Attributes:
        queue: images that may wait or be answered at any time.
        deadline: seconds for an answer, from the moment when the body has arrived.
        api_key: what clients have to send; None: nothing.
        cors_origin: the origin whose pages may use the service from a browser; None: no other than its own.

    Raises:
        RecipeError: nothing could be answered so.
    """

    queue: int = 256
    deadline: float = DEADLINE_SECONDS
    api_key: str | None = None
    cors_origin: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.queue <= LONGEST_QUEUE or not 0 < self.deadline <= LONGEST_SECONDS:
            raise RecipeError(
                found=f"a queue of {self.queue} and a deadline of {self.deadline:g} s",
                expected=f"room for 1 to {LONGEST_QUEUE:,} images, and over 0 to {LONGEST_SECONDS:,} s",
                fix="choose another --queue or --deadline",
            )


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """A model under its name, its inside and its training images if it has them, and what requests go through."""

    name: str
    bundle: Bundle
    inside: Inside | None
    neighbours: Neighbours | None
    settings: ServiceSettings
    batcher: Batcher
    room: Room
    telemetry: Telemetry

    @property
    def version(self) -> str:
        """The version of convscope that wrote the model."""
        return str(self.bundle.facts.get("version", "1"))

    @property
    def most_images(self) -> int:
        """How many images one request may hold."""
        return min(MOST_IMAGES, self.settings.queue)

    def deadline(self, milliseconds: int | None) -> float:
        """The loop's time by which a request has to be answered that came just now and allows so long."""
        asked = self.settings.deadline if milliseconds is None else milliseconds / 1000
        return asyncio.get_running_loop().time() + min(asked, self.settings.deadline)

    def seen_inside(self) -> Inside:
        """The inside of the model.

        Raises:
            Refusal: 404, it has none.
        """
        if self.inside is None:
            raise _no_file(INSIDE)
        return self.inside

    def describe(self) -> dict[str, Any]:
        """What GET /info answers."""
        square = self.bundle.square
        return {
            "name": self.name,
            "version": self.version,
            **{key: self.bundle.facts.get(key) for key in DESCRIBED},
            "classes": list(self.bundle.classes),
            "image_size": square.size,
            "channels": square.channels,
            "fit": square.fit,
            "inside": self.inside is not None,
            "neighbours": self.neighbours is not None,
            "limits": {"max_bytes": MAX_BYTES, "max_images": self.most_images},
        }


def open_service(model: Path, settings: ServiceSettings) -> Service:
    """Open a model to be served.

    Raises:
        BundleError: it, or what lies beside it, cannot be used.
    """
    bundle = open_bundle(model, threads=1)  # one for each worker of the queue, which has one for each core
    inside = inside_of(bundle) if bundle.path.with_name(INSIDE).is_file() else None
    neighbours = neighbours_of(bundle) if inside is not None and has_neighbours(bundle) else None
    telemetry, room = Telemetry(), Room()
    batcher = Batcher(bundle, most_waiting=settings.queue, telemetry=telemetry)
    telemetry.watch(lambda: batcher.waiting, lambda: room.held)
    return Service(name_of(bundle), bundle, inside, neighbours, settings, batcher, room, telemetry)


def name_of(bundle: Bundle) -> str:
    """A model's name: that of its run, or of its file where it lies elsewhere."""
    path = bundle.path.resolve()
    in_a_run = (path.name, path.parent.name) == ("model.onnx", "model")
    return str(bundle.facts.get("name") or (path.parents[1].name if in_a_run else path.stem))


def picture_filters(inside: Inside) -> dict[str, Any]:
    """What GET /filters answers.

    Raises:
        Refusal: 404, the file of the weights cannot be used.
    """
    try:
        name, weights = inside.first_filters()
    except BundleError:
        raise _no_file(WEIGHTS) from None
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


def _no_file(name: str) -> Refusal:
    return Refusal(
        404,
        found=f"a model without {name}, which what it sees is shown with",
        expected=f"{name} beside the model, as in the folder of a run",
        fix="serve the run folder, whole, of a training with this version",
    )
