"""Metrics of predictions: accuracy, log loss, precision, recall and F1 with 95 % intervals, and the confusion matrix.

All but the log loss are computed from the confusion matrix. A metric whose denominator is 0 is undefined: NaN (null in
JSON), with an interval from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.statistics.intervals import Estimate, bootstrap_confusion, f1_interval, mean_interval, wilson_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
MIN_PROBABILITY = float(np.finfo(np.float32).eps)
PROBABILITY_TOLERANCE = 1e-3  # a softmax in low precision may pass 1 by its rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Precision, recall and F1, of one class or averaged over classes."""

    precision: Estimate
    recall: Estimate
    f1: Estimate

    def to_json(self) -> dict[str, Any]:
        """Each estimate by its name."""
        return {"precision": self.precision.to_json(), "recall": self.recall.to_json(), "f1": self.f1.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMetrics(Scores):
    """The scores of one class, and its `support`: how many images are of it."""

    support: int

    def to_json(self) -> dict[str, Any]:
        """The scores, and the support."""
        return {**Scores.to_json(self), "support": self.support}


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The majority baseline: the accuracy (0..1) of a model that always predicts the most frequent class, `name`."""

    name: str
    accuracy: float

    def to_json(self) -> dict[str, Any]:
        """The class and the accuracy."""
        return {"class": self.name, "accuracy": self.accuracy}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metrics:
    """The metrics of a model on the images of one split.

    Attributes:
        accuracy: the proportion of correct predictions, with a Wilson interval.
        log_loss: the mean of `log_losses`, in nats.
        count: the number of images.
        split: which images they are: `train`, `validation`, `test`, or `all` of a folder.
        mirrored: whether the probabilities are means over each image and its horizontal flip (test-time augmentation).
        classes: by name, in the order of the confusion matrix. Precision and recall have Wilson intervals, F1 as in
            `f1_interval`. A class without images has no recall, one that was never predicted has no precision.
        macro: averages over the classes with images, with bootstrap intervals; the precision of such a class that was
            never predicted counts as 0, as in scikit-learn.
        majority_baseline: the accuracy of always predicting the most frequent class.
        confusion: (classes, classes) int64, rows true, columns predicted.
    """

    accuracy: Estimate
    log_loss: Estimate
    count: int
    split: str
    mirrored: bool
    classes: dict[str, ClassMetrics]
    macro: Scores
    majority_baseline: Baseline
    confusion: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """The content of metrics.json."""
        return {
            "accuracy": self.accuracy.to_json(),
            "log_loss": self.log_loss.to_json(),
            "count": self.count,
            "split": self.split,
            "mirrored": self.mirrored,
            "classes": {name: scores.to_json() for name, scores in self.classes.items()},
            "macro": self.macro.to_json(),
            "majority_baseline": self.majority_baseline.to_json(),
            "confusion": self.confusion.tolist(),
            "format": FORMAT,
        }


def predicted_classes(scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The class with the highest score, the first of equals: (..., classes) probabilities or logits -> (...,) int64."""
    predicted: NDArray[np.int64] = np.argmax(scores, axis=-1)
    return predicted


def is_correct(scores: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Whether each prediction is correct: the one place that says when it is.

    Args:
        scores: (n, classes) probabilities or logits.
        labels: (n,) the true classes.

    Returns:
        (n,) bool.
    """
    correct: NDArray[np.bool_] = predicted_classes(scores) == labels
    return correct


def count_correct(scores: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> int:
    """The number of correct predictions; arguments as in `is_correct`."""
    return int(is_correct(scores, labels).sum())


def compute_metrics(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    *,
    classes: Sequence[str],
    split: str,
    mirrored: bool = False,
) -> Metrics:
    """Compare predictions with the true classes.

    Args:
        labels: (n,) integers, 0..classes-1, n at least 1.
        probabilities: (n, classes), 0..1.
        classes: the names of the classes, all different.
        split: which images these are, for the record.
        mirrored: whether test-time augmentation was used, for the record.

    Raises:
        ValueError: the arguments are not as described.
    """
    _check_predictions(labels, probabilities, classes)
    confusion = confusion_matrix(labels, predicted_classes(probabilities), num_classes=len(classes))
    support = confusion.sum(axis=1)
    majority = int(support.argmax())
    return Metrics(
        accuracy=wilson_interval(count_correct(probabilities, labels), len(labels)),
        log_loss=mean_interval(log_losses(labels, probabilities), minimum=0.0),
        count=len(labels),
        split=split,
        mirrored=mirrored,
        classes=dict(zip(classes, _class_metrics(confusion), strict=True)),
        macro=_macro_average(confusion),
        majority_baseline=Baseline(name=classes[majority], accuracy=int(support[majority]) / len(labels)),
        confusion=confusion,
    )


def confusion_matrix(
    labels: NDArray[np.integer], predicted: NDArray[np.integer], *, num_classes: int
) -> NDArray[np.int64]:
    """Count how often each class was predicted as each.

    Args:
        labels: (n,) integers, 0..num_classes-1, the true classes.
        predicted: (n,) integers, 0..num_classes-1.

    Returns:
        (num_classes, num_classes) int64, rows true, columns predicted.

    Raises:
        ValueError: the shapes differ, or an integer is not that of a class.
    """
    if labels.shape != predicted.shape or labels.ndim != 1:
        raise ValueError(
            f"found labels of shape {labels.shape} and predicted of shape {predicted.shape}; expected both (n,)"
        )
    for name, numbers in (("labels", labels), ("predicted", predicted)):
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < num_classes:
            found = f"{name} from {numbers.min()} to {numbers.max()}"
            raise ValueError(f"found {found}; expected integers from 0 to {num_classes - 1}")
    cells = labels.astype(np.int64) * num_classes + predicted  # the cells of the matrix, counted row by row
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64, copy=False)


def log_losses(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """The log loss (cross-entropy) of each image: minus the natural logarithm of its true class's probability.

    Probabilities below 1.2e-7 count as that (a loss of 15.9): float32 cannot tell them from 0 beside 1, and one such
    image must not decide the mean. scikit-learn's `log_loss` clips at the same value.

    Args:
        labels: (n,) integers, 0..classes-1.
        probabilities: (n, classes), 0..1.

    Returns:
        (n,) float64, 0 to 15.9.
    """
    true_probabilities = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    losses: NDArray[np.float64] = np.abs(np.log(np.clip(true_probabilities, MIN_PROBABILITY, 1.0)))  # abs: no -0.0
    return losses


def _check_predictions(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], classes: Sequence[str]
) -> None:
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"found labels of shape {labels.shape}; expected (n,) with n at least 1")
    if probabilities.shape != (len(labels), len(classes)):
        expected = f"({len(labels)}, {len(classes)}): image, class"
        raise ValueError(f"found probabilities of shape {probabilities.shape}; expected {expected}")
    lowest, highest = float(probabilities.min()), float(probabilities.max())
    if not (lowest >= 0 and highest <= 1 + PROBABILITY_TOLERANCE):  # NaN fails both
        raise ValueError(f"found probabilities from {lowest} to {highest}; expected 0 to 1, as after a softmax")
    if len(set(classes)) < len(classes):
        raise ValueError(f"found class names {list(classes)}; expected each once")


def _class_metrics(confusion: NDArray[np.int64]) -> list[ClassMetrics]:
    """The metrics of each class, in order."""
    return [
        ClassMetrics(
            precision=wilson_interval(true_positives, num_predicted),
            recall=wilson_interval(true_positives, support),
            f1=f1_interval(true_positives, support - true_positives, num_predicted - true_positives),
            support=support,
        )
        for true_positives, support, num_predicted in _class_counts(confusion).T.tolist()
    ]


def _macro_average(confusion: NDArray[np.int64]) -> Scores:
    """The macro averages, with bootstrap intervals, or with that of `_perfect_average` where there is no error."""
    if confusion.trace() == confusion.sum():
        perfect = _perfect_average(confusion)
        return Scores(precision=perfect, recall=perfect, f1=perfect)
    precision, recall, f1 = bootstrap_confusion(confusion, _macro_scores)
    return Scores(precision=precision, recall=recall, f1=f1)


def _macro_scores(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """(3,) float64: precision, recall and F1, each averaged over the classes with images."""
    true_positives, support, num_predicted = _class_counts(confusion)[:, confusion.any(axis=1)]
    precision = true_positives / np.maximum(num_predicted, 1)
    recall = true_positives / support
    f1 = 2 * true_positives / (support + num_predicted)
    return np.array([precision.mean(), recall.mean(), f1.mean()])


def _perfect_average(confusion: NDArray[np.int64]) -> Estimate:
    """1; its lower bound assumes that all errors that may have gone unseen are in the smallest class."""
    support = confusion.diagonal()
    present = support[support > 0]
    smallest = int(present.min())
    return Estimate(1.0, 1.0 - (1.0 - wilson_interval(smallest, smallest).low) / len(present), 1.0)


def _class_counts(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """(3, classes): for each class its true positives, its images (support), and the images predicted as it."""
    return np.stack([confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)])
