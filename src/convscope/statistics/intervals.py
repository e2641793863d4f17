"""How far a measured figure can be trusted: 95 % intervals of proportions, means, and figures of a confusion matrix.

Every figure that convscope reports is a `Figure`: value and interval travel together.
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
class Figure:
    """A measured value and its 95 % interval, low <= value <= high; the value is NaN where nothing was measured."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Value, low and high; None in place of NaN and infinity, which JSON does not have."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: float(number) if math.isfinite(number) else None for name, number in numbers.items()}


def wilson(successes: int, count: int) -> Figure:
    """The proportion of successes, with its score interval.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    Returns:
        A figure within 0..1. Of no trials nothing is known: NaN between 0 and 1.

    Raises:
        ValueError: not 0 <= successes <= count.
    """
    if not 0 <= successes <= count:
        raise ValueError(f"found {successes} successes in {count} trials; expected 0 <= successes <= count")
    if count == 0:
        return Figure(math.nan, 0.0, 1.0)
    share = successes / count
    center = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    margin = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    # at the ends the formula gives exactly 0 and 1, but for rounding
    low = 0.0 if successes == 0 else center - margin
    high = 1.0 if successes == count else center + margin
    return Figure(share, low, high)


def f1_interval(hits: int, misses: int, false_alarms: int) -> Figure:
    """F1 of one class, with the Wilson interval of the proportion that it is a function of.

    Of the images that are of the class or were called so, the share of hits J is a binomial proportion, and
    F1 = 2 J / (1 + J) grows with it. It stays honest where a bootstrap collapses: where nothing was mistaken.

    Source: K. F. Y. Lam, V. Gopal, J. Qian, "Confidence intervals for the F1 score: a comparison of four methods",
    arXiv:2309.14621 (2023), the Wilson indirect method.

    Returns:
        A figure within 0..1; NaN between 0 and 1 where no image is of the class or was called so.
    """
    share = wilson(hits, hits + misses + false_alarms)
    return Figure(*(2 * end / (1 + end) for end in (share.value, share.low, share.high)))


def mean_interval(values: ArrayLike, *, least: float = -math.inf) -> Figure:
    """The mean of independent values, with the interval of the central limit theorem: mean +- Z standard errors.

    Args:
        values: (n,) real numbers.
        least: a bound that no mean can pass, such as 0 for a loss; the interval is cut there.

    Returns:
        A figure. One value says nothing of its spread: the interval reaches from `least` to infinity.
        Of no values there is no mean either: NaN.

    Raises:
        ValueError: the values are not in one dimension.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1:
        raise ValueError(f"found values of shape {numbers.shape}; expected one dimension")
    if numbers.size < 2:
        return Figure(float(numbers[0]) if numbers.size else math.nan, least, math.inf)
    mean = float(numbers.mean())
    margin = Z * float(numbers.std(ddof=1)) / math.sqrt(numbers.size)
    return Figure(mean, max(least, mean - margin), mean + margin)


def bootstrap_confusion(
    confusion: NDArray[np.int64],
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[Figure, ...]:
    """Any figures of a confusion matrix, with the bias-corrected percentiles of the same figures of resampled matrices.

    To resample the images is to draw the counts of the cells from a multinomial distribution. A cell that is empty
    stays empty, so only the others are drawn (1,000 classes and 50,000 images: 16,000 cells of a million, 4 s).
    The correction is for sparse matrices: with 30 classes of 10 images, plain percentiles held the true macro F1 in
    86 % of 400 trials, these in 93 %. Where there was no mistake nothing varies, and the interval is a point.

    Source: B. Efron, "Nonparametric standard errors and confidence intervals", Canadian Journal of Statistics 9 (1981).

    Args:
        confusion: (classes, classes) counts, not all 0.
        statistic: (classes, classes) int64 -> (k,) float64, finite. Its matrix is written over in the next draw.

    Returns:
        k figures, the same for the same seed.

    Raises:
        ValueError: the matrix counts nothing.
    """
    cells = np.nonzero(confusion)
    counts = confusion[cells]
    total = int(counts.sum())
    if total == 0:
        raise ValueError(
            f"found a confusion matrix of shape {confusion.shape} without counts; expected at least 1 image"
        )
    chance = generator(seed, "bootstrap")
    table = np.zeros_like(confusion)
    drawn = []
    for _ in range(draws):
        table[cells] = chance.multinomial(total, counts / total)
        drawn.append(statistic(table))
    return tuple(_corrected(*pair) for pair in zip(statistic(confusion), np.stack(drawn, axis=1), strict=True))


def _corrected(value: np.float64, drawn: NDArray[np.float64]) -> Figure:
    """`value` with percentiles of `drawn`, (draws,), moved by twice its distance from their median."""
    below = (np.mean(drawn < value) + np.mean(drawn <= value)) / 2
    bias = NORMAL.inv_cdf(min(max(float(below), 0.025), 0.975))  # within +-Z, so that the interval holds the value
    low, high = np.quantile(drawn, [NORMAL.cdf(2 * bias - Z), NORMAL.cdf(2 * bias + Z)])
    return Figure(float(value), float(min(low, value)), float(max(high, value)))
