"""Files and folders that appear whole or not at all, and their hashes.

A file is written beside its place under a name of this process's own, flushed to disk, and renamed into its place; a
folder likewise. So two processes that write to the same place never mix: one of them is there in the end, whole.
"""

from __future__ import annotations

import csv
import errno
import filecmp
import hashlib
import io
import json
import os
import platform
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from convscope.errors import RunError

FORMAT = 1
NOT_UTF_8 = "backslashreplace"  # a byte of a name that is not UTF-8 becomes `\udcff`, which JSON reads back as it was
_HOST = hashlib.sha256(platform.node().encode("utf-8", "surrogateescape")).hexdigest()[:6]
_STAGED = re.compile(r"\..+\.(?P<host>[0-9a-f]{6})-(?P<process>\d+)-[0-9a-f]{8}\.part", re.DOTALL)


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    with open_atomic(path) as file:
        file.write(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)


@contextmanager
def open_atomic(path: Path, *, overwrite: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that takes its place at `path` when the block ends well, and vanishes when it does not.

    A symbolic link stays and its target is written; what is no file, such as /dev/null, is written as it is.

    Args:
        path: its place.
        overwrite: whether it may replace another file; if not, a file that is there stays, and must be equal to this
            one byte for byte.

    Raises:
        RunError: another file is there, and `overwrite` is false.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _staging_path(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite or not path.exists():
            part.replace(path)
        elif not filecmp.cmp(part, path, shallow=False):
            check_new(path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # a full disk does not say where
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def staged_folder(place: Path, *, keep_existing: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """A new folder beside `place` to write into, renamed to `place` when the block ends well, removed when it does not.

    Args:
        place: where the finished folder belongs. A folder that is there is replaced, and removed only then.
        keep_existing: asked when the block has ended and something is at `place`: true keeps that, and drops the new
            one, as when another process has finished the same first.
    """
    remove_leftovers(place.parent)
    part = _staging_path(place)
    part.mkdir(parents=True)
    try:
        yield part
        _move_into_place(part, place, keep_existing)
        sync_folder(place.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move_into_place(part: Path, place: Path, keep_existing: Callable[[], bool]) -> None:
    moved: list[Path] = []
    while True:
        try:
            part.rename(place)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if keep_existing():
            break
        replaced = _staging_path(place)
        with suppress(FileNotFoundError):  # another process has just moved it away
            place.rename(replaced)
        moved.append(replaced)
    for replaced in moved:
        shutil.rmtree(replaced, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes of this machine left half-written in `folder` when they were killed."""
    for left in folder.glob(".*.part"):
        named = _STAGED.fullmatch(left.name)
        if named is not None and named["host"] == _HOST and not _is_alive(int(named["process"])):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _staging_path(place: Path) -> Path:
    """A path beside `place` that no other process takes: it names machine and process."""
    return place.with_name(f".{place.name}.{_HOST}-{os.getpid()}-{secrets.token_hex(4)}.part")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_table(
    path: Path, header: Sequence[str], rows: Iterator[Sequence[object]] | Sequence[Sequence[object]]
) -> None:
    """Write a CSV file whole: UTF-8, comma, `\\n`."""
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in (header, *rows):
        # Python before 3.13 writes a carriage return without quotes, and then takes it for the end of a line
        (quoted if any("\r" in str(cell) for cell in row) else plain).writerow(row)
    write_atomic(path, text.getvalue())


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a CSV file that `write_table` wrote.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, csv.Error) as error:
        raise RunError(
            found=f"{path}: {error}", expected="a CSV file of a run", fix="restore it, or train again"
        ) from None


def write_json(path: Path, facts: Mapping[str, Any], *, overwrite: bool = True) -> None:
    """Write a JSON file whole, as `open_atomic` does; NaN and infinity are refused, since other readers would be."""
    text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with open_atomic(path, overwrite=overwrite) as file:
        file.write(text.encode("utf-8", NOT_UTF_8))


def read_json(path: Path, *, format: int = FORMAT) -> dict[str, Any]:
    """Read a JSON object; `format` is the version that it has to have, where it says one.

    Raises:
        RunError: the file is missing, damaged, or of a format that this version does not know.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            found=f"{path}: {error}", expected="a JSON file of a run", fix="restore it, or train again"
        ) from None
    if not isinstance(facts, dict) or facts.get("format", format) != format:
        raise RunError(
            found=f"{path} is of another format", expected=f"format {format}", fix="use the convscope that wrote it"
        )
    return facts


def check_new(path: Path) -> None:
    """Make sure that no file is where a table is to be written.

    Raises:
        RunError: one is.
    """
    if path.is_file():
        raise RunError(
            found=f"{path} exists already",
            expected="a new file",
            fix="choose another --out, or move that file away",
        )


def make_numbered_folder(parent: Path) -> Path:
    """Make and return the first free `parent/N`; two that ask at once get two folders."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(each.name) for each in parent.iterdir() if each.name.isdecimal()), default=0)
    while True:
        try:
            (parent / str(number)).mkdir()
            return parent / str(number)
        except FileExistsError:
            number += 1
