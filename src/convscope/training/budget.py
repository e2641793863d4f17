"""How many steps fit into a given time: measured on this machine, with this network and these images.

A few real steps at each image size and one real evaluation are timed; the learner is put back as it was before them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

from convscope.errors import RecipeError
from convscope.terminal import clock, plural, remarks
from convscope.training.learner import Learner

PROBED_STEPS = 6
MARGIN = 0.97  # of the budget is planned: machines slow down as they get warm


def fit_into(learner: Learner, seconds: float) -> int:
    """The number of steps that end in `seconds`, evaluations and compiling included, the probing not.

    Raises:
        RecipeError: not even one epoch's evaluation fits.
    """
    step_seconds, judge_seconds = probe(learner)
    schedule = learner.schedule
    mean = sum(share * step_seconds[size] for size, share in zip(schedule.sizes, schedule.shares, strict=True))
    per_step = mean + judge_seconds / learner.steps_per_epoch
    num_steps = int((MARGIN * seconds - judge_seconds) / per_step)
    if num_steps < len(schedule.sizes):
        raise RecipeError(
            found=f"a budget of {clock(seconds)}, in which {max(num_steps, 0)} steps fit",
            expected=f"at least {clock((per_step * len(schedule.sizes) + judge_seconds) / MARGIN + 1)}",
            fix="give more time with --budget, or take a smaller --image-size",
        )
    epochs = num_steps / learner.steps_per_epoch
    sizes = ", ".join(f"{step_seconds[size] * 1000:.0f} ms at {size} px" for size in schedule.sizes)
    remarks().print(
        f"{clock(seconds)} hold {plural(num_steps, 'step')}, {epochs:.1f} epochs: a step takes {sizes},"
        f" judging {clock(judge_seconds)}",
        markup=False,
    )
    return num_steps


def probe(learner: Learner) -> tuple[dict[int, float], float]:
    """(seconds of a step by image size, seconds of an evaluation); compiles everything on the way."""
    before = learner.snapshot()
    steps = {size: _median_seconds(partial(learner.rehearse, size)) for size in learner.schedule.sizes}
    learner.evaluate()
    judge = _median_seconds(learner.evaluate, times=1)
    learner.go_back_to(before)
    return steps, judge


def _median_seconds(work: Callable[[], object], *, times: int = PROBED_STEPS) -> float:
    if times > 1:
        work()  # compiles
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
