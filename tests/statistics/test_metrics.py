"""statistics/metrics.py: the values of scikit-learn, and defined ones where a denominator is 0."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from convscope.statistics.intervals import wilson_interval
from convscope.statistics.metrics import (
    Metrics,
    compute_metrics,
    confusion_matrix,
    count_correct,
    is_correct,
    log_losses,
    predicted_classes,
)

Predictions = tuple[NDArray[np.int64], NDArray[np.float32]]


def draw_predictions(num_classes: int, count: int, *, skill: float = 0.5, seed: int = 0) -> Predictions:
    """True classes (count,) and probabilities (count, num_classes) of a model that is often correct."""
    random = np.random.default_rng(seed)
    labels = random.integers(num_classes, size=count)
    scores = random.random((count, num_classes))
    scores[np.arange(count), labels] += skill
    return labels, (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def metrics_of(confusion: list[list[int]], classes: list[str]) -> Metrics:
    """The metrics of predictions with probability 1 that have this confusion matrix."""
    cells = np.array(confusion)
    labels = np.repeat(np.arange(len(cells)), cells.sum(axis=1))
    predicted = np.concatenate([np.repeat(np.arange(len(cells)), row) for row in cells])
    return compute_metrics(labels, np.eye(len(cells), dtype=np.float32)[predicted], classes=classes, split="validation")


@pytest.mark.slow
@settings(max_examples=50)
@given(st.integers(2, 6), st.integers(0, 300), st.integers(0, 99))
def test_confusion_matrix_is_scikit_learns(num_classes: int, count: int, seed: int) -> None:
    """Rows true, columns predicted, also with classes without images, and with no images at all."""
    random = np.random.default_rng(seed)
    labels, predicted = random.integers(num_classes, size=(2, count), dtype=np.int32)
    confusion = confusion_matrix(labels, predicted, num_classes=num_classes)
    assert confusion.dtype == np.int64
    if count:
        assert np.array_equal(confusion, sklearn_metrics.confusion_matrix(labels, predicted, labels=range(num_classes)))
    else:
        assert np.array_equal(confusion, np.zeros((num_classes, num_classes)))


def test_confusion_matrix_counts_beyond_small_integers() -> None:
    """Labels of one byte do not overflow when their cells are numbered."""
    labels = np.array([199, 199, 0], np.uint8)
    confusion = confusion_matrix(labels, labels, num_classes=200)
    assert confusion[199, 199] == 2
    assert confusion.sum() == 3


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        ([0, 3], [0, 1], r"found labels from 0 to 3; expected integers from 0 to 2"),
        ([0, 1], [-1, 1], r"found predicted from -1 to 1; expected integers from 0 to 2"),
        ([0, 1, 1], [0, 1], r"found labels of shape \(3,\) and predicted of shape \(2,\); expected both \(n,\)"),
    ],
)
def test_confusion_matrix_rejects_other_labels(labels: list[int], predicted: list[int], message: str) -> None:
    """The label -1 of a refused image, and a class too many, are errors that name them."""
    with pytest.raises(ValueError, match=message):
        confusion_matrix(np.array(labels), np.array(predicted), num_classes=3)


def test_log_loss_is_scikit_learns() -> None:
    """Also where a probability is exactly 0, and in float64 from float32."""
    labels, probabilities = draw_predictions(5, 300)
    probabilities[:3] = np.eye(5, dtype=np.float32)[(labels[:3] + np.arange(3)) % 5]
    losses = log_losses(labels, probabilities)
    assert losses.dtype == np.float64
    assert losses.mean() == pytest.approx(sklearn_metrics.log_loss(labels, probabilities, labels=range(5)), rel=1e-5)
    assert losses.max() == pytest.approx(15.94, abs=0.01)


def test_log_loss_of_probability_1_is_0() -> None:
    """Not minus zero, and not negative where rounding gives a probability over 1."""
    losses = log_losses(np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0001]], np.float32))
    assert [math.copysign(1, loss) * loss for loss in losses] == [0.0, 0.0]
    assert str(losses[0]) == "0.0"


@pytest.mark.parametrize("num_classes", [2, 7])
def test_scores_are_scikit_learns(num_classes: int) -> None:
    """Accuracy, and precision, recall, F1 and support of each class and on average."""
    labels, probabilities = draw_predictions(num_classes, 400)
    classes = [f"class {number}" for number in range(num_classes)]
    metrics = compute_metrics(labels, probabilities, classes=classes, split="test")
    predicted = probabilities.argmax(axis=1)
    expected = np.array(sklearn_metrics.precision_recall_fscore_support(labels, predicted)).T  # class by class
    for row, scores in zip(expected, metrics.classes.values(), strict=True):
        assert (scores.precision.value, scores.recall.value, scores.f1.value, scores.support) == pytest.approx(
            tuple(row)
        )
    means = (metrics.macro.precision.value, metrics.macro.recall.value, metrics.macro.f1.value)
    assert means == pytest.approx(
        sklearn_metrics.precision_recall_fscore_support(labels, predicted, average="macro")[:3]
    )
    assert metrics.accuracy.value == sklearn_metrics.accuracy_score(labels, predicted)
    assert list(metrics.classes) == classes
    assert (metrics.count, metrics.split) == (400, "test")


def test_every_interval_contains_its_value() -> None:
    """low < value < high for every estimate of a model."""
    labels, probabilities = draw_predictions(6, 120)
    metrics = compute_metrics(labels, probabilities, classes=list("abcdef"), split="test")
    estimates = [metrics.accuracy, metrics.log_loss]
    for scores in [metrics.macro, *metrics.classes.values()]:
        estimates += [scores.precision, scores.recall, scores.f1]
    assert all(estimate.low < estimate.value < estimate.high for estimate in estimates)


def test_intervals_use_their_denominators() -> None:
    """Accuracy over all images, recall over a class's images, precision over the images predicted as it."""
    metrics = metrics_of([[30, 10], [5, 55]], ["cat", "dog"])
    assert metrics.accuracy == wilson_interval(85, 100)
    assert metrics.classes["cat"].recall == wilson_interval(30, 40)
    assert metrics.classes["cat"].precision == wilson_interval(30, 35)


