"""The labelled images to evaluate a model on: those of a run that it was not trained on, or a labelled folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from convscope.datasets.dataset import read_samples
from convscope.datasets.listing import Item, list_folder
from convscope.errors import FolderError
from convscope.run import Run

SPLIT_ORDER = ("test", "validation")  # preferred is the split that nothing was selected on, if there is one


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Labelled files below `root`, of one `split` (`all`: the folder has none); `refused`: pairs (path, reason)."""

    root: Path
    items: tuple[Item, ...]
    split: str
    refused: tuple[tuple[str, str], ...] = ()


def images_of_run(run: Run, split: str | None) -> LabelledImages:
    """The images of one split of a run, where they were when training began.

    Args:
        run: the run.
        split: `train`, `validation` or `test`; None: `test` where it has images, else `validation`.

    Raises:
        FolderError: the split has no images.
    """
    samples = [sample for sample in read_samples(run.data_file) if not sample.reason]
    splits = {sample.split for sample in samples}
    chosen = split or next((name for name in SPLIT_ORDER if name in splits), "")
    items = tuple(Item(sample.path, sample.label) for sample in samples if sample.split == chosen)
    if not items:
        raise FolderError(
            found=f"no images in the split {chosen or 'validation'!r} of {run.path}",
            expected=f"one of {', '.join(sorted(splits))}",
            fix="choose another `split`, or give a labelled folder",
        )
    return LabelledImages(image_root(run), items, chosen)


def images_of_folder(data: Path, split: str | None, *, label_from_name: bool) -> LabelledImages:
    """The images of a labelled folder or manifest.

    Args:
        data: the folder or manifest.
        split: `train`, `validation` or `test`; None: `test` or `validation` where it has one of them, else all.
        label_from_name: whether the class is the beginning of the file's name, as in `cat.1.jpg`.

    Raises:
        FolderError: the folder has no such split.
    """
    listing = list_folder(data, label_from_name=label_from_name)
    usable = tuple(item for item in listing.items if not item.reason)
    splits = {item.split for item in usable}
    chosen = split or next((name for name in SPLIT_ORDER if name in splits), None)
    refused = tuple((item.path, item.reason) for item in listing.items if item.reason and item.split in (None, chosen))
    if chosen is None:
        return LabelledImages(listing.root, usable, "all", refused)
    items = tuple(item for item in usable if item.split == chosen)
    if not items:
        raise FolderError(
            found=f"no split {chosen!r} in {data}",
            expected=f"one of {', '.join(sorted(filter(None, splits)))}" if any(splits) else "no `split`",
            fix="choose another `split`, or leave it out",
        )
    return LabelledImages(listing.root, items, chosen, refused)


def image_root(run: Run) -> Path:
    """The folder that the paths in a run's data.csv are relative to: that of its images, or of its manifest."""
    data = Path(run.environment["data"])
    is_manifest = data.is_file() or (data.suffix.lower() == ".csv" and not data.is_dir())  # which may be gone
    return data.parent if is_manifest else data
