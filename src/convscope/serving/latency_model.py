"""How long a worker needs for an image: a time per pixel to decode, plus a time for inference."""

from __future__ import annotations

DECAY = 0.95  # weight of the earlier measurements when a batch is added
FILE_PIXELS = 20_000  # opening and resizing a file takes as long as decoding this many pixels


class LatencyModel:
    """Exponential moving averages of what the last batches took."""

    def __init__(self) -> None:
        self._inference_seconds = 0.0
        self._decoded_pixels = 1e6
        self._decoding_seconds = 0.015  # a PNG of 1e6 pixels, until something has been decoded

    def estimate_seconds(self, pixels: int) -> float:
        """The time that a worker should need for one image with this many pixels to decode (`decoding_work`)."""
        return self._inference_seconds + (pixels + FILE_PIXELS) * self._decoding_seconds / self._decoded_pixels

    def update_decoding(self, pixels: int, count: int, seconds: float) -> None:
        """Add a measurement: decoding `count` images, `pixels` in all, took `seconds`."""
        self._decoded_pixels = DECAY * self._decoded_pixels + pixels + count * FILE_PIXELS
        self._decoding_seconds = DECAY * self._decoding_seconds + seconds

    def update_inference(self, count: int, seconds: float) -> None:
        """Add a measurement: inference on `count` images took `seconds`."""
        self._inference_seconds = DECAY * (self._inference_seconds or seconds) + (1 - DECAY) * seconds / count
