"""The verb `evaluate`: how far a model can be trusted, on its own held-out images or on any labelled folder."""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convscope.bundle.bundle import Bundle, open_bundle
from convscope.datasets.dataset import read_samples
from convscope.datasets.listing import Item, list_folder
from convscope.errors import FolderError
from convscope.evaluation.mistakes import Mistake, find_mistakes, write_mistakes
from convscope.files import read_json, write_json
from convscope.formatting import plural, printable
from convscope.prediction.inference import answer_files
from convscope.progress import progress
from convscope.run import Run, open_run
from convscope.statistics.intervals import Figure, wilson
from convscope.statistics.metrics import Metrics, Scores, format_confusion, summarize

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

SPLIT_ORDER = ("test", "validation")  # which speaks for a model: the one that nothing was chosen on, if there is one


@dataclass(frozen=True, slots=True)
class Truth:
    """Labelled files to judge by: `items` below `root`, called `split` in the result, and those `refused`, and why."""

    root: Path
    items: tuple[Item, ...]
    split: str
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The readable images with what the model says of them: n paths and hashes, (n,) labels, (n, classes) float32."""

    paths: list[str]
    sha256: list[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Learned:
    """How many of the judged images the model learned from, and its accuracy on the `others`."""

    images: int
    others: int
    accuracy: Figure


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model judged.

    Attributes:
        metrics: every figure, with its interval.
        mistakes: worst first.
        absent: classes of the model that no judged image is of. unknown: classes of the folder that the model does not
            have, whose images are left out. unreadable: images left out since they cannot be read, with the reasons.
        folder: where metrics.json, mistakes.csv and the figure were written.
        chose_epoch: whether these images also chose the epoch whose weights the model has.
        learned: of a folder that a run judges, how much of it the run was trained on; None: nothing that is known of.
    """

    metrics: Metrics
    mistakes: tuple[Mistake, ...]
    absent: tuple[str, ...]
    unknown: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    folder: Path
    chose_epoch: bool = False
    learned: Learned | None = None


def evaluate(
    model: Path, data: Path | None = None, *, split: str | None = None, mirror: bool = False, out: Path | None = None
) -> Evaluation:
    """Judge a model and write metrics.json, mistakes.csv and the confusion matrix as a figure.

    Args:
        model: a run folder; with `data` also a .onnx file.
        data: a labelled folder or manifest, matched by class name; None: the run's own held-out images.
        split: `train`, `validation` or `test`; None: the test images where there are any, else those of validation.
        mirror: average each answer with that to the image's mirror image, as `predict` does with it.
        out: where the results go; None: the run folder, with `mirror` or for `data` a folder of its own in it.

    Raises:
        BundleError, RunError: there is no model. FolderError: there is nothing to judge by.
    """
    bundle = open_bundle(model)
    if data is None and model.is_file():
        raise FolderError(
            found=f"{model} and no images to judge it by",
            expected="a labelled folder beside a .onnx file",
            fix="name one after it, or give the run folder instead",
        )
    truth = _truth_of_run(open_run(model), split) if data is None else _truth_of_folder(model, data, split)
    known = [item for item in truth.items if item.label in bundle.classes]
    unknown = sorted({item.label for item in truth.items} - set(bundle.classes))
    if not known:
        raise FolderError(
            found=f"none of the model's classes in {truth.root}: {', '.join(unknown[:5]) or 'nothing'}",
            expected=f"folders named {', '.join(bundle.classes[:5])}",
            fix="name the folders as the model's classes are named",
        )
    judged, unreadable = _answer(bundle, truth.root, known, mirror=mirror)
    metrics = summarize(judged.labels, judged.probabilities, classes=bundle.classes, split=truth.split, mirrored=mirror)
    mistakes = find_mistakes(judged.paths, judged.labels, judged.probabilities, classes=bundle.classes)
    absent = tuple(name for name, scores in metrics.classes.items() if not scores.support)
    own = model / "mirrored" if mirror else model
    folder = out or (own if data is None else _folder_for(model, data, mirror=mirror))
    left_out = (*truth.refused, *unreadable)
    chose = data is None and truth.split == "validation" and Run(model).recipe.patience > 0
    learned = None if data is None else _find_learned(Run(model), judged)
    evaluation = Evaluation(metrics, tuple(mistakes), absent, tuple(unknown), left_out, folder, chose, learned)
    _write(evaluation, truth.root if data is None else data)
    return evaluation


