"""Intervals: they hold what they promise to hold, as often as they promise."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from convscope.statistics.intervals import Figure, bootstrap_confusion, f1_interval, mean_interval, wilson

CONFUSION = np.array([[40, 8, 2], [5, 30, 5], [1, 0, 9]])


def shares_and_accuracy(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Two figures: how much is of class 0, and the accuracy."""
    count = confusion.sum()
    return np.array([confusion[0].sum() / count, confusion.trace() / count])


def macro_recall(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """One figure: recall, averaged over the classes that there are."""
    present = confusion.any(axis=1)
    return np.array([(confusion.diagonal()[present] / confusion.sum(axis=1)[present]).mean()])


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_limits(successes: int, count: int, low: float, high: float) -> None:
    """The four examples of Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    figure = wilson(successes, count)
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 10**7).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_wilson_stays_within_0_and_1_and_holds_its_value(trials: tuple[int, int]) -> None:
    """0 <= low <= value <= high <= 1 for every outcome, and the ends are exact."""
    figure = wilson(*trials)
    assert 0 <= figure.low <= figure.high <= 1
    if trials[1]:
        assert figure.low <= figure.value <= figure.high
        assert (figure.low == 0) == (trials[0] == 0)
        assert (figure.high == 1) == (trials[0] == trials[1])


@pytest.mark.parametrize(("chance", "count"), [(0.5, 30), (0.9, 60), (0.99, 400), (0.2, 1000)])
def test_wilson_covers_the_truth_95_times_in_100(chance: float, count: int) -> None:
    """In 20,000 trials, from even chances to near certainty."""
    outcomes = np.random.default_rng(0).binomial(count, chance, 20_000).tolist()
    covered = np.mean([wilson(each, count).low <= chance <= wilson(each, count).high for each in outcomes])
    assert covered == pytest.approx(0.95, abs=0.025)


def test_nothing_is_known_of_no_trials() -> None:
    """Zero of zero is undefined, anywhere in 0..1, and null in JSON."""
    figure = wilson(0, 0)
    assert math.isnan(figure.value)
    assert figure.to_json() == {"value": None, "low": 0.0, "high": 1.0}


@pytest.mark.parametrize(("successes", "count"), [(3, 2), (-1, 2), (0, -1)])
def test_impossible_counts_are_refused(successes: int, count: int) -> None:
    """More successes than trials, or fewer than none, is the caller's bug, and is named."""
    with pytest.raises(ValueError, match=f"found {successes} successes in {count} trials; expected"):
        wilson(successes, count)


def test_a_figure_is_json_whatever_it_holds() -> None:
    """NaN and infinity become null, NumPy numbers become plain ones."""
    figure = Figure(np.float64(0.5), -math.inf, math.nan)
    assert json.dumps(figure.to_json(), allow_nan=False) == '{"value": 0.5, "low": null, "high": null}'


def test_f1_covers_the_truth_95_times_in_100() -> None:
    """On a rare class of 200 images, in 5,000 trials."""
    cells = np.array([0.08, 0.02, 0.04, 0.86])  # hit, missed, false alarm, neither
    truth = 2 * cells[0] / (2 * cells[0] + cells[1] + cells[2])
    trials = np.random.default_rng(0).multinomial(200, cells, size=5000)[:, :3].tolist()
    figures = [f1_interval(*trial) for trial in trials]
    assert np.mean([figure.low <= truth <= figure.high for figure in figures]) == pytest.approx(0.95, abs=0.02)


def test_f1_of_a_small_class_without_mistakes_is_not_certain() -> None:
    """Three of three right is an F1 of 1 that may well be 0.6."""
    figure = f1_interval(3, 0, 0)
    assert (figure.value, figure.high) == (1.0, 1.0)
    assert 0.5 < figure.low < 0.7


def test_the_mean_covers_the_truth_95_times_in_100() -> None:
    """On 100 values of a skewed distribution, in 2,000 trials, a little less, as the theorem has it."""
    trials = np.random.default_rng(0).exponential(2.0, size=(2000, 100))
    figures = [mean_interval(trial) for trial in trials]
    assert np.mean([figure.low <= 2.0 <= figure.high for figure in figures]) == pytest.approx(0.94, abs=0.02)


def test_the_mean_of_few_values_claims_no_more_than_it_knows() -> None:
    """One value has no spread, no values have no mean, and a loss is never below 0."""
    assert mean_interval([0.7], least=0.0) == Figure(0.7, 0.0, math.inf)
    assert mean_interval([0.7]).to_json() == {"value": 0.7, "low": None, "high": None}
    assert mean_interval([], least=0.0).to_json() == {"value": None, "low": 0.0, "high": None}
    assert mean_interval([0.0, 0.0, 9.0]).low == pytest.approx(3 - 1.96 * 27**0.5 / 3**0.5, abs=0.001)
    assert mean_interval([0.0, 0.0, 9.0], least=0.0).low == 0


def test_a_mean_is_of_one_dimension() -> None:
    """A matrix is the caller's bug, and is named."""
    with pytest.raises(ValueError, match=r"found values of shape \(2, 2\); expected one dimension"):
        mean_interval(np.eye(2))


def test_the_bootstrap_agrees_with_wilson_where_both_apply() -> None:
    """The accuracy is a proportion: of 1,000 images the two intervals are equal to half a point."""
    _, accuracy = bootstrap_confusion(10 * CONFUSION, shares_and_accuracy, draws=4000)
    expected = wilson(790, 1000)
    assert accuracy.value == expected.value
    assert (accuracy.low, accuracy.high) == pytest.approx((expected.low, expected.high), abs=0.005)


@pytest.mark.slow
def test_the_bootstrap_covers_the_truth_95_times_in_100() -> None:
    """Macro recall of uneven classes, 150 images, in 300 trials."""
    cells = np.array([[0.5, 0.1, 0.0], [0.05, 0.2, 0.05], [0.02, 0.0, 0.08]])
    truth = float(macro_recall(cells)[0])
    trials = np.random.default_rng(0).multinomial(150, cells.ravel(), size=300).reshape(-1, 3, 3)
    figures = [bootstrap_confusion(trial, macro_recall, draws=200)[0] for trial in trials]
    assert np.mean([figure.low <= truth <= figure.high for figure in figures]) == pytest.approx(0.95, abs=0.035)


def test_the_bootstrap_repeats_itself() -> None:
    """The same seed gives the same interval, another seed another, and NumPy's own state is not touched."""
    state = str(np.random.get_state())
    first = bootstrap_confusion(CONFUSION, macro_recall, seed=3)
    assert first == bootstrap_confusion(CONFUSION, macro_recall, seed=3)
    assert first != bootstrap_confusion(CONFUSION, macro_recall, seed=4)
    assert str(np.random.get_state()) == state


def test_the_bootstrap_draws_only_cells_that_hold_something() -> None:
    """A confusion that was never seen is never drawn, and every draw has as many images."""
    drawn: list[NDArray[np.int64]] = []

    def remember(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
        drawn.append(confusion.copy())
        return macro_recall(confusion)

    bootstrap_confusion(CONFUSION, remember, draws=50)
    assert len({each.tobytes() for each in drawn}) > 40
    assert all(each.sum() == CONFUSION.sum() and each[2, 1] == 0 for each in drawn)


def test_the_bootstrap_interval_holds_its_value() -> None:
    """Also where resampling only ever makes the figure smaller, as with the number of cells in use."""

    def cells_in_use(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.array([np.count_nonzero(confusion)], np.float64)

    (figure,) = bootstrap_confusion(np.ones((6, 6), np.int64), cells_in_use, draws=100)
    assert figure.low <= figure.value == 36.0 <= figure.high


def test_an_empty_matrix_is_refused() -> None:
    """There is nothing to resample, and the message says so."""
    with pytest.raises(ValueError, match=r"found a confusion matrix of shape \(2, 2\) without counts"):
        bootstrap_confusion(np.zeros((2, 2), np.int64), macro_recall)
