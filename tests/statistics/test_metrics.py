"""Metrics: the figures that scikit-learn gives, with defined answers at the edges."""

from __future__ import annotations

import json
import math
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference

from convscope.statistics.intervals import wilson
from convscope.statistics.metrics import (
    Metrics,
    confusion_matrix,
    format_confusion,
    log_losses,
    num_columns,
    shorten,
    summarize,
)

Answers = tuple[NDArray[np.int64], NDArray[np.float32]]


def draw_answers(num_classes: int, count: int, *, skill: float = 0.5, seed: int = 0) -> Answers:
    """True classes (count,) and probabilities (count, num_classes) of a model that is often right."""
    random = np.random.default_rng(seed)
    truth = random.integers(num_classes, size=count)
    scores = random.random((count, num_classes))
    scores[np.arange(count), truth] += skill
    return truth, (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def judge(confusion: list[list[int]], classes: list[str]) -> Metrics:
    """The metrics of a model that answered with certainty, as a confusion matrix tells."""
    cells = np.array(confusion)
    truth = np.repeat(np.arange(len(cells)), cells.sum(axis=1))
    guess = np.concatenate([np.repeat(np.arange(len(cells)), row) for row in cells])
    return summarize(truth, np.eye(len(cells), dtype=np.float32)[guess], classes=classes, split="validation")


def width(line: str) -> int:
    """How many columns a terminal needs for a line."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in line)


@settings(max_examples=50)
@given(st.integers(2, 6), st.integers(0, 300), st.integers(0, 99))
def test_confusion_matrix_is_scikit_learns(num_classes: int, count: int, seed: int) -> None:
    """Rows true, columns predicted, also with classes that nobody is of, and with no images at all."""
    random = np.random.default_rng(seed)
    truth, guess = random.integers(num_classes, size=(2, count), dtype=np.int32)
    ours = confusion_matrix(truth, guess, num_classes=num_classes)
    assert ours.dtype == np.int64
    if count:
        assert np.array_equal(ours, reference.confusion_matrix(truth, guess, labels=range(num_classes)))
    else:
        assert np.array_equal(ours, np.zeros((num_classes, num_classes)))


def test_confusion_matrix_counts_beyond_small_integers() -> None:
    """Labels of one byte do not overflow when their cells are numbered."""
    truth = np.array([199, 199, 0], np.uint8)
    confusion = confusion_matrix(truth, truth, num_classes=200)
    assert confusion[199, 199] == 2
    assert confusion.sum() == 3


@pytest.mark.parametrize(
    ("truth", "guess", "message"),
    [
        ([0, 3], [0, 1], r"found truth from 0 to 3; expected numbers of classes, 0 to 2"),
        ([0, 1], [-1, 1], r"found guess from -1 to 1; expected numbers of classes, 0 to 2"),
        ([0, 1, 1], [0, 1], r"found truth of shape \(3,\) and guess of shape \(2,\); expected both \(n,\)"),
    ],
)
def test_confusion_matrix_refuses_what_is_no_class(truth: list[int], guess: list[int], message: str) -> None:
    """A refused image's label -1, or a class too many, is the caller's bug, and is named."""
    with pytest.raises(ValueError, match=message):
        confusion_matrix(np.array(truth), np.array(guess), num_classes=3)


def test_log_loss_is_scikit_learns() -> None:
    """Also where a probability is exactly 0, and in float64 from float32."""
    truth, probabilities = draw_answers(5, 300)
    probabilities[:3] = np.eye(5, dtype=np.float32)[(truth[:3] + np.arange(3)) % 5]
    losses = log_losses(truth, probabilities)
    assert losses.dtype == np.float64
    assert losses.mean() == pytest.approx(reference.log_loss(truth, probabilities, labels=range(5)), rel=1e-5)
    assert losses.max() == pytest.approx(15.94, abs=0.01)


def test_log_loss_of_certainty_is_plain_zero() -> None:
    """Not minus zero, and not below zero where rounding brings a probability over 1."""
    losses = log_losses(np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0001]], np.float32))
    assert [math.copysign(1, loss) * loss for loss in losses] == [0.0, 0.0]
    assert str(losses[0]) == "0.0"


@pytest.mark.parametrize("num_classes", [2, 7])
def test_scores_are_scikit_learns(num_classes: int) -> None:
    """Accuracy, and precision, recall, F1 and support of each class and on average."""
    truth, probabilities = draw_answers(num_classes, 400)
    classes = [f"class {number}" for number in range(num_classes)]
    judged = summarize(truth, probabilities, classes=classes, split="test")
    guess = probabilities.argmax(axis=1)
    expected = np.array(reference.precision_recall_fscore_support(truth, guess)).T  # class by class
    for row, each in zip(expected, judged.classes.values(), strict=True):
        assert (each.precision.value, each.recall.value, each.f1.value, each.support) == pytest.approx(tuple(row))
    means = (judged.macro.precision.value, judged.macro.recall.value, judged.macro.f1.value)
    assert means == pytest.approx(reference.precision_recall_fscore_support(truth, guess, average="macro")[:3])
    assert judged.accuracy.value == reference.accuracy_score(truth, guess)
    assert list(judged.classes) == classes
    assert (judged.count, judged.split) == (400, "test")


def test_every_interval_holds_its_value() -> None:
    """low <= value <= high for all figures of a model, and none is a point."""
    truth, probabilities = draw_answers(6, 120)
    judged = summarize(truth, probabilities, classes=list("abcdef"), split="test")
    figures = [judged.accuracy, judged.log_loss]
    for scores in [judged.macro, *judged.classes.values()]:
        figures += [scores.precision, scores.recall, scores.f1]
    assert all(figure.low < figure.value < figure.high for figure in figures)


def test_intervals_are_of_the_right_counts() -> None:
    """Accuracy over all images, recall over a class's images, precision over the images called so."""
    judged = judge([[30, 10], [5, 55]], ["cat", "dog"])
    assert judged.accuracy == wilson(85, 100)
    assert judged.classes["cat"].recall == wilson(30, 40)
    assert judged.classes["cat"].precision == wilson(30, 35)


def test_a_class_without_images_is_defined() -> None:
    """It has no recall, its false alarms are its precision, and the macro averages pass it over."""
    judged = judge([[8, 0, 2], [0, 10, 0], [0, 0, 0]], ["cat", "dog", "hare"])
    hare = judged.classes["hare"].to_json()
    assert hare["recall"] == {"value": None, "low": 0.0, "high": 1.0}
    assert (hare["precision"]["value"], hare["f1"]["value"], hare["support"]) == (0.0, 0.0, 0)
    assert judged.macro.recall.value == pytest.approx((0.8 + 1.0) / 2)


def test_a_class_that_was_never_predicted_is_defined() -> None:
    """It has no precision of its own, and counts as 0 in the average, as in scikit-learn."""
    judged = judge([[8, 2, 0], [1, 9, 0], [3, 3, 0]], ["cat", "dog", "hare"])
    assert judged.classes["hare"].precision.to_json()["value"] is None
    assert judged.classes["hare"].f1.value == 0.0
    assert judged.macro.precision.value == pytest.approx((8 / 12 + 9 / 14 + 0) / 3)


def test_a_class_that_is_nowhere_is_defined() -> None:
    """No image of it, none called so: every figure of it is unknown."""
    judged = judge([[8, 2, 0], [1, 9, 0], [0, 0, 0]], ["cat", "dog", "hare"])
    figures = judged.classes["hare"].to_json()
    assert [figures[name]["value"] for name in ("precision", "recall", "f1")] == [None, None, None]


def test_no_mistake_is_not_no_doubt() -> None:
    """With every answer right, averages are 1 but their intervals are not, and are wider where a class is small."""
    even = judge([[50, 0], [0, 50]], ["cat", "dog"]).macro
    uneven = judge([[97, 0], [0, 3]], ["cat", "dog"]).macro
    assert even.f1.value == uneven.f1.value == 1.0
    assert even.f1.low == pytest.approx(wilson(100, 100).low, abs=0.005)  # of even classes it is the accuracy's
    assert uneven.f1.low == pytest.approx(1 - (1 - wilson(3, 3).low) / 2)


def test_the_baseline_is_the_most_frequent_class() -> None:
    """Its name and its share; the first one of equals."""
    assert judge([[10, 0], [0, 30]], ["cat", "dog"]).majority_baseline.to_json() == {"class": "dog", "accuracy": 0.75}
    assert judge([[10, 0], [0, 10]], ["cat", "dog"]).majority_baseline.name == "cat"


def test_the_first_of_equal_probabilities_is_the_answer() -> None:
    """So that the answer does not depend on chance."""
    judged = summarize(np.array([0, 1]), np.full((2, 2), 0.5), classes=["cat", "dog"], split="test")
    assert judged.confusion.tolist() == [[1, 0], [1, 0]]


def test_json_has_exactly_the_promised_shape() -> None:
    """The keys of metrics.json, plain numbers only, and no NaN even where a class is nowhere."""
    judged = judge([[8, 2, 0], [1, 9, 0], [0, 0, 0]], ["cat", "dog", "野兔"]).to_json()
    assert list(judged) == [
        *("accuracy", "log_loss", "count", "split", "mirrored", "classes"),
        *("macro", "majority_baseline", "confusion", "format"),
    ]
    assert list(judged["classes"]) == ["cat", "dog", "野兔"]
    assert list(judged["classes"]["cat"]) == ["precision", "recall", "f1", "support"]
    assert list(judged["macro"]) == ["precision", "recall", "f1"]
    assert list(judged["accuracy"]) == list(judged["classes"]["cat"]["f1"]) == ["value", "low", "high"]
    assert judged["confusion"] == [[8, 2, 0], [1, 9, 0], [0, 0, 0]]
    assert judged["format"] == 1
    assert json.loads(json.dumps(judged, allow_nan=False)) == judged


@pytest.mark.parametrize(
    ("truth", "probabilities", "classes", "message"),
    [
        ([], np.empty((0, 2)), ["a", "b"], r"found truth of shape \(0,\); expected \(n,\) with n at least 1"),
        ([0, 1], np.full((2, 3), 0.3), ["a", "b"], r"found probabilities of shape \(2, 3\); expected \(2, 2\)"),
        ([0, 1], np.array([[3.0, -1.0], [0.0, 1.0]]), ["a", "b"], r"found probabilities from -1.0 to 3.0; expected 0"),
        ([0, 1], np.array([[np.nan, 0.0], [0.0, 1.0]]), ["a", "b"], r"found probabilities from nan to nan; expected 0"),
        ([0, 1], np.full((2, 2), 0.5), ["a", "a"], r"found class names \['a', 'a'\]; expected each once"),
        ([0, 2], np.full((2, 2), 0.5), ["a", "b"], r"found truth from 0 to 2; expected numbers of classes, 0 to 1"),
    ],
)
def test_summarize_refuses_what_does_not_fit(
    truth: list[int], probabilities: NDArray[np.float64], classes: list[str], message: str
) -> None:
    """Logits, NaN, a wrong shape, equal names: each is the caller's bug, and is named."""
    with pytest.raises(ValueError, match=message):
        summarize(np.array(truth, np.int64), probabilities, classes=classes, split="test")


def test_many_classes_of_few_images_are_judged() -> None:
    """300 classes of about 10 images each: every one has its figures, and the averages lie within their intervals."""
    truth, probabilities = draw_answers(300, 3000, skill=0.2)
    judged = summarize(truth, probabilities, classes=[str(number) for number in range(300)], split="test")
    assert len(judged.classes) == 300
    assert 0 < judged.macro.f1.low < judged.macro.f1.high < 1


def test_a_small_matrix_is_a_table() -> None:
    """Rows true, columns predicted, counts under their names."""
    assert format_confusion(np.array([[1841, 159], [20, 1980]]), ["cat", "dog"]).split("\n") == [
        "      predicted",
        "true    cat    dog",
        "cat   1,841    159",
        "dog      20  1,980",
    ]


def test_a_table_aligns_chinese_names() -> None:
    """Each line takes as many columns, since a Chinese letter takes two."""
    lines = format_confusion(np.array([[9, 1, 0], [0, 8, 2], [1, 2, 10]]), ["猫", "金毛寻回犬", "dog"]).split("\n")
    assert {width(line) for line in lines[1:]} == {width(lines[1])}
    assert "猫" in lines[1]
    assert lines[3].startswith("金毛寻回犬  ")


@pytest.mark.parametrize("name", ["soft-coated wheaten terrier", "金毛寻回犬和拉布拉多犬"])
def test_a_table_fits_a_terminal(name: str) -> None:
    """Twelve long names are shortened with an ellipsis, never wider than 100 columns, never as a list."""
    text = format_confusion(np.arange(144).reshape(12, 12), [f"{name} {number}" for number in range(12)])
    lines = text.split("\n")
    assert len(lines) == 14
    assert max(map(width, lines)) <= 100
    assert lines[1].count("…") == 12


def test_many_classes_are_a_list_of_the_largest_confusions() -> None:
    """Largest first, twenty at most, right answers left out, the rest counted."""
    confusion = np.diag([100] * 30)
    confusion[3, 4] = 41
    confusion[7, 1] = 1204
    confusion[9, 10:29] = 1
    lines = format_confusion(confusion, [f"kind{number}" for number in range(30)]).split("\n")
    assert lines[:3] == ["kind7 taken for kind1: 1,204", "kind3 taken for kind4: 41", "kind9 taken for kind10: 1"]
    assert len(lines) == 21
    assert lines[-1] == "and 1 rarer confusion"


def test_many_classes_without_mistakes_say_so() -> None:
    """An empty list would look like a fault."""
    assert format_confusion(np.eye(13, dtype=np.int64), list("abcdefghijklm")) == "no image was taken for another class"


def test_counts_too_wide_for_a_table_are_a_list() -> None:
    """Twelve columns of eight digits do not fit into 100."""
    text = format_confusion(np.full((12, 12), 20_123_456), list("abcdefghijkl"))
    assert text.startswith("a taken for b: 20,123,456\n")


def test_a_class_name_cannot_forge_a_line() -> None:
    """A folder's name may hold line ends and terminal commands: they are spelled out."""
    text = format_confusion(np.eye(2, dtype=np.int64), ["cat\ndog", "\x1b[31mred"])
    assert "cat\\ndog" in text
    assert "\x1b" not in text
    assert len(text.split("\n")) == 4


@given(st.text("a \u0301é猫😀…\n\x1b\udcff", max_size=40), st.integers(2, 30))
def test_shortened_names_fit(name: str, columns: int) -> None:
    """Whatever the letters, the text takes no more columns than it may, and short names stay as they are."""
    short = shorten(name, columns)
    assert num_columns(short) <= columns
    assert short.isprintable()
    if name.isprintable() and num_columns(name) <= columns:
        assert short == name
