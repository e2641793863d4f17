"""Answers + truth -> figures with error bars: accuracy, log loss, precision, recall, F1, and the confusion matrix.

Everything but the log loss is read off the confusion matrix. A figure is never made up: it is NaN (null in JSON) where
its own denominator is 0, and says so by an interval from 0 to 1.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.formatting import plural, printable
from convscope.statistics.intervals import Figure, bootstrap_confusion, f1_interval, mean_interval, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
PROBABILITY_SLACK = 1e-3  # a softmax in low precision may pass 1 by its rounding
TERMINAL_COLUMNS = 100
NAME_COLUMNS = 24
LEAST_NAME_COLUMNS = 4
MOST_TABLE_CLASSES = 12
LISTED_CONFUSIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Precision, recall and F1, of one class or averaged over classes."""

    precision: Figure
    recall: Figure
    f1: Figure

    def to_json(self) -> dict[str, Any]:
        """Each figure by its name."""
        return {"precision": self.precision.to_json(), "recall": self.recall.to_json(), "f1": self.f1.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMetrics(Scores):
    """The scores of one class, of which `support` images were judged."""

    support: int

    def to_json(self) -> dict[str, Any]:
        """The scores, and the support."""
        return {**Scores.to_json(self), "support": self.support}


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What is reached without looking: always answer with the most frequent class."""

    name: str
    accuracy: float

    def to_json(self) -> dict[str, Any]:
        """The class and the accuracy, 0..1."""
        return {"class": self.name, "accuracy": self.accuracy}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metrics:
    """How well a model did on the images of one split.

    Attributes:
        accuracy: the share of right answers, Wilson interval.
        log_loss: the mean of `log_losses`, in nats.
        count: how many images were judged.
        split: which ones.
        mirrored: whether each answer is averaged with that to the image's mirror image.
        classes: by name, in the order of the confusion matrix. Precision and recall have Wilson intervals, F1 as in
            `f1_interval`. A class that no image is of has no recall, one that was never predicted has no precision.
        macro: averages over the classes that some image is of, with bootstrap intervals; the precision of one of them
            that was never predicted counts as 0, as in scikit-learn.
        majority_baseline: the accuracy to beat.
        confusion: (classes, classes) int64, rows true, columns predicted.
    """

    accuracy: Figure
    log_loss: Figure
    count: int
    split: str
    mirrored: bool
    classes: dict[str, ClassMetrics]
    macro: Scores
    majority_baseline: Baseline
    confusion: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """What metrics.json holds."""
        return {
            "accuracy": self.accuracy.to_json(),
            "log_loss": self.log_loss.to_json(),
            "count": self.count,
            "split": self.split,
            "mirrored": self.mirrored,
            "classes": {name: each.to_json() for name, each in self.classes.items()},
            "macro": self.macro.to_json(),
            "majority_baseline": self.majority_baseline.to_json(),
            "confusion": self.confusion.tolist(),
            "format": FORMAT,
        }


def count_correct(scores: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> int:
    """How many images a model is right about: the one place that says when it is.

    Args:
        scores: (n, classes) probabilities or logits; the first of equal ones counts as predicted.
        labels: (n,) the true classes.
    """
    return int((scores.argmax(axis=1) == labels).sum())


def summarize(
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    *,
    classes: Sequence[str],
    split: str,
    mirrored: bool = False,
) -> Metrics:
    """Judge a model's answers.

    Args:
        truth: (n,) integers, 0..classes-1, n at least 1.
        probabilities: (n, classes), 0..1; the answer is the most probable class, the first one of equals.
        classes: the names of the classes, all different.
        split: which images these are, for the record.
        mirrored: how the probabilities came about, for the record.

    Raises:
        ValueError: the arguments are not as described.
    """
    _check_answers(truth, probabilities, classes)
    confusion = confusion_matrix(truth, probabilities.argmax(axis=1), num_classes=len(classes))
    support = confusion.sum(axis=1)
    most = int(support.argmax())
    return Metrics(
        accuracy=wilson(int(confusion.trace()), len(truth)),
        log_loss=mean_interval(log_losses(truth, probabilities), least=0.0),
        count=len(truth),
        split=split,
        mirrored=mirrored,
        classes=dict(zip(classes, _judge_classes(confusion), strict=True)),
        macro=_average(confusion),
        majority_baseline=Baseline(name=classes[most], accuracy=int(support[most]) / len(truth)),
        confusion=confusion,
    )


def confusion_matrix(truth: NDArray[np.integer], guess: NDArray[np.integer], *, num_classes: int) -> NDArray[np.int64]:
    """Count how often each class was taken for each.

    Args:
        truth: (n,) integers, 0..num_classes-1.
        guess: (n,) integers, 0..num_classes-1.

    Returns:
        (num_classes, num_classes) int64, rows true, columns predicted.

    Raises:
        ValueError: the shapes differ, or a number is not that of a class.
    """
    if truth.shape != guess.shape or truth.ndim != 1:
        raise ValueError(f"found truth of shape {truth.shape} and guess of shape {guess.shape}; expected both (n,)")
    for name, numbers in (("truth", truth), ("guess", guess)):
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < num_classes:
            found = f"{name} from {numbers.min()} to {numbers.max()}"
            raise ValueError(f"found {found}; expected numbers of classes, 0 to {num_classes - 1}")
    cells = truth.astype(np.int64) * num_classes + guess  # the cells of the matrix, counted row by row
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64, copy=False)


def log_losses(truth: NDArray[np.integer], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """How surprised the model was by each image: minus the natural logarithm of its true class's probability.

    Probabilities below 1.2e-7 count as that (a loss of 15.9): what float32 cannot tell from 0 beside 1 is rounding, and
    one such image must not decide the mean. scikit-learn's `log_loss` draws the same line.

    Args:
        truth: (n,) integers, 0..classes-1.
        probabilities: (n, classes), 0..1.

    Returns:
        (n,) float64, 0 to 15.9.
    """
    given = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    losses: NDArray[np.float64] = np.abs(np.log(np.clip(given, LEAST_PROBABILITY, 1.0)))  # abs: no -0.0
    return losses


def format_confusion(confusion: NDArray[np.int64], classes: Sequence[str]) -> str:
    """The confusion matrix as text for a terminal of 100 columns.

    Up to 12 classes are a table, rows true, columns predicted. Of more, or where the counts are too wide for a table,
    the largest confusions are listed.

    Args:
        confusion: (classes, classes), rows true, columns predicted.
        classes: the names of the classes; long ones are shortened, East Asian ones take two columns a letter.
    """
    names = [shorten(name, NAME_COLUMNS) for name in classes]
    table = _tabulate(confusion, names) if len(names) <= MOST_TABLE_CLASSES else ""
    return table or _list_confusions(confusion, names)


def shorten(name: str, columns: int) -> str:
    """`name`, cut with an ellipsis so that it takes at most `columns` columns; what is not printable is spelled out."""
    name = printable(name)
    if num_columns(name) <= columns:
        return name
    while num_columns(name) > columns - 1:
        name = name[:-1]
    return name + "…"


def num_columns(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian letters two, accents that join the letter before none."""
    return sum(1 + (unicodedata.east_asian_width(each) in "WF") for each in text if not unicodedata.combining(each))


def _check_answers(truth: NDArray[np.integer], probabilities: NDArray[np.floating], classes: Sequence[str]) -> None:
    if truth.ndim != 1 or len(truth) == 0:
        raise ValueError(f"found truth of shape {truth.shape}; expected (n,) with n at least 1")
    if probabilities.shape != (len(truth), len(classes)):
        raise ValueError(
            f"found probabilities of shape {probabilities.shape}; expected ({len(truth)}, {len(classes)}): image, class"
        )
    least, most = float(probabilities.min()), float(probabilities.max())
    if not (least >= 0 and most <= 1 + PROBABILITY_SLACK):  # NaN fails both
        raise ValueError(f"found probabilities from {least} to {most}; expected 0 to 1, as after a softmax")
    if len(set(classes)) < len(classes):
        raise ValueError(f"found class names {list(classes)}; expected each once")


def _judge_classes(confusion: NDArray[np.int64]) -> list[ClassMetrics]:
    """The figures of each class, in order."""
    return [
        ClassMetrics(
            precision=wilson(hits, guessed),
            recall=wilson(hits, support),
            f1=f1_interval(hits, support - hits, guessed - hits),
            support=support,
        )
        for hits, support, guessed in _tally(confusion).T.tolist()
    ]


def _average(confusion: NDArray[np.int64]) -> Scores:
    """The macro averages, with intervals of the bootstrap, or of `_flawless` where it has nothing to vary."""
    if confusion.trace() == confusion.sum():
        flawless = _flawless(confusion)
        return Scores(precision=flawless, recall=flawless, f1=flawless)
    precision, recall, f1 = bootstrap_confusion(confusion, _macro)
    return Scores(precision=precision, recall=recall, f1=f1)


def _macro(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """(3,) float64: precision, recall and F1, each averaged over the classes that some image is of."""
    hits, support, guessed = _tally(confusion)[:, confusion.any(axis=1)]
    each = (hits / np.maximum(guessed, 1), hits / support, 2 * hits / (support + guessed))
    return np.array([values.mean() for values in each])


def _flawless(confusion: NDArray[np.int64]) -> Figure:
    """1, down to where an average would be if all the mistakes that can have gone unseen were in the smallest class."""
    support = confusion.diagonal()
    present = support[support > 0]
    smallest = int(present.min())
    return Figure(1.0, 1.0 - (1.0 - wilson(smallest, smallest).low) / len(present), 1.0)


def _tally(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """(3, classes): for each class the images hit, the images that are of it, the images that were called so."""
    return np.stack([confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)])


def _tabulate(confusion: NDArray[np.int64], names: Sequence[str]) -> str:
    """The matrix as a table; "" where it is too wide for the terminal even with the names cut short."""
    counts = [[f"{count:,}" for count in row] for row in confusion.tolist()]
    margin = max(map(num_columns, [*names, "true"]))
    widths = _column_widths(names, counts, room=TERMINAL_COLUMNS - margin)
    if not widths:
        return ""
    head = [shorten(name, width) for name, width in zip(names, widths, strict=True)]
    lines = [" " * (margin + 2) + "predicted"]
    for name, row in zip(["true", *names], [head, *counts], strict=True):
        padded = (" " * (width - num_columns(cell)) + cell for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([name + " " * (margin - num_columns(name)), *padded]))
    return "\n".join(lines)


def _column_widths(names: Sequence[str], counts: Sequence[Sequence[str]], *, room: int) -> list[int]:
    """The widths of a table's columns, names cut no further than they must be; empty where there is no room."""
    widest = [max(map(len, column)) for column in zip(*counts, strict=True)]
    for limit in range(NAME_COLUMNS, LEAST_NAME_COLUMNS - 1, -1):
        widths = [max(min(num_columns(name), limit), least) for name, least in zip(names, widest, strict=True)]
        if sum(widths) + 2 * len(widths) <= room:
            return widths
    return []


def _list_confusions(confusion: NDArray[np.int64], names: Sequence[str]) -> str:
    """The largest confusions, one a line, the largest first; equal ones in the order of the matrix."""
    mistakes = confusion - np.diag(confusion.diagonal())
    largest = np.argsort(-mistakes, axis=None, kind="stable")[:LISTED_CONFUSIONS].tolist()
    pairs = [divmod(cell, len(names)) for cell in largest if mistakes.flat[cell]]
    lines = [f"{names[true]} taken for {names[guess]}: {mistakes[true, guess]:,}" for true, guess in pairs]
    left = int(np.count_nonzero(mistakes)) - len(lines)
    if left:
        lines.append(f"and {plural(left, 'rarer confusion')}")
    return "\n".join(lines or ["no image was taken for another class"])
