"""An evaluation as text for a terminal: accuracy, log loss, baseline, scores by class, confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from convscope.evaluation.confusion_text import format_confusion
from convscope.formatting import num_columns, plural, printable, shorten

if TYPE_CHECKING:
    from convscope.evaluation.evaluation import Evaluation, TrainingOverlap
    from convscope.statistics.intervals import Estimate
    from convscope.statistics.metrics import Metrics, Scores

NAME_COLUMNS = 24
MIN_NAME_COLUMNS = 8
MAX_LISTED_FILES = 5


def describe(evaluation: Evaluation) -> str:
    """An evaluation as text for a terminal."""
    metrics = evaluation.metrics
    baseline = metrics.majority_baseline
    images = f"{plural(metrics.count, 'image')}, split: {metrics.split}"
    lines = [
        f"accuracy {metrics.accuracy.value:.2%}  ({_interval(metrics.accuracy, '.2%')}, {images})",
        *["test-time augmentation: probabilities averaged over each image and its horizontal flip"] * metrics.mirrored,
        *_overlap_lines(evaluation.overlap, metrics.count),
        f"log loss {metrics.log_loss.value:.4f}  ({_interval(metrics.log_loss, '.4f')})",
        f"baseline (always {printable(baseline.name)!r}) {baseline.accuracy:.2%}",
        "",
        *_class_lines(metrics),
        "",
        format_confusion(metrics.confusion, list(metrics.classes)),
        *_note_lines(evaluation),
    ]
    return "\n".join(lines)


def _interval(estimate: Estimate, format_spec: str) -> str:
    """The 95 % interval, named; of a single loss, which has no spread, only that it is unknown."""
    if math.isinf(estimate.high):
        return "95 % interval unknown"
    return f"95 % interval {estimate.low:{format_spec}} to {estimate.high:{format_spec}}"


def _overlap_lines(overlap: TrainingOverlap | None, count: int) -> Iterator[str]:
    if overlap is None:
        return
    verb = "was" if overlap.images == 1 else "were"
    trained_on = f"{overlap.images:,} of {plural(count, 'image')} {verb} in the training set"
    yield f"{trained_on}: expect a lower accuracy on new images"
    if overlap.others:
        accuracy = overlap.accuracy
        yield f"accuracy on the other {overlap.others:,}: {accuracy.value:.2%}  ({_interval(accuracy, '.2%')})"


def _class_lines(metrics: Metrics) -> Iterator[str]:
    names = {name: shorten(name, NAME_COLUMNS) for name in metrics.classes}
    width = max(MIN_NAME_COLUMNS, *map(num_columns, names.values()))
    yield f"{'class':<{width}}  precision  recall     F1  images"
    for name, scores in metrics.classes.items():
        yield _score_line(names[name] + " " * (width - num_columns(names[name])), scores, scores.support)
    yield _score_line(f"{'macro':<{width}}", metrics.macro, metrics.count)


def _score_line(name: str, scores: Scores, count: int) -> str:
    columns = ((scores.precision, 11), (scores.recall, 8), (scores.f1, 7))
    cells = (
        ("–" if math.isnan(estimate.value) else f"{estimate.value:.1%}").rjust(width) for estimate, width in columns
    )
    return f"{name}{''.join(cells)}{count:>8,}"


def _note_lines(evaluation: Evaluation) -> Iterator[str]:
    """What limits these metrics, which images and classes they leave out, and where the mistakes are."""
    if evaluation.selected_epoch:
        yield "these images also selected the best epoch; for an unbiased accuracy train with a test split (`test=0.1`)"
    if evaluation.absent:
        yield f"no images of: {', '.join(map(printable, evaluation.absent))}"
    if evaluation.unknown:
        yield f"skipped, not a class of the model: {', '.join(map(printable, evaluation.unknown))}"
    for path, reason in evaluation.unreadable[:MAX_LISTED_FILES]:
        yield f"skipped, unreadable: {printable(path)}: {reason}"
    if (num_more := len(evaluation.unreadable) - MAX_LISTED_FILES) > 0:
        yield f"... and {num_more:,} more unreadable"
    if evaluation.mistakes:
        table = evaluation.folder / "mistakes.csv"
        yield f"{plural(len(evaluation.mistakes), 'mistake')}, most confident first, in {table}"
    else:
        yield "no mistakes"
