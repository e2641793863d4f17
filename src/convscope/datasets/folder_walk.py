"""Visits the image files below a folder, in the order of their paths, and counts the files that it skips."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from convscope.images.image_reader import SUFFIXES

HIDDEN_PREFIXES = (".", "__MACOSX", "@eaDir")  # also copies and thumbnails that macOS and Synology leave beside photos


@dataclass(frozen=True, slots=True)
class UnreadableFolder:
    """A folder that could not be read.

    Attributes:
        path: relative to the root of the walk.
        label: the name of the class that it belongs to.
        reason: why it could not be read.
    """

    path: str
    label: str
    reason: str


@dataclass(slots=True)
class FolderWalk:
    """Visits the image files below a folder, sorted by path, and counts the files that it skips.

    Attributes:
        root: the folder.
        ignored: number of skipped files and folders by kind.
        unreadable: the folders that could not be read.
    """

    root: Path
    ignored: Counter[str] = field(default_factory=Counter)
    unreadable: list[UnreadableFolder] = field(default_factory=list)

    def folders(self, inside: str = "") -> list[str]:
        """The names of the sub-folders of `root/inside` that are not hidden."""
        entries = self._entries(inside, inside)
        return [entry.name for entry in entries if not _is_hidden(entry) and _is_folder(entry)]

    def files(self, inside: str = "", *, label: str, is_recursive: bool = True) -> Iterator[str]:
        """The paths, relative to `root`, of the image files in `root/inside`, and below it if `is_recursive`.

        `label` is the class of a folder there that cannot be read.
        """
        parents: tuple[str, ...] = (os.path.realpath(self.root),) if inside else ()
        stack: list[tuple[str, tuple[str, ...]]] = [(inside, parents)]  # folders, each with its parents
        while stack:
            inside, parents = stack.pop()
            real_path = os.path.realpath(self.root / inside)
            if any(os.path.join(parent, "").startswith(os.path.join(real_path, "")) for parent in parents):
                self.ignored["folder linked in a circle"] += 1  # a symbolic link to a parent
                continue
            folders: list[tuple[str, tuple[str, ...]]] = []
            for entry in self._entries(inside, label):
                path = f"{inside}/{entry.name}" if inside else entry.name
                suffix = os.path.splitext(entry.name)[1].lower()
                if _is_hidden(entry):
                    if suffix in SUFFIXES and not _is_folder(entry):
                        self.ignored["image with a hidden name"] += 1
                elif _is_folder(entry):
                    folders.append((path, (*parents, real_path)))
                elif suffix in SUFFIXES:
                    yield path
                else:
                    self.ignored[suffix or "file without a suffix"] += 1
            if is_recursive:
                stack += reversed(folders)

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
            if not any(folder.path == inside for folder in self.unreadable):
                self.unreadable.append(UnreadableFolder(inside, label, reason))
            return []


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(HIDDEN_PREFIXES)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
