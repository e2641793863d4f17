"""The inputs that arguments name: files, folders, globs, and lists on standard input, in order.

The list of inputs is kept in a file, so that ten million inputs need no more memory than ten. It holds each path byte
for byte, followed by a NUL, the one byte that no path can contain.
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

from convscope.datasets.folder_walk import FolderWalk
from convscope.datasets.listing import describe_ignored
from convscope.errors import FolderError, RunError
from convscope.formatting import printable
from convscope.progress import progress

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 18
REPORTED_PATHS = 1000  # counted together: reporting each path would take longer than listing it


@dataclass(frozen=True, slots=True)
class InputList:
    """A list of inputs in a file.

    Attributes:
        count: how many paths it has.
        sha256: of the file.
    """

    count: int
    sha256: str


def write_inputs(file: IO[bytes], images: Iterable[str]) -> InputList:
    """Write the paths of all inputs to a file.

    Args:
        file: where to write, in binary mode.
        images: as in `list_inputs`.

    Raises:
        FolderError: there is no input, a folder has no image, or a path contains a NUL.
        RunError: standard input cannot be read.
    """
    digest, count = hashlib.sha256(), 0
    with progress("listing", None, unit="images") as counter:
        for path in list_inputs(images):
            data = os.fsencode(path)
            if b"\0" in data:
                raise FolderError(
                    found=f"a path with a NUL in it: {path[:100]!r}",
                    expected="one path per line",
                    fix="end each path with a line feed: `find -print`, not `find -print0`",
                )
            file.write(data + b"\0")
            digest.update(data + b"\0")
            count += 1
            if count % REPORTED_PATHS == 0:
                counter.advance(REPORTED_PATHS)
        counter.advance(count % REPORTED_PATHS)
    if not count:
        raise FolderError(found="no images", expected="files, folders with images, or globs", fix="check the paths")
    return InputList(count, digest.hexdigest())


def read_inputs(file: IO[bytes], positions: range) -> Iterator[str]:
    """The paths at consecutive positions of a list that `write_inputs` wrote; a few thousand are in memory."""
    file.seek(0)
    num_read, rest = 0, b""
    while num_read < positions.stop and (block := file.read(BLOCK_BYTES)):
        *paths, rest = (rest + block).split(b"\0")
        yield from map(os.fsdecode, paths[max(0, positions.start - num_read) : max(0, positions.stop - num_read)])
        num_read += len(paths)


def list_inputs(images: Iterable[str]) -> Iterator[str]:
    """The files that arguments name.

    A name that matches nothing is yielded as it is, and becomes an unreadable row. The names in one folder are in
    memory together, to be sorted, and so are all matches of a glob; nothing else is.

    Args:
        images: files, folders (searched in depth), globs, or `-` for a list of paths on standard input, one per line.

    Raises:
        FolderError: a folder has no image.
        RunError: standard input cannot be read.
    """
    for name in images:
        if name == "-":
            yield from _read_stdin()
        elif os.path.isdir(name):
            yield from _list_folder(name)
        elif glob.has_magic(name) and not os.path.lexists(name):
            yield from _list_matches(name)
        else:
            yield name


def _read_stdin() -> Iterator[str]:
    """One path per line, byte for byte: a name may contain other line separators, or not be UTF-8."""
    try:
        if sys.stdin is None:
            raise OSError("it is closed")
        for line in sys.stdin.buffer:
            if path := line.removesuffix(b"\n").removesuffix(b"\r"):
                yield os.fsdecode(path)
    except OSError as error:
        raise RunError(
            found=f"standard input cannot be read: {error.strerror or error}",
            expected="a list of paths, one per line",
            fix="pipe a list in, or name the images instead of `-`",
        ) from None


def _list_matches(pattern: str) -> Iterator[str]:
    """The files that a glob matches, as a shell expands it; `**` already matches what is inside its folders."""
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
    walk = FolderWalk(Path(name))
    is_empty = True
    for path in walk.files(label=""):
        is_empty = False
        yield os.path.join(name, path)
    if ignored := describe_ignored(walk.ignored):
        logger.info(f"{printable(name)}: skipped {ignored}")
    for item in walk.unreadable:
        is_empty = False
        yield os.path.join(name, item.path)
    if is_empty:
        raise FolderError(found=f"no images in {name}", expected="a folder with images", fix="check the path")
