"""A head solved at once on features that a network has already: multinomial logistic regression, a model in seconds.

How strongly the weights are pulled towards 0 is chosen by cross-validation among the training images alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.progress import Counter, progress
from convscope.randomness import draw_seed, generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # inverse: scikit-learn's C
USUAL = 1e-2  # where there is one image of each class, so that none is left to choose by
FEW = 500  # images, up to which there are more folds
FOLDS_OF_FEW, FOLDS = 5, 3
MOST_TRIED = 2000  # images that the strength is chosen on
MOST_SOLVED = 50_000  # images that the head is solved on
MOST_ITERATIONS = 300


@dataclass(frozen=True, slots=True)
class Head:
    """A dense layer: kernel (d, classes) and bias (classes,) float32; and the inverse strength it was solved with."""

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float

    def logits(self, features: NDArray[np.float16]) -> NDArray[np.float32]:
        """(n, d) features -> (n, classes) float32."""
        return features.astype(np.float32) @ self.kernel + self.bias


def solve_head(features: NDArray[np.float16], labels: NDArray[np.int32], num_classes: int, *, seed: int) -> Head:
    """The dense layer that tells the classes apart best, by features alone.

    Args:
        features: (n, d) of the training images.
        labels: (n,) class numbers, every class among them.
        num_classes: how many classes there are.
        seed: of the folds, and of which images are looked at where there are too many.
    """
    drawn = _draw(labels, seed=seed)
    plain, truth = features[drawn].astype(np.float32), labels[drawn]
    center, scale = plain.mean(axis=0), _scale(plain)
    scaled = (plain - center) / scale
    tried = min(len(truth), MOST_TRIED)
    with progress("solving the head", len(STRENGTHS) * tried + len(truth), unit="images") as bar, _without_warnings():
        strength = _choose(scaled[:tried], truth[:tried], seed=seed, bar=bar)
        solved = _regression(strength).fit(scaled, truth)
        bar.advance(len(truth))
    kernel, bias = solved.coef_.T, solved.intercept_  # (d, classes), (classes,); of two classes the second alone
    if num_classes == 2:
        kernel, bias = np.concatenate([-kernel, kernel], axis=1) / 2, np.concatenate([-bias, bias]) / 2
    kernel = kernel / scale[:, np.newaxis]
    return Head(np.asarray(kernel, np.float32), np.asarray(bias - center @ kernel, np.float32), strength)


def _draw(labels: NDArray[np.int32], *, seed: int) -> NDArray[np.int64]:
    """Which images to look at: as many as can be, and at least one of each class, in a random order."""
    shuffled = generator(seed, "head").permutation(len(labels))
    firsts = np.unique(labels[shuffled], return_index=True)[1]  # where each class comes first
    chosen: NDArray[np.int64] = shuffled[np.union1d(np.arange(min(MOST_SOLVED, len(labels))), firsts)]
    return chosen


def _scale(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each feature is divided by, (d,): half way, in logarithms, between its own spread and that of all.

    By their own spread alone, those of a few images, features that hardly vary count as much as those that tell
    (10 photos of each class: 94.5 % against 95.9 %); by one spread for all, many images teach a little less.
    """
    spread = features.std(axis=0)
    common = float(np.sqrt((spread**2).mean())) or 1.0
    return np.asarray(np.sqrt(spread * common) + 1e-3 * common, np.float32)


def _choose(features: NDArray[np.float32], labels: NDArray[np.int32], *, seed: int, bar: Counter) -> float:
    """The strength with the lowest cross-entropy on images that it was not solved on.

    A class of one image has none left for that; the strength is chosen without it.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    _, class_of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    many = counts >= 2
    if many.sum() < 2:
        return USUAL
    features, labels = features[many[class_of]], labels[many[class_of]]
    folds = min(FOLDS_OF_FEW if len(labels) <= FEW else FOLDS, int(counts[many].min()))
    parts = StratifiedKFold(folds, shuffle=True, random_state=draw_seed(seed, "folds"))
    losses = []
    for strength in STRENGTHS:
        scores = cross_val_score(_regression(strength), features, labels, cv=parts, scoring="neg_log_loss")
        losses.append(-float(scores.mean()))
        bar.advance(len(labels))
    return STRENGTHS[int(np.argmin(losses))]


def _regression(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=MOST_ITERATIONS)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Without scikit-learn's word that the last digits had not settled, which are not needed."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
