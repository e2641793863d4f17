"""A data set as training needs it: classes, pixels, labels, and the rows of each split.

`open_dataset` is the sequence of the steps of this package: list, decode, group, split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convscope.datasets.cache import Cache, open_cache
from convscope.datasets.listing import Listing, list_folder
from convscope.datasets.splits import Sample, assign_splits
from convscope.errors import FolderError, RunError
from convscope.files import read_table, write_table
from convscope.images.decoder_pool import InputSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.recipe.resolved import ResolvedRecipe

COLUMNS = ("path", "class", "split", "group", "sha256", "status", "reason")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images, labels and splits of a data set.

    Attributes:
        root: the folder that the samples' paths are relative to.
        classes: their names, sorted; a label is an index into them.
        samples: every file that was listed, refused ones too; row i of `images` is sample i.
        images: (samples, size, size, channels) uint8, RGB or grey, 0-255, a read-only memory map; files that were
            refused when they were listed come last, and have no row.
        labels: (samples,) int32, -1 for refused samples.
        ignored: number of other files by suffix.
        empty: folders without images.
    """

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    images: NDArray[np.uint8]
    labels: NDArray[np.int32]
    ignored: dict[str, int]
    empty: tuple[str, ...]

    def rows(self, split: str) -> NDArray[np.int64]:
        """The rows of `images` in `split`, (n,) int64, ascending."""
        return np.array([row for row, sample in enumerate(self.samples) if sample.split == split], np.int64)

    @property
    def refused(self) -> tuple[Sample, ...]:
        """The samples that cannot be used, in order."""
        return tuple(sample for sample in self.samples if sample.reason)


def open_dataset(data: str | Path | Listing, recipe: ResolvedRecipe, *, cache: Path | None = None) -> Dataset:
    """List the images of a data set, decode them, group near duplicates, and assign splits.

    Args:
        data: as `list_folder` takes it, or what that returned.
        recipe: size, fit and channels of the images; shares and seed of the splits; whether file names are labels.
        cache: the folder of decoded images; None: as `convscope.datasets.cache.cache_folder` chooses.

    Raises:
        FolderError: there are fewer than two classes, or nothing to list.
        CacheError: the decoded images cannot be kept.
    """
    listing = data if isinstance(data, Listing) else list_folder(data, label_from_name=recipe.label_from_name)
    _check_classes(listing)
    spec = InputSpec(recipe.image_size, recipe.fit, recipe.channels)
    decoded = open_cache(listing.root, [item.path for item in listing.items if not item.reason], spec, folder=cache)
    samples = assign_splits(_join(listing, decoded), validation=recipe.validation, test=recipe.test, seed=recipe.seed)
    indices = {name: index for index, name in enumerate(listing.classes)}
    labels = np.array([-1 if sample.reason else indices[sample.label] for sample in samples], np.int32)
    return Dataset(
        root=listing.root,
        classes=listing.classes,
        samples=tuple(samples),
        images=decoded.images,
        labels=labels,
        ignored=listing.ignored,
        empty=listing.empty,
    )


def check_dataset(dataset: Dataset, *, max_refused: float) -> None:
    """Make sure that the data set is fit for training.

    Args:
        dataset: the data set.
        max_refused: largest share of refused files, 0 to 1.

    Raises:
        FolderError: more files are refused, or a class has no training image, or there is no validation image.
    """
    num_refused, num_files = len(dataset.refused), len(dataset.samples)
    if num_refused > max_refused * num_files:
        first = dataset.refused[0]
        frequent = Counter(sample.reason for sample in dataset.refused).most_common(3)
        raise FolderError(
            found=f"{num_refused:,} of {num_files:,} images refused, such as {first.path}: {first.reason}",
            expected=f"at most {max_refused:.1%} ({', '.join(f'{count:,}: {reason}' for reason, count in frequent)})",
            fix="repair or remove them (the table above lists them with their reasons), or raise `max_refused`",
        )
    counts = count_samples(dataset)
    reasons = {sample.label: f": {sample.path}: {sample.reason}" for sample in reversed(dataset.refused)}
    for name in sorted({*dataset.classes, *reasons} - {""}):  # a class whose images are all refused is not in `classes`
        if not counts[name, "train"]:
            raise FolderError(
                found=f"no usable image of class {name!r} to train on{reasons.get(name, '')}",
                expected="at least one image of each class",
                fix="add images, or remove the class",
            )
    if not len(dataset.rows("validation")):
        raise FolderError(
            found=f"{num_files:,} images, and none of them left for validation",
            expected="at least two different images in some class",
            fix="add images",
        )


def count_samples(dataset: Dataset) -> Counter[tuple[str, str]]:
    """The number of samples by class and split; refused ones have the split `refused`."""
    return Counter((sample.label, "refused" if sample.reason else sample.split) for sample in dataset.samples)


def near_duplicate_groups(dataset: Dataset) -> list[list[Sample]]:
    """The groups of usable samples that are near duplicates; each has at least two different files."""
    groups: dict[str, list[Sample]] = {}
    for sample in dataset.samples:
        if not sample.reason:
            groups.setdefault(sample.group, []).append(sample)
    return [group for group in groups.values() if len({sample.sha256 for sample in group}) > 1]


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write data.csv: every file that was listed, refused ones too."""
    rows = [(s.path, s.label, s.split, s.group, s.sha256, s.status, s.reason) for s in samples]
    write_table(path, COLUMNS, rows)


def read_samples(path: Path) -> list[Sample]:
    """Read data.csv.

    Raises:
        RunError: the file is missing or damaged.
    """
    rows = read_table(path)
    if not all(tuple(row) == COLUMNS and None not in row.values() for row in rows):
        raise RunError(
            found=f"{path} with other columns or damaged lines",
            expected=f"the columns {','.join(COLUMNS)}",
            fix="restore it, or train again",
        )
    return [Sample(row["path"], row["class"], row["split"], row["group"], row["sha256"], row["reason"]) for row in rows]


def _check_classes(listing: Listing) -> None:
    if len(listing.classes) < 2:
        refused = next((f"; {item.path}: {item.reason}" for item in listing.items if item.reason), "")
        raise FolderError(
            found=f"one class, {listing.classes[0]!r}, in {listing.root}{refused}",
            expected="two or more classes, each in its folder",
            fix="give the folder that holds the class folders, or add another class",
        )


def _join(listing: Listing, decoded: Cache) -> list[Sample]:
    """One sample per listed file; those refused when listed come last, so that row i of the pixels is sample i."""
    samples: list[Sample] = []
    items = [item for item in listing.items if not item.reason]
    rows = zip(decoded.groups, decoded.sha256, decoded.reasons, strict=True)
    for item, (group, sha256, reason) in zip(items, rows, strict=True):
        samples.append(Sample(item.path, item.label, item.split or "", group, sha256, reason))
    for item in listing.items:
        if item.reason:
            samples.append(Sample(item.path, item.label, "", "", "", item.reason))
    return samples
