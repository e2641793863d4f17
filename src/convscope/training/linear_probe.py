"""Linear probe: the head of a pretrained network, fitted on its frozen features by multinomial logistic regression.

The regularization is chosen by cross-validation among the training images alone. A model in seconds, and the start of
fine-tuning.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.datasets.dataset import Dataset
from convscope.progress import progress
from convscope.randomness import draw_seed, generator
from convscope.statistics.metrics import count_correct
from convscope.training.features import compute_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # inverse regularization strengths: scikit-learn's C
DEFAULT_STRENGTH = 1e-2  # where no class has two images, so that none is left to validate with
FEW_IMAGES = 500  # up to which there are more folds
FOLDS_OF_FEW, FOLDS = 5, 3
MAX_VALIDATED = 2000  # images that the regularization is chosen on
MAX_FITTED = 50_000  # images that the head is fitted on
MAX_ITERATIONS = 300


@dataclass(frozen=True, slots=True)
class Head:
    """A dense layer before the softmax.

    Attributes:
        kernel: (d, classes) float32.
        bias: (classes,) float32.
        strength: the inverse regularization strength that it was fitted with.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float

    def logits(self, features: NDArray[np.float16]) -> NDArray[np.float32]:
        """(n, d) features -> (n, classes) float32."""
        return features.astype(np.float32) @ self.kernel + self.bias


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadMetrics:
    """Mean cross-entropy (nats) and accuracy of a fitted head, on the training and on the validation images."""

    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float


def fit_linear_probe(model: Any, dataset: Dataset, *, seed: int) -> HeadMetrics:
    """Fit the head of a network on its frozen features, put it into the network, and evaluate it.

    Args:
        model: a pretrained `keras.Model` with the layers `features` and `logits`.
        dataset: with the splits `train` and `validation`.
        seed: of what is drawn at random.
    """
    features, labels = compute_features(model, dataset.images), dataset.labels
    train, validation = dataset.rows("train"), dataset.rows("validation")
    head = fit_head(features[train], labels[train], len(dataset.classes), seed=seed)
    model.get_layer("logits").set_weights([head.kernel, head.bias])
    loss, accuracy = _evaluate(head, features[train], labels[train])
    val_loss, val_accuracy = _evaluate(head, features[validation], labels[validation])
    logger.info(
        f"head (last layer) fitted on the frozen features of {len(train):,} images:"
        f" validation accuracy {val_accuracy:.1%}, loss {val_loss:.4f}"
    )
    return HeadMetrics(loss=loss, accuracy=accuracy, val_loss=val_loss, val_accuracy=val_accuracy)


def fit_head(features: NDArray[np.float16], labels: NDArray[np.int32], num_classes: int, *, seed: int) -> Head:
    """Fit a dense layer by logistic regression on features.

    Args:
        features: (n, d) of the training images.
        labels: (n,) class numbers, every class among them.
        num_classes: how many classes there are.
        seed: of the folds, and of which images are used where there are too many.
    """
    drawn = _draw(labels, seed=seed)
    inputs, targets = features[drawn].astype(np.float32), labels[drawn]
    center, scale = inputs.mean(axis=0), _scale(inputs)
    scaled = (inputs - center) / scale
    with _without_convergence_warnings():
        strength = _cross_validate(scaled[:MAX_VALIDATED], targets[:MAX_VALIDATED], seed=seed)
        with progress("fitting the head", len(targets), unit="images") as counter:
            fitted = _regression(strength).fit(scaled, targets)
            counter.advance(len(targets))
    kernel, bias = fitted.coef_.T, fitted.intercept_  # (d, classes), (classes,); of two classes the second alone
    if num_classes == 2:
        kernel, bias = np.concatenate([-kernel, kernel], axis=1) / 2, np.concatenate([-bias, bias]) / 2
    kernel = kernel / scale[:, np.newaxis]
    return Head(np.asarray(kernel, np.float32), np.asarray(bias - center @ kernel, np.float32), strength)


def _draw(labels: NDArray[np.int32], *, seed: int) -> NDArray[np.int64]:
    """The rows to fit on, in a random order: `MAX_FITTED` at most, and one of each class at least."""
    shuffled = generator(seed, "head").permutation(len(labels))
    firsts = np.unique(labels[shuffled], return_index=True)[1]  # where each class comes first
    drawn: NDArray[np.int64] = shuffled[np.union1d(np.arange(min(MAX_FITTED, len(labels))), firsts)]
    return drawn


def _scale(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """The divisor of each feature, (d,): the geometric mean of its own standard deviation and the common one.

    With its own alone, measured on a few images, features that hardly vary count as much as informative ones (10 photos
    of each class: 94.5 % against 95.9 %); with the common one alone, many images give a slightly worse head.
    """
    deviation = features.std(axis=0)
    common = float(np.sqrt((deviation**2).mean())) or 1.0
    return np.asarray(np.sqrt(deviation * common) + 1e-3 * common, np.float32)


def _cross_validate(features: NDArray[np.float32], labels: NDArray[np.int32], *, seed: int) -> float:
    """The inverse regularization strength with the lowest cross-entropy on images that were not fitted on.

    Classes with one image, of which none would be left to validate with, are left out.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    _, class_of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    has_several = counts >= 2
    if has_several.sum() < 2:
        return DEFAULT_STRENGTH
    features, labels = features[has_several[class_of]], labels[has_several[class_of]]
    num_folds = min(FOLDS_OF_FEW if len(labels) <= FEW_IMAGES else FOLDS, int(counts[has_several].min()))
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=draw_seed(seed, "folds"))
    losses = []
    with progress("cross-validating the head", len(STRENGTHS) * num_folds, unit="folds") as counter:
        for strength in STRENGTHS:
            scores = cross_val_score(_regression(strength), features, labels, cv=folds, scoring="neg_log_loss")
            losses.append(-float(scores.mean()))
            counter.advance(num_folds)
    return STRENGTHS[int(np.argmin(losses))]


def _regression(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)


@contextmanager
def _without_convergence_warnings() -> Iterator[None]:
    """Without scikit-learn's warning that the last digits of the weights may still change: they do not matter here."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _evaluate(head: Head, features: NDArray[np.float16], labels: NDArray[np.int32]) -> tuple[float, float]:
    """(mean cross-entropy in nats, accuracy) of a head."""
    logits = head.logits(features)
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return float(losses.mean(dtype=np.float64)), count_correct(logits, labels) / len(labels)
