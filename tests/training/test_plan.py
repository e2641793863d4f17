"""training/plan.py: learning rate and image size are functions of the step alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.recipe.values import Schedule
from convscope.training.plan import Plan, image_sizes


def make(num_steps: int = 100, schedule: Schedule = "one-cycle", warmup: float = 0.15) -> Plan:
    """Half of the steps at 16 pixels, a quarter at 24, a quarter at 32; a peak of 0.5."""
    return Plan(
        num_steps=num_steps,
        steps_per_epoch=10,
        schedule=schedule,
        peak=0.5,
        warmup=warmup,
        sizes=(16, 24, 32),
        shares=(0.5, 0.25, 0.25),
    )


def test_constant_is_constant() -> None:
    """The same rate at the first, the last, and any later step."""
    assert {make(schedule="constant").learning_rate(step) for step in (0, 50, 99, 1000)} == {0.5}


def test_one_cycle_is_linear_warm_up_and_linear_decay() -> None:
    """From nearly 0 to the peak in the warm-up's share of the steps, then to nearly 0, by equal differences."""
    rates = [make().learning_rate(step) for step in range(100)]
    assert max(rates) == pytest.approx(0.5, rel=0.05)
    assert rates.index(max(rates)) in (14, 15)
    up = [after - before for before, after in pairwise(rates[:15])]
    down = [after - before for before, after in pairwise(rates[15:])]
    assert up == pytest.approx([0.5 / 15] * 14)
    assert down == pytest.approx([-0.5 / 85] * 84)
    assert 0 < rates[0] <= 0.5 / 15
    assert 0 < rates[-1] <= 0.5 / 85


@given(st.integers(1, 5000), st.floats(0.01, 0.9))
def test_rates_are_positive_and_at_most_the_peak(num_steps: int, warmup: float) -> None:
    """At any number of steps; beyond the last one the rate is 0."""
    plan = make(num_steps, warmup=warmup)
    assert all(0 < plan.learning_rate(step) <= 0.5 for step in {0, num_steps // 2, num_steps - 1})
    assert plan.learning_rate(num_steps) == 0
    assert plan.learning_rate(num_steps + 100) == 0


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
    """Rounded to pixels, each with its share of the steps, the whole size last; equal ones stay apart."""
    recipe = resolve(Recipe(network="compact", image_size=50, sizes=(0.5, 1.0), size_shares=(0.2, 0.3)))
    assert image_sizes(recipe) == [(25, 0.2), (50, 0.3), (50, 0.5)]
