"""A folder of images as a Listing: which files there are, of which class, in which split, and what was passed over.

Nothing is opened but a CSV manifest; whether a file really is an image is seen when it is decoded. The order of a
listing is the order of its paths, so it is the same on every machine.
"""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from convscope.errors import FolderError
from convscope.formatting import plural, printable
from convscope.images.reading import SUFFIXES

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
PASSED_OVER = (".", "__MACOSX", "@eaDir")  # hidden; copies and thumbnails that macOS and Synology leave beside photos


@dataclass(frozen=True, slots=True)
class Item:
    """One file that claims to be an image. `split` is None where nobody dealt it; `reason` is "" if it is usable."""

    path: str
    label: str
    split: Split | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder, or a manifest, holds.

    `items` have paths relative to `root`, in order; `ignored` counts by kind what was passed over (`tell_ignored`);
    `empty` names folders that would be classes but hold no image.
    """

    root: Path
    items: tuple[Item, ...]
    ignored: dict[str, int]
    empty: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, sorted."""
        return tuple(sorted({item.label for item in self.items if not item.reason}))


def list_folder(data: Path, *, label_from_name: bool = False) -> Listing:
    """List the images of a data set.

    Args:
        data: `DATA/<class>/**`, or `DATA/train/<class>/**` with `val` and `test` beside it, or a CSV manifest with
            the columns `path,label[,split]`, or, with `label_from_name`, a folder of files named like `cat.0.jpg`.

    Raises:
        FolderError: there is nothing to list, or it cannot be told which class an image is of.
    """
    check_there(data)
    if os.path.isfile(data):  # unlike Path.is_file, no error where a parent folder may not be read
        return _read_manifest(data)
    walk = Walk(data)
    listing = _label_by_name(walk) if label_from_name else _label_by_folder(walk)
    if not any(not item.reason for item in listing.items):
        raise _explain_nothing(listing)
    return listing


def check_there(data: Path) -> None:
    """Make sure that there is a folder or a file at `data`; asked before anything that takes time.

    Raises:
        FolderError: there is none.
    """
    if not os.path.isfile(data) and not os.path.isdir(data):
        raise FolderError(
            found=f"no folder at {data}", expected="a folder with one sub-folder per class", fix="check the path"
        )


def label_of_name(name: str) -> str | None:
    """The class that a file's name tells: what stands before its number, as in `cat.0.jpg`; None if nothing does."""
    match = NUMBERED.match(Path(name).stem)
    if match is None or not any(character.isalpha() for character in match[1]):  # `12.jpg` is of no class
        return None
    return unicodedata.normalize("NFC", match[1])


def tell_ignored(ignored: Mapping[str, int]) -> str:
    """What was passed over, in words: `2 .txt, 1 folder linked in a circle`; "" where nothing was."""
    return ", ".join(
        plural(count, printable(kind), printable(kind if kind.startswith(".") else kind.replace(" ", "s ", 1)))
        for kind, count in sorted(ignored.items())
    )


@dataclass(slots=True)
class Walk:
    """Visits the image files below a folder, in order, counting what it passes over."""

    root: Path
    ignored: Counter[str] = field(default_factory=Counter)
    unreadable: list[Item] = field(default_factory=list)

    def folders(self, inside: str = "") -> list[str]:
        """The names of the visible sub-folders of `root/inside`."""
        entries = self._entries(inside, inside)
        return [entry.name for entry in entries if not _is_hidden(entry) and _is_folder(entry)]

    def files(self, inside: str = "", *, label: str, deep: bool = True) -> Iterator[str]:
        """The relative paths of the image files in `root/inside`; below it too where `deep`."""
        outermost = (os.path.realpath(self.root),) if inside else ()
        waiting: list[tuple[str, tuple[str, ...]]] = [(inside, outermost)]  # folders, each with those it is in
        while waiting:
            inside, above = waiting.pop()
            here = os.path.realpath(self.root / inside)
            if any(os.path.join(folder, "").startswith(os.path.join(here, "")) for folder in above):
                self.ignored["folder linked in a circle"] += 1  # a symbolic link that leads back up
                continue
            below: list[tuple[str, tuple[str, ...]]] = []
            for entry in self._entries(inside, label):
                path = f"{inside}/{entry.name}" if inside else entry.name
                suffix = os.path.splitext(entry.name)[1].lower()
                if _is_hidden(entry):
                    if suffix in SUFFIXES and not _is_folder(entry):
                        self.ignored["image with a hidden name"] += 1
                elif _is_folder(entry):
                    below.append((path, (*above, here)))
                elif suffix in SUFFIXES:
                    yield path
                else:
                    self.ignored[suffix or "file without a suffix"] += 1
            if deep:
                waiting += reversed(below)

    def _entries(self, inside: str, label: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / inside) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            reason = (
                "folder without permission to read"
                if isinstance(error, PermissionError)
                else f"folder: {error.strerror}"
            )
            if not any(item.path == inside for item in self.unreadable):
                self.unreadable.append(Item(inside, label, reason=reason))
            return []


