"""statistics/intervals.py: 95 % intervals contain the true value in 95 % of trials."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from convscope.statistics.intervals import Estimate, bootstrap_confusion, f1_interval, mean_interval, wilson_interval

CONFUSION = np.array([[40, 8, 2], [5, 30, 5], [1, 0, 9]])


def proportion_and_accuracy(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Two statistics: the proportion of class 0, and the accuracy."""
    count = confusion.sum()
    return np.array([confusion[0].sum() / count, confusion.trace() / count])


def macro_recall(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """One statistic: recall, averaged over the classes with images."""
    present = confusion.any(axis=1)
    return np.array([(confusion.diagonal()[present] / confusion.sum(axis=1)[present]).mean()])


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_limits(successes: int, count: int, low: float, high: float) -> None:
    """The four examples of Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    estimate = wilson_interval(successes, count)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 10**7).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_wilson_interval_is_within_0_and_1_and_contains_its_value(trials: tuple[int, int]) -> None:
    """0 <= low <= value <= high <= 1 for every outcome, and the ends are exact."""
    estimate = wilson_interval(*trials)
    assert 0 <= estimate.low <= estimate.high <= 1
    if trials[1]:
        assert estimate.low <= estimate.value <= estimate.high
        assert (estimate.low == 0) == (trials[0] == 0)
        assert (estimate.high == 1) == (trials[0] == trials[1])


@pytest.mark.slow
@pytest.mark.parametrize(("probability", "count"), [(0.5, 30), (0.9, 60), (0.99, 400), (0.2, 1000)])
def test_wilson_interval_covers_the_true_value(probability: float, count: int) -> None:
    """In 95 % of 20,000 trials, for proportions from 0.2 to 0.99."""
    outcomes = np.random.default_rng(0).binomial(count, probability, 20_000).tolist()
    covered = np.mean(
        [
            wilson_interval(successes, count).low <= probability <= wilson_interval(successes, count).high
            for successes in outcomes
        ]
    )
    assert covered == pytest.approx(0.95, abs=0.025)


def test_no_trials_have_no_proportion() -> None:
    """Zero of zero is undefined, anywhere in 0..1, and null in JSON."""
    estimate = wilson_interval(0, 0)
    assert math.isnan(estimate.value)
    assert estimate.to_json() == {"value": None, "low": 0.0, "high": 1.0}


@pytest.mark.parametrize(("successes", "count"), [(3, 2), (-1, 2), (0, -1)])
def test_impossible_counts_are_rejected(successes: int, count: int) -> None:
    """More successes than trials, or a negative number: the error names it."""
    with pytest.raises(ValueError, match=f"found {successes} successes in {count} trials; expected"):
        wilson_interval(successes, count)


def test_every_estimate_can_be_json() -> None:
    """NaN and infinity become null, NumPy numbers become plain ones."""
    estimate = Estimate(np.float64(0.5), -math.inf, math.nan)
    assert json.dumps(estimate.to_json(), allow_nan=False) == '{"value": 0.5, "low": null, "high": null}'


def test_f1_interval_covers_the_true_value() -> None:
    """Of a rare class among 200 images, in 95 % of 5,000 trials."""
    cells = np.array([0.08, 0.02, 0.04, 0.86])  # true positives, false negatives, false positives, true negatives
    true_value = 2 * cells[0] / (2 * cells[0] + cells[1] + cells[2])
    trials = np.random.default_rng(0).multinomial(200, cells, size=5000)[:, :3].tolist()
    estimates = [f1_interval(*trial) for trial in trials]
    assert np.mean([estimate.low <= true_value <= estimate.high for estimate in estimates]) == pytest.approx(
        0.95, abs=0.02
    )


def test_f1_of_a_small_class_without_mistakes_has_a_wide_interval() -> None:
    """Three of three correct is an F1 of 1 with a lower bound near 0.6."""
    estimate = f1_interval(3, 0, 0)
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert 0.5 < estimate.low < 0.7


def test_mean_interval_covers_the_true_value() -> None:
    """Of 100 values of a skewed distribution, in 94 % of 2,000 trials: the normal approximation is a little short."""
    trials = np.random.default_rng(0).exponential(2.0, size=(2000, 100))
    estimates = [mean_interval(trial) for trial in trials]
    assert np.mean([estimate.low <= 2.0 <= estimate.high for estimate in estimates]) == pytest.approx(0.94, abs=0.02)


def test_mean_of_no_or_one_value() -> None:
    """One value has no spread, no values have no mean, and a loss is never below 0."""
    assert mean_interval([0.7], minimum=0.0) == Estimate(0.7, 0.0, math.inf)
    assert mean_interval([0.7]).to_json() == {"value": 0.7, "low": None, "high": None}
    assert mean_interval([], minimum=0.0).to_json() == {"value": None, "low": 0.0, "high": None}
    assert mean_interval([0.0, 0.0, 9.0]).low == pytest.approx(3 - 1.96 * 27**0.5 / 3**0.5, abs=0.001)
    assert mean_interval([0.0, 0.0, 9.0], minimum=0.0).low == 0


def test_mean_interval_takes_one_dimension() -> None:
    """The error names the shape."""
    with pytest.raises(ValueError, match=r"found values of shape \(2, 2\); expected one dimension"):
        mean_interval(np.eye(2))


def test_bootstrap_agrees_with_the_wilson_interval() -> None:
    """The accuracy is a proportion: of 1,000 images the two intervals are equal to half a point."""
    _, accuracy = bootstrap_confusion(10 * CONFUSION, proportion_and_accuracy, num_resamples=4000)
    expected = wilson_interval(790, 1000)
    assert accuracy.value == expected.value
    assert (accuracy.low, accuracy.high) == pytest.approx((expected.low, expected.high), abs=0.005)


@pytest.mark.slow
def test_bootstrap_interval_covers_the_true_value() -> None:
    """Macro recall of imbalanced classes, 150 images, in 95 % of 300 trials."""
    cells = np.array([[0.5, 0.1, 0.0], [0.05, 0.2, 0.05], [0.02, 0.0, 0.08]])
    true_value = float(macro_recall(cells)[0])
    trials = np.random.default_rng(0).multinomial(150, cells.ravel(), size=300).reshape(-1, 3, 3)
    estimates = [bootstrap_confusion(trial, macro_recall, num_resamples=200)[0] for trial in trials]
    assert np.mean([estimate.low <= true_value <= estimate.high for estimate in estimates]) == pytest.approx(
        0.95, abs=0.035
    )


def test_bootstrap_is_deterministic() -> None:
    """The same seed gives the same interval, another seed another, and NumPy's global state stays."""
    state = str(np.random.get_state())
    first = bootstrap_confusion(CONFUSION, macro_recall, seed=3)
    assert first == bootstrap_confusion(CONFUSION, macro_recall, seed=3)
    assert first != bootstrap_confusion(CONFUSION, macro_recall, seed=4)
    assert str(np.random.get_state()) == state


def test_bootstrap_draws_only_cells_with_counts() -> None:
    """A confusion without counts is never resamples, and every resample has as many images."""
    resamples: list[NDArray[np.int64]] = []

    def record(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
        resamples.append(confusion.copy())
        return macro_recall(confusion)

    bootstrap_confusion(CONFUSION, record, num_resamples=50)
    assert len({resample.tobytes() for resample in resamples}) > 40
    assert all(resample.sum() == CONFUSION.sum() and resample[2, 1] == 0 for resample in resamples)


def test_bootstrap_interval_contains_its_value() -> None:
    """Also where resampling only makes the statistic smaller, as with the number of cells in use."""

    def cells_in_use(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.array([np.count_nonzero(confusion)], np.float64)

    (estimate,) = bootstrap_confusion(np.ones((6, 6), np.int64), cells_in_use, num_resamples=100)
    assert estimate.low <= estimate.value == 36.0 <= estimate.high


def test_an_empty_matrix_is_rejected() -> None:
    """There is nothing to resample: the error names the shape."""
    with pytest.raises(ValueError, match=r"found a confusion matrix of shape \(2, 2\) without counts"):
        bootstrap_confusion(np.zeros((2, 2), np.int64), macro_recall)
