"""The settings of a service. Importing them needs no extra."""

from __future__ import annotations

from dataclasses import dataclass

from convscope.errors import RecipeError

DEADLINE_SECONDS = 10.0
MAX_DEADLINE_SECONDS = 3600
MAX_QUEUE = 10_000  # a request iterates over the queue, which takes 1 ms at this length


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """The settings of a service.

    Attributes:
        queue: images that may be queued or processed at any time.
        deadline: seconds for a response, from the moment when the body has arrived.
        api_key: what clients have to send; None: nothing.
        cors_origin: the origin whose pages may send requests from a browser; None: only the service's page.

    Raises:
        RecipeError: `queue` or `deadline` is out of range.
    """

    queue: int = 256
    deadline: float = DEADLINE_SECONDS
    api_key: str | None = None
    cors_origin: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.queue <= MAX_QUEUE or not 0 < self.deadline <= MAX_DEADLINE_SECONDS:
            raise RecipeError(
                found=f"a queue of {self.queue} and a deadline of {self.deadline:g} s",
                expected=f"1 to {MAX_QUEUE:,} images, and over 0 to {MAX_DEADLINE_SECONDS:,} s",
                fix="choose another `queue` or `deadline`",
            )