def describe(evaluation: Evaluation) -> str:
    """An evaluation as text for a terminal."""
    metrics = evaluation.metrics
    figure = metrics.accuracy
    baseline = metrics.majority_baseline
    lines = [
        f"accuracy {figure.value:.2%}  (95 % interval {figure.low:.2%} to {figure.high:.2%},"
        f" {plural(metrics.count, 'image')}, split: {metrics.split})",
        *["each answer averaged with that to the mirror image: predict does so with --mirror"] * metrics.mirrored,
        *_learned_lines(evaluation.learned, metrics.count),
        f"log loss {metrics.log_loss.value:.4f}  ({metrics.log_loss.low:.4f} to {metrics.log_loss.high:.4f})",
        f"always answering {printable(baseline.name)!r} would reach {baseline.accuracy:.2%}",
        "",
        *_class_lines(metrics),
        "",
        format_confusion(metrics.confusion, list(metrics.classes)),
    ]
    if evaluation.chose_epoch:
        lines.append(
            "these images also chose the best epoch; for a figure that nothing was chosen on, train with --test 0.1"
        )
    if evaluation.absent:
        lines.append(f"no image of: {', '.join(map(printable, evaluation.absent))}")
    if evaluation.unknown:
        lines.append(
            f"left out, since the model does not know the class: {', '.join(map(printable, evaluation.unknown))}"
        )
    for path, reason in evaluation.unreadable[:5]:
        lines.append(f"left out, unreadable: {printable(path)}: {reason}")
    if (more := len(evaluation.unreadable) - 5) > 0:
        lines.append(f"... and {more:,} more unreadable")
    lines.append(f"{plural(len(evaluation.mistakes), 'mistake')}, worst first, in {evaluation.folder / 'mistakes.csv'}")
    return "\n".join(lines)


def _learned_lines(learned: Learned | None, count: int) -> Iterator[str]:
    if learned is None:
        return
    yield f"{learned.images:,} of {plural(count, 'image')} it learned from: on new ones it will be wrong more often"
    if learned.others:
        figure = learned.accuracy
        yield (
            f"accuracy on the other {learned.others:,}: {figure.value:.2%}  (95 % interval {figure.low:.2%} to"
            f" {figure.high:.2%})"
        )


def _class_lines(metrics: Metrics) -> Iterator[str]:
    width = max(8, *(min(len(printable(name)), 24) for name in metrics.classes))
    yield f"{'class':<{width}}  precision  recall     F1  images"
    for name, each in metrics.classes.items():
        yield _score_line(f"{printable(name)[:24]:<{width}}", each, each.support)
    yield _score_line(f"{'macro':<{width}}", metrics.macro, metrics.count)


def _score_line(name: str, scores: Scores, count: int) -> str:
    figures = ((scores.precision, 11), (scores.recall, 8), (scores.f1, 7))
    shares = (("–" if math.isnan(each.value) else f"{each.value:.1%}").rjust(width) for each, width in figures)
    return f"{name}{''.join(shares)}{count:>8,}"


def _truth_of_run(run: Run, split: str | None) -> Truth:
    """The images of a run that training did not learn from, where they were when it began."""
    samples = read_samples(run.data_file)
    splits = {sample.split for sample in samples if not sample.reason}
    chosen = split or next((name for name in SPLIT_ORDER if name in splits), "")
    items = tuple(Item(sample.path, sample.label) for sample in samples if sample.split == chosen and not sample.reason)
    if not items:
        raise FolderError(
            found=f"no images in the split {chosen or 'validation'!r} of {run.path}",
            expected=f"one of {', '.join(sorted(splits))}",
            fix="choose one with --split, or give a labelled folder",
        )
    return Truth(images_of(run), items, chosen)


def images_of(run: Run) -> Path:
    """The folder that the paths in a run's data.csv are relative to: its images', or that of its manifest."""
    data = Path(run.environment["data"])
    is_manifest = data.is_file() or (data.suffix.lower() == ".csv" and not data.is_dir())  # which may be gone
    return data.parent if is_manifest else data


