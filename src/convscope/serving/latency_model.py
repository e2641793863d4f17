"""How long an image takes a worker: so much for each pixel to decode, and so much for the model."""

from __future__ import annotations

REMEMBERED = 0.95  # how much of what was known stays, with each batch
FILE_WORK = 20_000  # opening and resizing a file takes as long as decoding so many pixels


class Pace:
    """What the last batches took."""

    def __init__(self) -> None:
        self._asking_seconds = 0.0
        self._decoded = 1e6
        self._decoding_seconds = 0.015  # a PNG of 1e6 pixels, until something has been decoded

    def seconds(self, work: int) -> float:
        """How long an image should take of which so much is to be decoded, as `decoding_work` counts it."""
        return self._asking_seconds + (work + FILE_WORK) * self._decoding_seconds / self._decoded

    def learn_decoding(self, work: int, count: int, seconds: float) -> None:
        """So long it took to decode `count` images."""
        self._decoded = REMEMBERED * self._decoded + work + count * FILE_WORK
        self._decoding_seconds = REMEMBERED * self._decoding_seconds + seconds

    def learn_asking(self, count: int, seconds: float) -> None:
        """So long it took to ask the model about `count` images."""
        self._asking_seconds = REMEMBERED * (self._asking_seconds or seconds) + (1 - REMEMBERED) * seconds / count