def _label_by_folder(walk: Walk) -> Listing:
    folders = walk.folders()
    given = [name for name in folders if name.lower() in SPLIT_NAMES]
    has_train = any(SPLIT_NAMES[name.lower()] == "train" and walk.folders(name) for name in given)
    deals = has_train and (len(given) > 1 or given == folders)  # else `train` may be a class, beside `plane`
    if deals and len(given) < len(folders):
        walk.ignored["folder beside the splits"] += len(folders) - len(given)
    sides: list[tuple[Split | None, str]] = [(SPLIT_NAMES[name.lower()], name) for name in given] if deals else []
    items: list[Item] = []
    empty: list[str] = []
    for split, inside in [(None, ""), *sides]:
        loose = walk.files(inside, label="", deep=False)
        items += [Item(path, "", split, "in no class folder") for path in loose]
    for split, inside in sides or [(None, "")]:
        for name in walk.folders(inside):
            folder = f"{inside}/{name}" if inside else name
            label = unicodedata.normalize("NFC", name)
            paths = list(walk.files(folder, label=label))
            items += [_named(path, label, split) for path in paths]
            empty += [folder] * (not paths)
    for lost in walk.unreadable:
        if lost.path in given:
            raise FolderError(
                found=f"{walk.root / lost.path}: {lost.reason}",
                expected="splits that can be read",
                fix="give yourself the permission to read it, or move it away",
            )
    unreadable = [lost.path for lost in walk.unreadable]
    items += walk.unreadable
    return Listing(walk.root, tuple(items), dict(walk.ignored), tuple(each for each in empty if each not in unreadable))


def _label_by_name(walk: Walk) -> Listing:
    items = list(walk.unreadable)
    for path in walk.files(label=""):
        label = label_of_name(path.rpartition("/")[2])
        items.append(_named(path, label) if label else Item(path, "", reason="no class in its name"))
    return Listing(walk.root, tuple(items), dict(walk.ignored))


def _named(path: str, label: str, split: Split | None = None) -> Item:
    """An item, refused where its name is not text: such a path could not be written into any table and read back."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return Item(path, label.encode("utf-8", "replace").decode(), split, "its name is not UTF-8")
    return Item(path, label, split)


def _read_manifest(file: Path) -> Listing:
    items: list[Item] = []
    seen: dict[tuple[str, str], int] = {}
    for line, row in _manifest_rows(file):
        path, label = row["path"].strip(), unicodedata.normalize("NFC", row["label"].strip())
        name = (row.get("split") or "").strip().lower()
        if name and name not in SPLIT_NAMES:
            raise FolderError(
                found=f"split {name!r} in line {line} of {file}",
                expected="train, validation, test, or nothing",
                fix="mend that line",
            )
        split = SPLIT_NAMES[name] if name else None
        reason = "no path" if not path else "no label" if not label else ""
        if not reason and (path, label) in seen:
            reason = f"listed already in line {seen[path, label]}"
        seen.setdefault((path, label), line)
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
    """No usable image was listed: say which of the usual reasons it is."""
    loose = [item for item in listing.items if item.reason == "in no class folder"]
    if loose:
        fix = "put each class into a folder of its own"
        if any(label_of_name(Path(item.path).name) for item in loose):
            fix += ", or pass --label-from-name to take the class from names like cat.0.jpg"
        found = f"{len(loose):,} images in {listing.root} itself, and none in a sub-folder"
        return FolderError(found=found, expected="one sub-folder per class", fix=fix)
    others = tell_ignored(listing.ignored) or "nothing else"
    refused = f"; {listing.items[0].path or listing.root}: {listing.items[0].reason}" if listing.items else ""
    return FolderError(
        found=f"no images in {listing.root} ({others}{refused})",
        expected=f"files that end in {', '.join(sorted(SUFFIXES))}, one sub-folder per class",
        fix="check the path",
    )


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(PASSED_OVER)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
