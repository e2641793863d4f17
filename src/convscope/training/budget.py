"""How many steps fit into a budget: measured on this machine, with this network and these images.

A few real steps at each image size, with batches made in the background, and one real evaluation are timed; then the
learner's state is restored.
"""

from __future__ import annotations

import logging
import statistics
import time
from contextlib import closing

from convscope.errors import RecipeError
from convscope.formatting import format_duration, plural
from convscope.training.learner import Learner

logger = logging.getLogger(__name__)

TIMED_STEPS = 6
PLANNED_SHARE = 0.97  # of the budget: machines slow down as they get warm
TIMED_IMAGES = 1024  # that an evaluation is timed on


def count_affordable_steps(learner: Learner, seconds: float) -> int:
    """The number of steps that end in `seconds`, evaluations and compiling included, the timing not.

    It may be 0 where the network has a fitted head already, which then is the model.

    Raises:
        RecipeError: not even one epoch's evaluation fits.
    """
    if learner.has_fitted_head and seconds <= 0:
        return _keep_fitted_head()
    step_seconds, evaluation_seconds = time_learner(learner)
    plan = learner.plan
    # the evaluation of an epoch is at the image size of its last step
    total_seconds = {
        size: step_seconds[size] + evaluation_seconds * (size / plan.sizes[-1]) ** 2 / plan.steps_per_epoch
        for size in step_seconds
    }
    mean_seconds = sum(share * total_seconds[size] for size, share in zip(plan.sizes, plan.shares, strict=True))
    num_steps = int((PLANNED_SHARE * seconds - evaluation_seconds) / mean_seconds)
    if num_steps < len(plan.sizes):
        if learner.has_fitted_head:
            return _keep_fitted_head()
        needed = (mean_seconds * len(plan.sizes) + evaluation_seconds) / PLANNED_SHARE + 1
        raise RecipeError(
            found=f"a budget of {format_duration(seconds)}, in which {max(num_steps, 0)} steps fit",
            expected=f"at least {format_duration(needed)}",
            fix="give more time with `budget`, or choose a smaller `image_size`",
        )
    times = ", ".join(f"{step_seconds[size] * 1000:.0f} ms at {size} px" for size in plan.sizes)
    logger.info(
        f"fits {plural(num_steps, 'step')} ({num_steps / plan.steps_per_epoch:.1f} epochs) into"
        f" {format_duration(seconds)}: a step takes {times}, an evaluation {format_duration(evaluation_seconds)}"
    )
    return num_steps


def _keep_fitted_head() -> int:
    logger.info("no time left for fine-tuning: the network with the fitted head is the model")
    return 0


def time_learner(learner: Learner) -> tuple[dict[int, float], float]:
    """(seconds of a step by image size, seconds of an evaluation); compiles both on the way, and changes no state."""
    before = learner.snapshot()
    step_seconds = {
        size: statistics.median(time_steps(learner, size=size, count=TIMED_STEPS)) for size in learner.plan.sizes
    }
    learner.evaluate(max_images=2)  # compiles: both halves of a batch have an image
    started = time.perf_counter()
    learner.evaluate(max_images=TIMED_IMAGES)
    evaluation_seconds = time.perf_counter() - started
    learner.restore(before)
    return step_seconds, evaluation_seconds * max(1.0, len(learner.dataset.rows("validation")) / TIMED_IMAGES)


def time_steps(learner: Learner, *, size: int, count: int) -> list[float]:
    """The seconds of each of `count` steps with a learning rate of 0, after two that are not timed.

    Args:
        learner: its optimiser's state changes.
        size: the image size in pixels.
        count: how many steps to time.
    """
    seconds = []
    with closing(learner.trial_steps([0.0] * (count + 2), size=size)) as steps:
        next(steps)  # compiles
        next(steps)
        for _ in range(count):
            started = time.perf_counter()
            next(steps)
            seconds.append(time.perf_counter() - started)
    return seconds
