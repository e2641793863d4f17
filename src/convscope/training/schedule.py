"""How the learning rate and the image size go over a training: pure functions of the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Shape = Literal["constant", "one-cycle"]
LAST_SHARE = 0.0  # of the peak, which one-cycle ends at


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The plan of a training of `num_steps` steps.

    Attributes:
        shape: `constant`, or `one-cycle`: straight up to the peak, straight down to nothing (Smith and Topin, 2017,
            arXiv 1708.07120).
        peak: the highest learning rate.
        warmup: share of the steps that go up.
        sizes: image sizes in pixels, in the order of their use; the last is the one that the network is for.
        shares: of the steps that each size has; they add up to 1.
    """

    num_steps: int
    shape: Shape
    peak: float
    warmup: float
    sizes: Sequence[int]
    shares: Sequence[float]

    def learning_rate(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        if self.shape == "constant":
            return self.peak
        position = (step + 0.5) / self.num_steps
        if position < self.warmup:
            return self.peak * position / self.warmup
        return self.peak * max(1 - position, 0.0) / (1 - self.warmup)

    def work(self, step: int) -> float:
        """The pixels of an image, summed over the steps before step `step`: a measure of the time that they take."""
        done, top, total = 0, 0.0, 0.0
        for size, share in zip(self.sizes, self.shares, strict=True):
            top += share * self.num_steps
            ends = min(step, round(top))
            total += size**2 * max(ends - done, 0)
            done = max(done, ends)
        return total + self.sizes[-1] ** 2 * (step - done)

    def size(self, step: int) -> int:
        """The image size of step `step`, counted from 0."""
        top = 0.0
        for size, share in zip(self.sizes, self.shares, strict=True):
            top += share * self.num_steps
            if step < round(top):
                return size
        return self.sizes[-1]