def _truth_of_folder(model: Path, data: Path, split: str | None) -> Truth:
    """The images of a labelled folder: its own test split where it has one, else all."""
    from_name = (model / "recipe.toml").is_file() and Run(model).recipe.label_from_name and data.is_dir()
    listing = list_folder(data, label_from_name=from_name)
    usable = tuple(item for item in listing.items if not item.reason)
    splits = {item.split for item in usable}
    chosen = split or next((name for name in SPLIT_ORDER if name in splits), None)
    refused = tuple((item.path, item.reason) for item in listing.items if item.reason and item.split in (None, chosen))
    if chosen is None:
        return Truth(listing.root, usable, "all", refused)
    items = tuple(item for item in usable if item.split == chosen)
    if not items:
        raise FolderError(
            found=f"no split {chosen!r} in {data}", expected="a split of the folder", fix="leave --split out"
        )
    return Truth(listing.root, items, chosen, refused)


def _answer(bundle: Bundle, root: Path, items: Sequence[Item], *, mirror: bool) -> tuple[Judged, list[tuple[str, str]]]:
    """What the model says of the readable items, and the others with their reasons."""
    numbers = {name: number for number, name in enumerate(bundle.classes)}
    files = [root / item.path for item in items]
    paths, hashes, labels, rows, unreadable = [], [], [], [], []
    with progress("judging", len(items), unit="images") as bar:
        for item, answer in zip(items, answer_files(bundle, files, mirror=mirror), strict=True):
            if answer.probabilities is None:
                unreadable.append((item.path, answer.reason))
            else:
                paths.append(item.path)
                hashes.append(answer.sha256)
                labels.append(numbers[item.label])
                rows.append(answer.probabilities)
            bar.advance()
    if not rows:
        path, reason = unreadable[0]
        raise FolderError(
            found=f"no readable image in {root}: {path}: {reason}", expected="the images", fix="check the folder"
        )
    return Judged(paths, hashes, np.array(labels, np.int64), np.stack(rows)), unreadable


def _find_learned(run: Run, judged: Judged) -> Learned | None:
    """Which of the judged images a run learned from: told by their content."""
    if not run.data_file.is_file():  # a bare model does not know
        return None
    known = {sample.sha256 for sample in read_samples(run.data_file) if sample.split == "train" and not sample.reason}
    is_new = np.array([sha256 not in known for sha256 in judged.sha256])
    others = int(is_new.sum())
    if others == len(is_new):
        return None
    right = judged.probabilities.argmax(axis=1) == judged.labels
    return Learned(len(is_new) - others, others, wilson(int(right[is_new].sum()), others))


def _folder_for(model: Path, data: Path, *, mirror: bool) -> Path:
    """Where the results for a folder go: `evaluations/NAME` in the run, or here for a bare model; one per folder.

    What is mirrored has a place of its own beside it.
    """
    base = (model if model.is_dir() else Path()) / "evaluations"
    name = f"{_absolute(data).name or 'data'}{'-mirrored' if mirror else ''}"
    places = (base / f"{name}{f'-{number}' if number > 1 else ''}" for number in itertools.count(1))
    return next(place for place in places if _is_free(place / "metrics.json", data))


def _is_free(metrics: Path, data: Path) -> bool:
    return not metrics.exists() or read_json(metrics).get("data") == str(_absolute(data))


def _absolute(data: Path) -> Path:
    """Without `..`, so that it has a name."""
    return Path(os.path.abspath(data))


def _write(evaluation: Evaluation, data: Path) -> None:
    facts = {**evaluation.metrics.to_json(), "data": str(_absolute(data))}
    facts |= {"absent": evaluation.absent, "unknown": evaluation.unknown, "unreadable": len(evaluation.unreadable)}
    if learned := evaluation.learned:
        others = {"images": learned.others, "accuracy": learned.accuracy.to_json()}
        facts["learned_from"] = {"images": learned.images, "others": others}
    write_json(evaluation.folder / "metrics.json", facts)
    write_mistakes(evaluation.folder / "mistakes.csv", evaluation.mistakes)
    try:
        from convscope.plotting.figures import plot_confusion, save_figure
    except ModuleNotFoundError:
        logger.info("no figure of the confusion matrix: it needs pip install 'convscope[train]'")
        return
    figure = plot_confusion(evaluation.metrics.confusion, list(evaluation.metrics.classes))
    save_figure(figure, evaluation.folder / "figures" / "confusion.png")
