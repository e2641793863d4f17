"""Material: the images of a run that an export is made with and judged by, where they were when the run was trained."""

from __future__ import annotations

import logging
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

CALIBRATION_IMAGES = 512  # at most


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """Images of a run.

    Attributes:
        images: (n, size, size, channels) uint8, a read-only memory map.
        calibration: rows of it to calibrate with, of training, drawn by the run's seed.
        validation: (m,) rows of it to judge by. paths: (m,) the files that these come from.
        labels: (n,) int32, by the classes of the model, of those to judge by; elsewhere -1.
    """

    images: NDArray[np.uint8]
    calibration: NDArray[np.int64]
    validation: NDArray[np.int64]
    paths: tuple[str, ...]
    labels: NDArray[np.int32]


def open_material(run: Run, classes: Sequence[str], *, cache: Path | None = None) -> Material:
    """The images that the run learned from and was judged by; what has changed since is left out.

    Raises:
        RunError: they are gone. CacheError: there is no room to decode them again.
    """
    data = Path(run.environment["data"])
    if not data.exists():
        raise RunError(
            found=f"no images at {data}, where those of {run.path} were",
            expected="the images of the run: an export is calibrated with some and judged by others",
            fix="put them back, or say under `data` in its environment.json where they are now",
        )
    dataset = open_dataset(data, run.recipe, cache=cache)
    rows = {(sample.path, sample.sha256): row for row, sample in enumerate(dataset.samples)}
    training, validation = (_those_left(run, split, rows) for split in ("train", "validation"))
    drawn = generator(run.recipe.seed, "calibration").permutation(len(training))[:CALIBRATION_IMAGES]
    judging = np.array([rows[_key(sample)] for sample in validation], np.int64)
    labels = np.full(len(dataset.samples), -1, np.int32)
    labels[judging] = [classes.index(sample.label) for sample in validation]
    return Material(
        images=dataset.images,
        calibration=np.array(sorted(rows[_key(training[place])] for place in drawn), np.int64),
        validation=judging,
        paths=tuple(str(dataset.root / sample.path) for sample in validation),
        labels=labels,
    )


def _those_left(run: Run, split: str, now: Container[tuple[str, str]]) -> list[Sample]:
    """The samples of a split whose files are still what they were."""
    samples = [sample for sample in read_samples(run.data_file) if sample.split == split and not sample.reason]
    left = [sample for sample in samples if _key(sample) in now]
    if not left:
        raise RunError(
            found=f"none of the {plural(len(samples), 'image')} of the split {split!r} of {run.path} as it was",
            expected="the images that the run was trained with",
            fix="put them back where its environment.json says that they were",
        )
    if gone := len(samples) - len(left):
        logger.info(f"{plural(gone, 'image')} of the split {split!r} gone or changed since: left out")
    return left


def _key(sample: Sample) -> tuple[str, str]:
    return sample.path, sample.sha256
