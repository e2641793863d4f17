"""How many steps fit into a given time: measured on this machine, with this network and these images.

A few real steps at each image size, with batches made beside them, and one real evaluation are timed; the learner is
put back as it was before them.
"""

from __future__ import annotations

import logging
import statistics
import time
from contextlib import closing
from dataclasses import replace

from convscope.errors import RecipeError
from convscope.formatting import format_duration, plural
from convscope.networks.catalog import build_network, count_operations
from convscope.recipe.defaults import Kind
from convscope.recipe.recipe import Recipe
from convscope.training.learner import Learner, plan
from convscope.training.precision import choose_precision, measure_operations

logger = logging.getLogger(__name__)

PROBED_STEPS = 6
MARGIN = 0.97  # of the budget is planned: machines slow down as they get warm
FEWEST_EPOCHS = 4  # with fewer than these, smaller images teach more in the same time
SMALLEST: dict[Kind, int] = {"compact": 64, "pretrained": 96}  # pixels that a budget goes down to
STEP_DOWN = 32  # pixels between the sizes that a pretrained network may have
FEATURES_SHARE = 0.5  # of a budget may go into the features that its head is solved on
DEPTHWISE_PACE = 0.6  # of the operations a second that dense convolutions reach: what EfficientNet-Lite0's do
PROBED_IMAGES = 1024  # that judging is timed on


def shrink_into(recipe: Recipe, num_images: int) -> Recipe:
    """A recipe with a budget, at an image size that leaves time for some epochs; with what its precision will be.

    Args:
        recipe: one with a budget.
        num_images: that there are, of all splits.
    """
    precision = choose_precision(recipe.precision)
    recipe = replace(recipe, precision=precision)
    is_blank = recipe.kind == "pretrained" and recipe.weights == "none"  # then there are no features
    if not recipe.shrink or recipe.kind not in SMALLEST or recipe.budget is None or is_blank:
        return recipe
    operations = measure_operations(precision) * recipe.budget / num_images  # that there is time for, for each image
    if recipe.kind == "pretrained":
        return _shrink_features(recipe, operations)
    smaller = recipe
    while smaller.image_size >= 2 * SMALLEST["compact"] and operations < FEWEST_EPOCHS * _mean_operations(smaller):
        smaller = smaller.with_changes({"image_size": smaller.image_size // 2})
    if smaller != recipe:
        size, share = smaller.image_size, operations / _mean_operations(recipe)
        logger.info(
            f"{format_duration(recipe.budget)} hold about {share:.1f} epochs at {recipe.image_size} px:"
            f" taking {size} px (--no-shrink keeps it)"
        )
    return smaller


def _shrink_features(recipe: Recipe, operations: float) -> Recipe:
    """A pretrained network's recipe at the largest size at which its features leave time to learn from them."""
    size, least = recipe.image_size, SMALLEST["pretrained"] + STEP_DOWN
    network = build_network(recipe, 2, is_blank=True)  # some take images of this size alone
    needed = count_operations(network, size)
    there_are = FEATURES_SHARE * DEPTHWISE_PACE * operations
    while size >= least and needed * (size / recipe.image_size) ** 2 > there_are:
        size -= STEP_DOWN
    if size == recipe.image_size:
        return recipe
    logger.info(
        f"{format_duration(recipe.budget or 0)} are short for the features of so many images at {recipe.image_size} px:"
        f" taking {size} px (--no-shrink keeps it)"
    )
    return replace(recipe, image_size=size)


def _mean_operations(recipe: Recipe) -> float:
    """Floating-point operations for an image in an epoch: forward and twice back, at the sizes that it is shown at."""
    schedule, network = plan(recipe, 1), build_network(recipe, 2)
    sizes = zip(schedule.sizes, schedule.shares, strict=True)
    return sum(3 * share * count_operations(network, size) for size, share in sizes)


def fit_into(learner: Learner, seconds: float) -> int:
    """The number of steps that end in `seconds`, evaluations and compiling included, the probing not.

    It may be 0 where the network has a solved head already, which is then left as it is.

    Raises:
        RecipeError: not even one epoch's evaluation fits.
    """
    if learner.has_solved_head and seconds <= 0:
        return _tell_head_alone()
    step_seconds, judge_seconds = probe(learner)
    schedule = learner.schedule
    last = schedule.sizes[-1]
    # an epoch is judged at the size that it was learned at
    both = {
        size: step_seconds[size] + judge_seconds * (size / last) ** 2 / learner.steps_per_epoch for size in step_seconds
    }
    per_step = sum(share * both[size] for size, share in zip(schedule.sizes, schedule.shares, strict=True))
    num_steps = int((MARGIN * seconds - judge_seconds) / per_step)
    if num_steps < len(schedule.sizes):
        if learner.has_solved_head:
            return _tell_head_alone()
        raise RecipeError(
            found=f"a budget of {format_duration(seconds)}, in which {max(num_steps, 0)} steps fit",
            expected=f"at least {format_duration((per_step * len(schedule.sizes) + judge_seconds) / MARGIN + 1)}",
            fix="give more time with --budget, or take a smaller --image-size",
        )
    epochs = num_steps / learner.steps_per_epoch
    sizes = ", ".join(f"{step_seconds[size] * 1000:.0f} ms at {size} px" for size in schedule.sizes)
    logger.info(
        f"{format_duration(seconds)} hold {plural(num_steps, 'step')}, {epochs:.1f} epochs: a step takes {sizes},"
        f" judging {format_duration(judge_seconds)}"
    )
    return num_steps


def _tell_head_alone() -> int:
    logger.info("no time left to fine-tune: the solved head is the model")
    return 0


def probe(learner: Learner) -> tuple[dict[int, float], float]:
    """(seconds of a step by image size, seconds of an evaluation); compiles everything on the way."""
    before = learner.snapshot()
    sizes = learner.schedule.sizes
    steps = {size: statistics.median(time_steps(learner, size=size, count=PROBED_STEPS)) for size in sizes}
    learner.evaluate(most=2)  # compiles: each half of a batch has its image
    started = time.perf_counter()
    learner.evaluate(most=PROBED_IMAGES)
    judge = time.perf_counter() - started
    learner.go_back_to(before)
    return steps, judge * max(1.0, len(learner.dataset.rows("validation")) / PROBED_IMAGES)


def time_steps(learner: Learner, *, size: int, count: int) -> list[float]:
    """The seconds of each of `count` steps of no length at an image size, after two that are not counted."""
    seconds = []
    with closing(learner.steps_at([0.0] * (count + 2), size=size)) as steps:
        next(steps)  # compiles
        next(steps)
        for _ in range(count):
            started = time.perf_counter()
            next(steps)
            seconds.append(time.perf_counter() - started)
    return seconds