def test_a_class_without_images_is_defined() -> None:
    """It has no recall, its false positives give precision 0, and the macro averages leave it out."""
    metrics = metrics_of([[8, 0, 2], [0, 10, 0], [0, 0, 0]], ["cat", "dog", "hare"])
    hare = metrics.classes["hare"].to_json()
    assert hare["recall"] == {"value": None, "low": 0.0, "high": 1.0}
    assert (hare["precision"]["value"], hare["f1"]["value"], hare["support"]) == (0.0, 0.0, 0)
    assert metrics.macro.recall.value == pytest.approx((0.8 + 1.0) / 2)


def test_a_class_that_was_never_predicted_is_defined() -> None:
    """Its precision is undefined, and counts as 0 in the average, as in scikit-learn."""
    metrics = metrics_of([[8, 2, 0], [1, 9, 0], [3, 3, 0]], ["cat", "dog", "hare"])
    assert metrics.classes["hare"].precision.to_json()["value"] is None
    assert metrics.classes["hare"].f1.value == 0.0
    assert metrics.macro.precision.value == pytest.approx((8 / 12 + 9 / 14 + 0) / 3)


def test_a_class_without_images_and_predictions_is_defined() -> None:
    """All its metrics are undefined."""
    metrics = metrics_of([[8, 2, 0], [1, 9, 0], [0, 0, 0]], ["cat", "dog", "hare"])
    values = metrics.classes["hare"].to_json()
    assert [values[name]["value"] for name in ("precision", "recall", "f1")] == [None, None, None]


def test_no_mistakes_leave_an_interval() -> None:
    """With every prediction correct, averages are 1 with an interval below, wider where a class is small."""
    even = metrics_of([[50, 0], [0, 50]], ["cat", "dog"]).macro
    uneven = metrics_of([[97, 0], [0, 3]], ["cat", "dog"]).macro
    assert even.f1.value == uneven.f1.value == 1.0
    assert even.f1.low == pytest.approx(
        wilson_interval(100, 100).low, abs=0.005
    )  # of equal classes it is that of the accuracy
    assert uneven.f1.low == pytest.approx(1 - (1 - wilson_interval(3, 3).low) / 2)


