"""The images of a run that an export is calibrated with and evaluated on, read from where the run was trained."""

from __future__ import annotations

import logging
import os
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convscope.datasets.dataset import open_dataset, read_samples
from convscope.datasets.splits import Sample
from convscope.errors import RunError
from convscope.formatting import plural
from convscope.randomness import generator
from convscope.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

MAX_CALIBRATION_IMAGES = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExportData:
    """Images of a run.

    Attributes:
        images: (n, size, size, channels) uint8, a read-only memory map.
        calibration: (k,) int64, rows of training images, drawn by the run's seed, in ascending order.
        validation: (m,) int64, rows of validation images.
        paths: m, the files of the validation images.
        labels: (n,) int32, the classes of the validation images, indices into the model's; elsewhere -1.
    """

    images: NDArray[np.uint8]
    calibration: NDArray[np.int64]
    validation: NDArray[np.int64]
    paths: tuple[str, ...]
    labels: NDArray[np.int32]


def open_export_data(run: Run, classes: Sequence[str], *, cache: Path | None = None) -> ExportData:
    """Open the training and validation images of a run; those that have changed since are left out.

    Args:
        run: the run.
        classes: of its model, in the order of the probabilities.
        cache: where decoded images are kept; None: the user's cache.

    Raises:
        RunError: the images are gone, or may not be read. CacheError: there is no space to decode them again.
    """
    data = Path(run.environment["data"])
    if not os.path.exists(data):  # unlike Path.exists, no error where a parent folder may not be read
        raise RunError(
            found=f"no images at {data}, where those of {run.path} were",
            expected="the images of the run, to calibrate and evaluate an export",
            fix="put them back, or correct `data` in its environment.json",
        )
    dataset = open_dataset(data, run.recipe, cache=cache)
    rows = {_key(sample): row for row, sample in enumerate(dataset.samples)}
    training, validation = (_unchanged_samples(run, split, rows) for split in ("train", "validation"))
    drawn = generator(run.recipe.seed, "calibration").permutation(len(training))[:MAX_CALIBRATION_IMAGES]
    validation_rows = np.array([rows[_key(sample)] for sample in validation], np.int64)
    labels = np.full(len(dataset.samples), -1, np.int32)
    labels[validation_rows] = [classes.index(sample.label) for sample in validation]
    return ExportData(
        images=dataset.images,
        calibration=np.array(sorted(rows[_key(training[number])] for number in drawn), np.int64),
        validation=validation_rows,
        paths=tuple(str(dataset.root / sample.path) for sample in validation),
        labels=labels,
    )


def _unchanged_samples(run: Run, split: str, present: Container[tuple[str, str]]) -> list[Sample]:
    """The samples of a split of the run whose files are present, unchanged."""
    samples = [sample for sample in read_samples(run.data_file) if sample.split == split and not sample.reason]
    unchanged = [sample for sample in samples if _key(sample) in present]
    if not unchanged:
        raise RunError(
            found=f"none of the {plural(len(samples), 'image')} of the split {split!r} of {run.path} is unchanged",
            expected="the images that the run was trained on",
            fix="put them back into the folder that its environment.json names as `data`",
        )
    if num_missing := len(samples) - len(unchanged):
        logger.info(f"{plural(num_missing, 'image')} of the split {split!r} missing or changed: left out")
    return unchanged


def _key(sample: Sample) -> tuple[str, str]:
    return sample.path, sample.sha256
