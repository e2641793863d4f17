"""Lists the image files of a data set, with their classes and splits, and counts the files that it skips.

No image is opened; whether a file is one is found when it is decoded. A listing is sorted by path, so it is the same on
every machine.
"""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from convscope.datasets.folder_walk import FolderWalk
from convscope.errors import FolderError
from convscope.formatting import plural, printable
from convscope.images.image_reader import CONVERTIBLE_SUFFIXES, SUFFIXES

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")
SPLIT_NAMES: Final[dict[str, Split]] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
NUMBERED = re.compile(r"(.+?)[ ._-]*\(?\d+\)?$")


@dataclass(frozen=True, slots=True)
class Item:
    """One file with the suffix of an image.

    Attributes:
        path: relative to the root of the listing.
        label: the name of its class.
        split: as the user gave it, or None.
        reason: why it cannot be used; "" if it can.
    """

    path: str
    label: str
    split: Split | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a data set.

    Attributes:
        root: the folder that all paths are relative to.
        items: the image files, sorted by path.
        ignored: number of skipped files and folders by kind, as `describe_ignored` takes them.
        empty: class folders without images.
    """

    root: Path
    items: tuple[Item, ...]
    ignored: dict[str, int]
    empty: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, sorted."""
        return tuple(sorted({item.label for item in self.items if not item.reason}))


def list_folder(data: str | Path, *, label_from_name: bool = False) -> Listing:
    """List the image files of a data set.

    Args:
        data: `DATA/<class>/**`, or `DATA/train/<class>/**` with `val` and `test` beside it, or a CSV manifest with
            the columns `path,label[,split]`, or, with `label_from_name`, a folder of files named like `cat.0.jpg`.
        label_from_name: whether the class is taken from the name of the file.

    Raises:
        FolderError: there are no images, they have no classes, or something cannot be read.
    """
    data = Path(data)
    check_exists(data)
    if os.path.isfile(data):  # unlike Path.is_file, no error where a parent folder may not be read
        return _read_manifest(data)
    walk = FolderWalk(data)
    listing = _label_by_name(walk) if label_from_name else _label_by_folder(walk)
    if not any(not item.reason for item in listing.items):
        raise _explain_nothing(listing)
    return listing


def check_exists(data: Path) -> None:
    """Make sure that a folder or a file is at `data`, before anything that takes time.

    Raises:
        FolderError: nothing is there.
    """
    if not os.path.isfile(data) and not os.path.isdir(data):
        raise FolderError(
            found=f"no folder at {data}", expected="a folder with one sub-folder per class", fix="check the path"
        )


def label_of_filename(name: str) -> str | None:
    """The class in the name of a file: the text before its number, as in `cat.0.jpg`; None if there is none."""
    match = NUMBERED.match(Path(name).stem)
    if match is None or not any(character.isalpha() for character in match[1]):  # `12.jpg` has no class
        return None
    return unicodedata.normalize("NFC", match[1])


def describe_ignored(ignored: Mapping[str, int]) -> str:
    """The skipped files in words: `2 .txt, 1 folder linked in a circle; 1 .heic: convert to JPEG`; "" for none."""

    def count(kind: str, number: int) -> str:
        many = kind if kind.startswith(".") else kind.replace(" ", "s ", 1)
        return plural(number, printable(kind), printable(many))

    others = [count(kind, number) for kind, number in sorted(ignored.items()) if kind not in CONVERTIBLE_SUFFIXES]
    images = [count(kind, number) for kind, number in sorted(ignored.items()) if kind in CONVERTIBLE_SUFFIXES]
    return "; ".join([", ".join(others)] * bool(others) + [f"{', '.join(images)}: convert to JPEG"] * bool(images))


