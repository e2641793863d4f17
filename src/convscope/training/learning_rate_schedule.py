"""Learning-rate schedules: pure functions of the position in the training.

`one-cycle` is a linear warm-up to the peak, then a linear decay to 0 (Smith and Topin, 2017, arXiv 1708.07120).
"""

from __future__ import annotations

from convscope.recipe.validation import Schedule

WARMUP = 0.15  # share of the steps in which one-cycle's learning rate rises


def learning_rate(schedule: Schedule, peak: float, *, position: float) -> float:
    """The learning rate at a position in the training.

    Args:
        schedule: its shape.
        peak: the highest learning rate.
        position: the middle of the step, as a share of all steps; over 1 after the last one.
    """
    if schedule == "constant":
        return peak
    if position < WARMUP:
        return peak * position / WARMUP
    return peak * max(1 - position, 0.0) / (1 - WARMUP)
