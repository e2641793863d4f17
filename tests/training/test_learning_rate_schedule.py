"""training/learning_rate_schedule.py: each schedule is a function of the position in the training."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.training.learning_rate_schedule import learning_rate


def one_cycle(num_steps: int) -> list[float]:
    """The learning rate of each step, with a peak of 0.5."""
    return [learning_rate("one-cycle", 0.5, position=(step + 0.5) / num_steps) for step in range(num_steps)]


def test_constant_is_constant() -> None:
    """The same rate at the first, the last, and any later step."""
    assert {learning_rate("constant", 0.5, position=position) for position in (0.0, 0.5, 1.0, 10.0)} == {0.5}


def test_one_cycle_is_linear_warm_up_and_linear_decay() -> None:
    """From nearly 0 to the peak in the warm-up's share of the steps, then to nearly 0, by equal differences."""
    rates = one_cycle(100)
    assert max(rates) == pytest.approx(0.5, rel=0.05)
    assert rates.index(max(rates)) in (14, 15)
    up = [after - before for before, after in pairwise(rates[:15])]
    down = [after - before for before, after in pairwise(rates[15:])]
    assert up == pytest.approx([0.5 / 15] * 14)
    assert down == pytest.approx([-0.5 / 85] * 84)
    assert 0 < rates[0] <= 0.5 / 15
    assert 0 < rates[-1] <= 0.5 / 85


@pytest.mark.slow
@given(st.integers(1, 5000))
def test_rates_are_positive_and_at_most_the_peak(num_steps: int) -> None:
    """At any number of steps; beyond the last one the rate is 0."""
    assert all(0 < rate <= 0.5 for rate in one_cycle(num_steps))
    assert learning_rate("one-cycle", 0.5, position=1.0) == 0
    assert learning_rate("one-cycle", 0.5, position=2.0) == 0