def test_the_baseline_is_the_most_frequent_class() -> None:
    """Its name and its share; the first one of equals."""
    assert metrics_of([[10, 0], [0, 30]], ["cat", "dog"]).majority_baseline.to_json() == {
        "class": "dog",
        "accuracy": 0.75,
    }
    assert metrics_of([[10, 0], [0, 10]], ["cat", "dog"]).majority_baseline.name == "cat"


def test_the_first_of_equal_probabilities_is_predicted() -> None:
    """In the confusion matrix, and in `predicted_classes`, `is_correct` and `count_correct`."""
    metrics = compute_metrics(np.array([0, 1]), np.full((2, 2), 0.5), classes=["cat", "dog"], split="test")
    assert metrics.confusion.tolist() == [[1, 0], [1, 0]]
    scores = np.array([[0.5, 0.5], [0.5, 0.5], [-3.0, 4.0]], np.float32)  # of logits too
    assert predicted_classes(scores).tolist() == [0, 0, 1]
    assert int(predicted_classes(scores[2])) == 1
    assert is_correct(scores, np.array([0, 1, 1])).tolist() == [True, False, True]
    assert count_correct(scores, np.array([0, 1, 1])) == 2


def test_json_has_exactly_the_promised_shape() -> None:
    """The keys of metrics.json, plain numbers only, and null in place of NaN."""
    metrics = metrics_of([[8, 2, 0], [1, 9, 0], [0, 0, 0]], ["cat", "dog", "野兔"]).to_json()
    assert list(metrics) == [
        *("accuracy", "log_loss", "count", "split", "mirrored", "classes"),
        *("macro", "majority_baseline", "confusion", "format"),
    ]
    assert list(metrics["classes"]) == ["cat", "dog", "野兔"]
    assert list(metrics["classes"]["cat"]) == ["precision", "recall", "f1", "support"]
    assert list(metrics["macro"]) == ["precision", "recall", "f1"]
    assert list(metrics["accuracy"]) == list(metrics["classes"]["cat"]["f1"]) == ["value", "low", "high"]
    assert metrics["confusion"] == [[8, 2, 0], [1, 9, 0], [0, 0, 0]]
    assert metrics["format"] == 1
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


@pytest.mark.parametrize(
    ("labels", "probabilities", "classes", "message"),
    [
        ([], np.empty((0, 2)), ["a", "b"], r"found labels of shape \(0,\); expected \(n,\) with n at least 1"),
        ([0, 1], np.full((2, 3), 0.3), ["a", "b"], r"found probabilities of shape \(2, 3\); expected \(2, 2\)"),
        ([0, 1], np.array([[3.0, -1.0], [0.0, 1.0]]), ["a", "b"], r"found probabilities from -1.0 to 3.0; expected 0"),
        ([0, 1], np.array([[np.nan, 0.0], [0.0, 1.0]]), ["a", "b"], r"found probabilities from nan to nan; expected 0"),
        ([0, 1], np.full((2, 2), 0.5), ["a", "a"], r"found class names \['a', 'a'\]; expected each once"),
        ([0, 2], np.full((2, 2), 0.5), ["a", "b"], r"found labels from 0 to 2; expected integers from 0 to 1"),
    ],
)
def test_wrong_arguments_are_rejected(
    labels: list[int], probabilities: NDArray[np.float64], classes: list[str], message: str
) -> None:
    """Logits, NaN, a wrong shape, equal names: each error names it."""
    with pytest.raises(ValueError, match=message):
        compute_metrics(np.array(labels, np.int64), probabilities, classes=classes, split="test")


@pytest.mark.slow
def test_many_classes_of_few_images() -> None:
    """300 classes of about 10 images each: each has its metrics, and the averages lie within their intervals."""
    labels, probabilities = draw_predictions(300, 3000, skill=0.2)
    metrics = compute_metrics(labels, probabilities, classes=[str(number) for number in range(300)], split="test")
    assert len(metrics.classes) == 300
    assert 0 < metrics.macro.f1.low < metrics.macro.f1.high < 1
