"""95 % confidence intervals: of proportions, of means, and of statistics of a confusion matrix.

Every measured value that convscope reports is an `Estimate`: value and interval travel together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from convscope.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

NORMAL = NormalDist()
Z = NORMAL.inv_cdf(0.975)  # 95 % of a normal distribution lie within Z standard deviations


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value and its 95 % interval, low <= value <= high; the value is NaN where nothing was measured."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Value, low and high; None in place of NaN and infinity, which JSON does not have."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: float(number) if math.isfinite(number) else None for name, number in numbers.items()}


def wilson_interval(successes: int, count: int) -> Estimate:
    """The proportion of successes, with its Wilson score interval.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    Returns:
        An estimate within 0..1. With no trials it is unknown: NaN between 0 and 1.

    Raises:
        ValueError: not 0 <= successes <= count.
    """
    if not 0 <= successes <= count:
        raise ValueError(f"found {successes} successes in {count} trials; expected 0 <= successes <= count")
    if count == 0:
        return Estimate(math.nan, 0.0, 1.0)
    proportion = successes / count
    center = (proportion + Z**2 / (2 * count)) / (1 + Z**2 / count)
    margin = Z / (1 + Z**2 / count) * math.sqrt(proportion * (1 - proportion) / count + Z**2 / (4 * count**2))
    # at the ends the formula gives exactly 0 and 1, but for rounding
    low = 0.0 if successes == 0 else center - margin
    high = 1.0 if successes == count else center + margin
    return Estimate(proportion, low, high)


def f1_interval(true_positives: int, false_negatives: int, false_positives: int) -> Estimate:
    """F1 of one class, with the Wilson interval of the proportion that it is a function of.

    Of the images that are of the class or predicted as it, the proportion J of true positives is binomial, and
    F1 = 2 J / (1 + J) grows with it. Unlike a bootstrap, this interval does not collapse where there is no error.

    Source: K. F. Y. Lam, V. Gopal, J. Qian, "Confidence intervals for the F1 score: a comparison of four methods",
    arXiv:2309.14621 (2023), the Wilson indirect method.

    Returns:
        An estimate within 0..1; NaN between 0 and 1 where no image is of the class or predicted as it.
    """
    jaccard = wilson_interval(true_positives, true_positives + false_negatives + false_positives)
    return Estimate(*(2 * end / (1 + end) for end in (jaccard.value, jaccard.low, jaccard.high)))


def mean_interval(values: ArrayLike, *, minimum: float = -math.inf) -> Estimate:
    """The mean of independent values, with the interval of the central limit theorem: mean +- Z standard errors.

    Args:
        values: (n,) real numbers.
        minimum: a bound that no mean can pass, such as 0 for a loss; the interval is cut there.

    Returns:
        An estimate. One value has no spread: its interval reaches from `minimum` to infinity.
        No values have no mean either: NaN.

    Raises:
        ValueError: the values are not in one dimension.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1:
        raise ValueError(f"found values of shape {numbers.shape}; expected one dimension")
    if numbers.size < 2:
        return Estimate(float(numbers[0]) if numbers.size else math.nan, minimum, math.inf)
    mean = float(numbers.mean())
    margin = Z * float(numbers.std(ddof=1)) / math.sqrt(numbers.size)
    return Estimate(mean, max(minimum, mean - margin), mean + margin)


def bootstrap_confusion(
    confusion: NDArray[np.int64],
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[Estimate, ...]:
    """Statistics of a confusion matrix, with bias-corrected percentile intervals of the bootstrap.

    Resampling the images means drawing the counts of the cells from a multinomial distribution. An empty cell stays
    empty, so only the others are drawn (1,000 classes and 50,000 images: 16,000 cells of a million, 4 s).
    The correction is for sparse matrices: with 30 classes of 10 images, plain percentiles held the true macro F1 in
    86 % of 400 trials, these in 93 %. Without an error nothing varies, and the interval is a point.

    Source: B. Efron, "Nonparametric standard errors and confidence intervals", Canadian Journal of Statistics 9 (1981).

    Args:
        confusion: (classes, classes) counts, not all 0.
        statistic: (classes, classes) int64 -> (k,) float64, finite. The next resample overwrites its matrix.
        num_resamples: how many matrices are drawn.
        seed: of the draws.

    Returns:
        k estimates, the same for the same seed.

    Raises:
        ValueError: all counts are 0.
    """
    cells = np.nonzero(confusion)
    counts = confusion[cells]
    total = int(counts.sum())
    if total == 0:
        raise ValueError(
            f"found a confusion matrix of shape {confusion.shape} without counts; expected at least 1 image"
        )
    random = generator(seed, "bootstrap")
    resample = np.zeros_like(confusion)
    resampled = []
    for _ in range(num_resamples):
        resample[cells] = random.multinomial(total, counts / total)
        resampled.append(statistic(resample))
    return tuple(_bias_corrected(*pair) for pair in zip(statistic(confusion), np.stack(resampled, axis=1), strict=True))


def _bias_corrected(value: np.float64, resampled: NDArray[np.float64]) -> Estimate:
    """`value` with percentiles of `resampled`, (num_resamples,), moved by twice its distance from their median."""
    below = (np.mean(resampled < value) + np.mean(resampled <= value)) / 2
    bias = NORMAL.inv_cdf(min(max(float(below), 0.025), 0.975))  # within +-Z, so that the interval holds the value
    low, high = np.quantile(resampled, [NORMAL.cdf(2 * bias - Z), NORMAL.cdf(2 * bias + Z)])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))
