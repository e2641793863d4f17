"""Dataset: a data set ready to learn from: classes, pixels, labels, and the rows of each split.

This is where the steps of the data room meet: list, decode, refuse, deal.
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
from convscope.datasets.splits import Sample, deal
from convscope.errors import FolderError, RecipeError, RunError
from convscope.files import read_table, write_table
from convscope.images.decoding import Square

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.recipe.recipe import Recipe

COLUMNS = ("path", "class", "split", "group", "sha256", "status", "reason")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images, labels and splits.

    Attributes:
        root: the folder that the samples' paths are relative to.
        classes: names, sorted; a label's number is its place here.
        samples: every file that was listed, refused ones included; row i of `images` is sample i.
        images: (samples, size, size, channels) uint8, a read-only memory map.
        labels: (samples,) int32, -1 for refused samples.
        ignored: other files by suffix. empty: folders with no image.
    """

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    images: NDArray[np.uint8]
    labels: NDArray[np.int32]
    ignored: dict[str, int]
    empty: tuple[str, ...]

    def rows(self, split: str) -> NDArray[np.int64]:
        """The rows of `images` that are in `split`, (n,) int64, in order."""
        return np.array([row for row, sample in enumerate(self.samples) if sample.split == split], np.int64)

    @property
    def refused(self) -> tuple[Sample, ...]:
        return tuple(sample for sample in self.samples if sample.reason)


def open_dataset(data: Path, recipe: Recipe, *, cache: Path | None = None) -> Dataset:
    """List, decode and deal a data set as a recipe says.

    Raises:
        FolderError: fewer than two classes, a class with no readable image, or nothing to validate with.
        RecipeError: no image size is said, and no network is chosen that would have one.
    """
    if recipe.said("image_size") is None:
        raise RecipeError(
            found="a recipe with neither a network nor an image size",
            expected="one of them: how large images are decoded follows from it",
            fix="say Recipe(network=...) or Recipe(image_size=...), or give the folder itself to `train` or `Learner`",
        )
    listing = list_folder(data, label_from_name=recipe.label_from_name)
    _check_classes(listing)
    square = Square(recipe.image_size, recipe.fit, recipe.channels)
    decoded = open_cache(listing.root, [item.path for item in listing.items if not item.reason], square, folder=cache)
    samples, images = _join(listing, decoded)
    samples = deal(samples, validation=recipe.validation, test=recipe.test, seed=recipe.seed)
    numbers = {name: number for number, name in enumerate(listing.classes)}
    labels = np.array([-1 if sample.reason else numbers[sample.label] for sample in samples], np.int32)
    return Dataset(listing.root, listing.classes, tuple(samples), images, labels, listing.ignored, listing.empty)


def count_images(data: Path, recipe: Recipe) -> int:
    """How many images a data set lists, before any is read."""
    return len(list_folder(data, label_from_name=recipe.label_from_name).items)


def check_dataset(dataset: Dataset, *, max_refused: float) -> None:
    """Stop before training starts on what cannot end well.

    Raises:
        FolderError: more than `max_refused` of the files are refused, or a class or a split has no image left.
    """
    num_refused, num_files = len(dataset.refused), len(dataset.samples)
    if num_refused > max_refused * num_files:
        first = dataset.refused[0]
        common = Counter(sample.reason for sample in dataset.refused).most_common(3)
        raise FolderError(
            found=f"{num_refused:,} of {num_files:,} images refused, such as {first.path}: {first.reason}",
            expected=f"at most {max_refused:.1%} ({', '.join(f'{count:,}: {reason}' for reason, count in common)})",
            fix="mend or remove them (the table above says which and why), or allow more with --max-refused",
        )
    counts = count_samples(dataset)
    reasons = {sample.label: f": {sample.path}: {sample.reason}" for sample in reversed(dataset.refused)}
    for name in sorted({*dataset.classes, *reasons} - {""}):  # a class that was refused whole is not in `classes`
        if not counts[name, "train"]:
            raise FolderError(
                found=f"no usable image of class {name!r} to train on{reasons.get(name, '')}",
                expected="at least one image of each class",
                fix="add images, or remove the class",
            )
    if not len(dataset.rows("validation")):
        raise FolderError(
            found=f"{num_files:,} images, and none of them left to validate with",
            expected="at least two different images in some class",
            fix="add images",
        )


def count_samples(dataset: Dataset) -> Counter[tuple[str, str]]:
    """How many samples each (class, split) has; refused ones count under the split `refused`."""
    return Counter((sample.label, "refused" if sample.reason else sample.split) for sample in dataset.samples)


def near_duplicates(dataset: Dataset) -> list[list[Sample]]:
    """The groups of usable samples that are nearly equal: each holds at least two different files."""
    groups: dict[str, list[Sample]] = {}
    for sample in dataset.samples:
        if not sample.reason:
            groups.setdefault(sample.group, []).append(sample)
    return [group for group in groups.values() if len({sample.sha256 for sample in group}) > 1]


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write data.csv: the whole listing, refused files included."""
    rows = [(each.path, each.label, each.split, each.group, each.sha256, each.status, each.reason) for each in samples]
    write_table(path, COLUMNS, rows)


def read_samples(path: Path) -> list[Sample]:
    """Read data.csv back.

    Raises:
        RunError: the file is missing or damaged.
    """
    rows = read_table(path)
    if not all(tuple(row) == COLUMNS and None not in row.values() for row in rows):
        raise RunError(
            found=f"{path} with other columns or broken lines",
            expected=f"the columns {','.join(COLUMNS)}",
            fix="restore it, or train again",
        )
    return [Sample(row["path"], row["class"], row["split"], row["group"], row["sha256"], row["reason"]) for row in rows]


def _check_classes(listing: Listing) -> None:
    if len(listing.classes) < 2:
        refused = next((f"; {item.path}: {item.reason}" for item in listing.items if item.reason), "")
        raise FolderError(
            found=f"one class, {listing.classes[0]!r}, in {listing.root}{refused}",
            expected="two or more classes, each in a folder of its own",
            fix="give the folder that holds the class folders, or add a folder of what it is to be told from",
        )


def _join(listing: Listing, decoded: Cache) -> tuple[list[Sample], NDArray[np.uint8]]:
    """One sample per listed file; files refused before decoding come last, so that row i of the pixels is sample i."""
    samples: list[Sample] = []
    listed = [item for item in listing.items if not item.reason]
    contents = zip(decoded.groups, decoded.sha256, decoded.reasons, strict=True)
    for item, (group, sha256, reason) in zip(listed, contents, strict=True):
        samples.append(Sample(item.path, item.label, item.split or "", group, sha256, reason))
    for item in listing.items:
        if item.reason:
            samples.append(Sample(item.path, item.label, "", "", "", item.reason))
    return samples, decoded.images
