"""What arguments name, as a list of inputs: files, folders, globs, and lists on standard input, in order.

The list of a run lies in a file, so that ten million inputs need no more memory than ten: each path byte for byte,
ended by a NUL, the one byte that no path can hold.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from convscope.datasets.listing import Walk, tell_ignored
from convscope.errors import FolderError
from convscope.formatting import printable
from convscope.progress import progress

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 18
TOLD_AT_ONCE = 1000  # paths: telling each would take longer than listing it


@dataclass(frozen=True, slots=True)
class InputList:
    """What is known of a list in a file: how many paths, and the SHA-256 of the file."""

    count: int
    sha256: str


def write_inputs(file: IO[bytes], images: Iterable[str]) -> InputList:
    """Write what arguments name to a file, one path after the other.

    Raises:
        FolderError: there is no input, a folder holds no image, or a path holds a NUL.
    """
    digest, count = hashlib.sha256(), 0
    with progress("listing", None, unit="images") as bar:
        for path in list_inputs(images):
            data = os.fsencode(path)
            if b"\0" in data:
                raise FolderError(
                    found=f"a path with a NUL in it: {path[:100]!r}",
                    expected="one path a line",
                    fix="end each with a line break: `find -print`, not `find -print0`",
                )
            file.write(data + b"\0")
            digest.update(data + b"\0")
            count += 1
            if count % TOLD_AT_ONCE == 0:
                bar.advance(TOLD_AT_ONCE)
        bar.advance(count % TOLD_AT_ONCE)
    if not count:
        raise FolderError(found="no images", expected="files, folders with images, or globs", fix="check the paths")
    return InputList(count, digest.hexdigest())


def read_inputs(file: IO[bytes], first: int, last: int) -> Iterator[str]:
    """The paths with the numbers `first` to `last - 1` of a list, as they were named; a few thousand in memory."""
    file.seek(0)
    number, rest = 0, b""
    while number < last and (block := file.read(BLOCK_BYTES)):
        *paths, rest = (rest + block).split(b"\0")
        yield from map(os.fsdecode, paths[max(0, first - number) : max(0, last - number)])
        number += len(paths)


def list_inputs(images: Iterable[str]) -> Iterator[str]:
    """The files that arguments name. A name that matches nothing stays as it is, and becomes an unreadable row.

    One folder's names are in memory together, to be put in order, and so are all the matches of a glob; nothing else.

    Raises:
        FolderError: a folder holds no image.
    """
    for name in images:
        if name == "-":
            yield from _list_stdin()
        elif os.path.isdir(name):
            yield from _list_folder(name)
        elif glob.has_magic(name) and not os.path.lexists(name):
            yield from _list_matches(name)
        else:
            yield name


def _list_stdin() -> Iterator[str]:
    """One path a line, byte for byte: a name may hold every other sign that ends a line, or not be UTF-8."""
    for line in sys.stdin.buffer:
        if path := line.removesuffix(b"\n").removesuffix(b"\r"):
            yield os.fsdecode(path)


def _list_matches(pattern: str) -> Iterator[str]:
    """What a glob matches, as if a shell had spelled it out; `**` names what is in its folders itself."""
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        logger.info(f"{printable(pattern)}: no file matches")
        yield pattern
    for match in matches:
        if not os.path.isdir(match):
            yield match
        elif "**" not in pattern:
            yield from _list_folder(match)


def _list_folder(name: str) -> Iterator[str]:
    walk = Walk(Path(name))
    found = False
    for path in walk.files(label=""):
        found = True
        yield os.path.join(name, path)
    if passed := tell_ignored(walk.ignored):
        logger.info(f"{printable(name)}: passed over: {passed}")
    for item in walk.unreadable:
        found = True
        yield os.path.join(name, item.path)
    if not found:
        raise FolderError(found=f"no images in {name}", expected="a folder with images", fix="check the path")
