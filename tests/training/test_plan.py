"""training/plan.py: learning rate and image size are functions of the step alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.recipe.validation import Schedule
from convscope.training.learning_rate_schedule import learning_rate
from convscope.training.plan import Plan, image_sizes


def make(num_steps: int = 100, schedule: Schedule = "one-cycle") -> Plan:
    """Half of the steps at 16 pixels, a quarter at 24, a quarter at 32; a peak of 0.5."""
    return Plan(
        num_steps=num_steps,
        steps_per_epoch=10,
        schedule=schedule,
        peak=0.5,
        sizes=(16, 24, 32),
        shares=(0.5, 0.25, 0.25),
    )


def test_learning_rate_of_a_step_is_that_of_its_middle() -> None:
    """Steps count from 0; after the last one the rate is 0."""
    assert make().learning_rate(0) == learning_rate("one-cycle", 0.5, position=0.005)
    assert make().learning_rate(99) == learning_rate("one-cycle", 0.5, position=0.995)
    assert make().learning_rate(100) == 0
    assert make(schedule="constant").learning_rate(1000) == 0.5


def test_each_size_has_its_share() -> None:
    """In order, each with its share of the steps; later steps have the last one."""
    sizes = [make().image_size(step) for step in range(100)]
    assert Counter(sizes) == {16: 50, 24: 25, 32: 25}
    assert sizes == sorted(sizes)
    assert make().image_size(1000) == 32


@pytest.mark.slow
@given(st.integers(1, 3000))
def test_shares_are_kept_to_the_step(num_steps: int) -> None:
    """Of any number of steps each size has its share, rounded; sizes only grow."""
    sizes = [make(num_steps).image_size(step) for step in range(num_steps)]
    assert sizes == sorted(sizes)
    for size, share in ((16, 0.5), (24, 0.25), (32, 0.25)):
        assert abs(sizes.count(size) - share * num_steps) <= 1


def test_one_size_is_that_size() -> None:
    """A plan without smaller sizes has the image size from the first step on."""
    plan = replace(make(9), sizes=(28,), shares=(1.0,))
    assert {plan.image_size(step) for step in range(20)} == {28}


@given(st.integers(1, 60), st.integers(0, 90))
def test_pixels_are_the_sum_over_the_steps(num_steps: int, step: int) -> None:
    """Of the first so many steps, also beyond the plan."""
    plan = make(num_steps)
    assert plan.pixels(step) == sum(plan.image_size(number) ** 2 for number in range(step))


def test_another_length_keeps_the_rest() -> None:
    """Only the number of steps changes."""
    assert make(100).with_steps(7) == make(7)


@pytest.mark.slow
def test_sizes_are_shares_of_the_image_size() -> None:
    """Rounded to pixels, each with its share of the steps, the full size last; equal ones stay apart."""
    recipe = resolve(Recipe(network="compact", image_size=50, sizes=(0.5, 1.0), size_shares=(0.2, 0.3)))
    assert image_sizes(recipe) == [(25, 0.2), (50, 0.3), (50, 0.5)]