def _label_by_folder(walk: FolderWalk) -> Listing:
    folders = walk.folders()
    split_folders = [name for name in folders if name.lower() in SPLIT_NAMES]
    has_train = any(SPLIT_NAMES[name.lower()] == "train" and walk.folders(name) for name in split_folders)
    # else `train` may be a class, beside `plane`
    has_splits = has_train and (len(split_folders) > 1 or split_folders == folders)
    splits: list[tuple[Split | None, str]] = []
    if has_splits:
        splits = [(SPLIT_NAMES[name.lower()], name) for name in split_folders]
    if has_splits and len(split_folders) < len(folders):
        walk.ignored["folder beside the splits"] += len(folders) - len(split_folders)
    items: list[Item] = []
    empty: list[str] = []
    for split, inside in [(None, ""), *splits]:
        paths = walk.files(inside, label="", is_recursive=False)
        items += [Item(path, "", split, "in no class folder") for path in paths]
    for split, inside in splits or [(None, "")]:
        for name in walk.folders(inside):
            folder = f"{inside}/{name}" if inside else name
            label = unicodedata.normalize("NFC", name)
            class_paths = list(walk.files(folder, label=label))
            items += [_item(path, label, split) for path in class_paths]
            empty += [folder] * (not class_paths)
    for unreadable in walk.unreadable:
        if unreadable.path in split_folders:
            raise FolderError(
                found=f"{walk.root / unreadable.path}: {unreadable.reason}",
                expected="splits that can be read",
                fix="give yourself the permission to read it, or move it away",
            )
    items += _unreadable_items(walk)
    unreadable_paths = [unreadable.path for unreadable in walk.unreadable]
    empty = [folder for folder in empty if folder not in unreadable_paths]
    return Listing(walk.root, tuple(items), dict(walk.ignored), tuple(empty))


def _label_by_name(walk: FolderWalk) -> Listing:
    items: list[Item] = []
    for path in walk.files(label=""):
        label = label_of_filename(path.rpartition("/")[2])
        items.append(_item(path, label) if label else Item(path, "", reason="no class in its name"))
    return Listing(walk.root, (*items, *_unreadable_items(walk)), dict(walk.ignored))


def _unreadable_items(walk: FolderWalk) -> list[Item]:
    return [Item(folder.path, folder.label, reason=folder.reason) for folder in walk.unreadable]


def _item(path: str, label: str, split: Split | None = None) -> Item:
    """An item, refused where its name is not UTF-8: such a path could not be written to a table and read again."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return Item(path, label.encode("utf-8", "replace").decode(), split, "its name is not UTF-8")
    return Item(path, label, split)


def _read_manifest(file: Path) -> Listing:
    items: list[Item] = []
    lines: dict[tuple[str, str], int] = {}
    for line, row in _manifest_rows(file):
        path, label = row["path"].strip(), unicodedata.normalize("NFC", row["label"].strip())
        name = (row.get("split") or "").strip().lower()
        if name and name not in SPLIT_NAMES:
            raise FolderError(
                found=f"split {name!r} in line {line} of {file}",
                expected="train, validation, test, or nothing",
                fix="correct that line",
            )
        split = SPLIT_NAMES[name] if name else None
        reason = "no path" if not path else "no label" if not label else ""
        if not reason and (path, label) in lines:
            reason = f"listed already in line {lines[path, label]}"
        lines.setdefault((path, label), line)
        items.append(Item(path, label, split, reason))
    listing = Listing(file.parent, tuple(items), {})
    if not listing.classes:
        raise FolderError(
            found=f"no usable row in {file}: {items[0].reason if items else 'it is empty'}",
            expected="lines of `path,label`",
            fix="check how the manifest was made",
        )
    return listing


def _manifest_rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, restval="")
            columns = reader.fieldnames or []
            if missing := [name for name in ("path", "label") if name not in columns]:
                raise FolderError(
                    found=f"{file} with the columns {', '.join(columns) or 'none'}",
                    expected="a CSV manifest with the columns path,label[,split]",
                    fix=f"add {' and '.join(missing)} to the first line, or give the folder of the images",
                )
            for row in reader:
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise FolderError(
            found=f"{file} cannot be read as CSV: {error}",
            expected="a folder with one sub-folder per class, or a CSV manifest in UTF-8",
            fix="give the folder of the images, or save the manifest as CSV in UTF-8",
        ) from None


def _explain_nothing(listing: Listing) -> FolderError:
    """The error for a listing without a usable image, with the most likely reason."""
    unlabelled = [item for item in listing.items if item.reason == "in no class folder"]
    if unlabelled:
        fix = "move the images of each class into its folder"
        if any(label_of_filename(Path(item.path).name) for item in unlabelled):
            fix += ", or set `label_from_name=True` to take the class from names like cat.0.jpg"
        found = f"{len(unlabelled):,} images in {listing.root} itself, and none in a sub-folder"
        return FolderError(found=found, expected="one sub-folder per class", fix=fix)
    others = describe_ignored(listing.ignored) or "nothing else"
    refused = f"; {listing.items[0].path or listing.root}: {listing.items[0].reason}" if listing.items else ""
    return FolderError(
        found=f"no images in {listing.root} ({others}{refused})",
        expected=f"files that end in {', '.join(sorted(SUFFIXES))}, one sub-folder per class",
        fix="check the path",
    )
