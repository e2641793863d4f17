"""training/schedule.py: learning rate and image size are functions of the step alone."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.training.schedule import Schedule, Shape


def make(num_steps: int = 100, shape: Shape = "one-cycle", warmup: float = 0.15) -> Schedule:
    """Half of the steps at 16 pixels, a quarter at 24, a quarter at 32; at most 0.5."""
    return Schedule(
        num_steps=num_steps, shape=shape, peak=0.5, warmup=warmup, sizes=(16, 24, 32), shares=(0.5, 0.25, 0.25)
    )


def test_constant_is_constant() -> None:
    """The same rate at the first, the last, and any later step."""
    assert {make(shape="constant").learning_rate(step) for step in (0, 50, 99, 1000)} == {0.5}


def test_one_cycle_goes_straight_up_and_straight_down() -> None:
    """From nearly nothing to the peak in its share of the steps, then to nearly nothing, by equal differences."""
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
    """At any number of steps; beyond the last one nothing is left."""
    schedule = make(num_steps, warmup=warmup)
    assert all(0 < schedule.learning_rate(step) <= 0.5 for step in {0, num_steps // 2, num_steps - 1})
    assert schedule.learning_rate(num_steps) == 0
    assert schedule.learning_rate(num_steps + 100) == 0


def test_each_size_has_its_share() -> None:
    """In order, each with its share of the steps; later steps have the last one."""
    sizes = [make().size(step) for step in range(100)]
    assert Counter(sizes) == {16: 50, 24: 25, 32: 25}
    assert sizes == sorted(sizes)
    assert make().size(1000) == 32


@given(st.integers(1, 3000))
def test_shares_are_kept_to_the_step(num_steps: int) -> None:
    """Of any number of steps each size has its share, rounded; sizes only grow."""
    sizes = [make(num_steps).size(step) for step in range(num_steps)]
    assert sizes == sorted(sizes)
    for size, share in ((16, 0.5), (24, 0.25), (32, 0.25)):
        assert abs(sizes.count(size) - share * num_steps) <= 1


def test_one_size_is_that_size() -> None:
    """A plan without smaller sizes has the image size from the first step on."""
    plain = Schedule(num_steps=9, shape="constant", peak=1.0, warmup=0.1, sizes=(28,), shares=(1.0,))
    assert {plain.size(step) for step in range(20)} == {28}


@given(st.integers(1, 60), st.integers(0, 90))
def test_work_is_the_pixels_of_the_steps_before(num_steps: int, step: int) -> None:
    """A sum over the steps, also beyond the plan."""
    schedule = make(num_steps)
    assert schedule.work(step) == sum(schedule.size(each) ** 2 for each in range(step))
