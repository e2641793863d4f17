"""The verb `evaluate`: the metrics of a model on its held-out images, or on any labelled folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convscope.bundle.bundle import Bundle, open_bundle
from convscope.datasets.dataset import read_samples
from convscope.datasets.listing import Item
from convscope.errors import FolderError
from convscope.evaluation.labelled_images import LabelledImages, images_of_folder, images_of_run
from convscope.evaluation.mistakes import Mistake, find_mistakes
from convscope.evaluation.results import results_folder, write_results
from convscope.prediction.inference import predict_files
from convscope.progress import progress
from convscope.run import Run, open_run
from convscope.statistics.intervals import Estimate, wilson_interval
from convscope.statistics.metrics import Metrics, compute_metrics, count_correct

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The readable images with their predictions: n paths and hashes, (n,) labels, (n, classes) float32, 0..1."""

    paths: list[str]
    sha256: list[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TrainingOverlap:
    """How many of the images were in the training set, how many `others` were not, and the accuracy on those."""

    images: int
    others: int
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's metrics and mistakes on labelled images.

    Attributes:
        metrics: every metric, with its interval.
        mistakes: the images with a wrong prediction, the most confident first.
        absent: classes of the model without images.
        unknown: classes of the folder that the model does not have; their images are skipped.
        unreadable: (path, reason) of the images skipped because they cannot be read.
        folder: where metrics.json, mistakes.csv and figures/confusion.png are.
        selected_epoch: whether these images also selected the epoch whose weights the model has.
        overlap: of a labelled folder: its images that the run was trained on; None: none are known.
    """

    metrics: Metrics
    mistakes: tuple[Mistake, ...]
    absent: tuple[str, ...]
    unknown: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    folder: Path
    selected_epoch: bool = False
    overlap: TrainingOverlap | None = None


def evaluate(
    model: Path, data: Path | None = None, *, split: str | None = None, mirror: bool = False, out: Path | None = None
) -> Evaluation:
    """Evaluate a model; write metrics.json, mistakes.csv and figures/confusion.png.

    Args:
        model: a run folder; with `data` also a .onnx file.
        data: a labelled folder or manifest, whose classes are matched by name; None: the run's held-out images.
        split: `train`, `validation` or `test`; None: the test images where there are any, else those of validation.
        mirror: test-time augmentation: average the probabilities over each image and its horizontal flip.
        out: where the results go; None: the run folder, or in it `mirrored` or `evaluations/NAME`.

    Raises:
        BundleError: there is no model. FolderError: there are no images to evaluate on.
        RunError: there is no run, or the results cannot be written.
    """
    bundle = open_bundle(model)
    images = _labelled_images(model, data, split)
    known, unknown = _match_classes(images, bundle.classes)
    predictions, unreadable = _predict(bundle, images.root, known, mirror=mirror)
    labels, probabilities = predictions.labels, predictions.probabilities
    metrics = compute_metrics(labels, probabilities, classes=bundle.classes, split=images.split, mirrored=mirror)
    evaluation = Evaluation(
        metrics=metrics,
        mistakes=tuple(find_mistakes(predictions.paths, labels, probabilities, classes=bundle.classes)),
        absent=tuple(name for name, scores in metrics.classes.items() if not scores.support),
        unknown=unknown,
        unreadable=(*images.refused, *unreadable),
        folder=out or results_folder(model, data, mirror=mirror),
        selected_epoch=data is None and images.split == "validation" and Run(model).recipe.patience > 0,
        overlap=None if data is None else _training_overlap(Run(model), predictions),
    )
    write_results(evaluation, images.root if data is None else data)
    return evaluation


def _labelled_images(model: Path, data: Path | None, split: str | None) -> LabelledImages:
    if data is not None:
        from_name = (model / "recipe.toml").is_file() and Run(model).recipe.label_from_name and data.is_dir()
        return images_of_folder(data, split, label_from_name=from_name)
    if model.is_file():
        raise FolderError(
            found=f"{model} and no images to evaluate it on",
            expected="a labelled folder beside a .onnx file",
            fix="name one after it, or give the run folder instead",
        )
    return images_of_run(open_run(model), split)


def _match_classes(images: LabelledImages, classes: Sequence[str]) -> tuple[list[Item], tuple[str, ...]]:
    """The images of the model's classes, and the names of the classes that the model does not have."""
    known = [item for item in images.items if item.label in classes]
    unknown = sorted({item.label for item in images.items} - set(classes))
    if not known:
        raise FolderError(
            found=f"none of the model's classes in {images.root}: {', '.join(unknown[:5]) or 'nothing'}",
            expected=f"folders named {', '.join(classes[:5])}",
            fix="name the folders as the model's classes are named",
        )
    return known, tuple(unknown)


def _predict(
    bundle: Bundle, root: Path, items: Sequence[Item], *, mirror: bool
) -> tuple[Predictions, list[tuple[str, str]]]:
    """The predictions for the readable images, and (path, reason) of the others."""
    numbers = {name: number for number, name in enumerate(bundle.classes)}
    files = [root / item.path for item in items]
    paths, hashes, labels, rows, unreadable = [], [], [], [], []
    with progress("evaluating", len(items), unit="images") as counter:
        for item, prediction in zip(items, predict_files(bundle, files, mirror=mirror), strict=True):
            if prediction.probabilities is None:
                unreadable.append((item.path, prediction.reason))
            else:
                paths.append(item.path)
                hashes.append(prediction.sha256)
                labels.append(numbers[item.label])
                rows.append(prediction.probabilities)
            counter.advance()
    if not rows:
        path, reason = unreadable[0]
        raise FolderError(
            found=f"no readable image in {root}: {path}: {reason}", expected="the images", fix="check the folder"
        )
    return Predictions(paths, hashes, np.array(labels, np.int64), np.stack(rows)), unreadable


def _training_overlap(run: Run, predictions: Predictions) -> TrainingOverlap | None:
    """Which of the images a run was trained on, found by their SHA-256."""
    if not run.data_file.is_file():  # a model without its run
        return None
    trained_on = {
        sample.sha256 for sample in read_samples(run.data_file) if sample.split == "train" and not sample.reason
    }
    is_new = np.array([sha256 not in trained_on for sha256 in predictions.sha256])
    num_new = int(is_new.sum())
    if num_new == len(is_new):
        return None
    correct = count_correct(predictions.probabilities[is_new], predictions.labels[is_new])
    return TrainingOverlap(len(is_new) - num_new, num_new, wilson_interval(correct, num_new))
