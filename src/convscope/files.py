"""Atomic writing: a file or folder appears complete or not at all; and CSV, JSON and hashes of files.

A file is written under a temporary name beside its path, flushed to disk, and renamed; a folder likewise. The name
holds this process's id, so two processes that write to the same path never mix: one of the two results is there in the
end, complete.
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

from convscope.errors import ConvscopeError, RunError

FORMAT = 1
WRITE_ERRORS = {
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS"),  # no permission
        *("ENOSPC", "EDQUOT", "EFBIG", "EIO"),  # no space, or a disk that fails
        *("EEXIST", "ENOTDIR", "EISDIR", "ENAMETOOLONG", "ELOOP", "ENXIO"),  # no such place
    )
    if hasattr(errno, name)
}
NOT_UTF_8 = "backslashreplace"  # a byte of a name that is not UTF-8 becomes `\udcff`, which JSON reads back as it was
_HOST = hashlib.sha256(platform.node().encode("utf-8", "surrogateescape")).hexdigest()[:6]
_STAGED = re.compile(r"\..+\.(?P<host>[0-9a-f]{6})-(?P<process>\d+)-[0-9a-f]{8}\.part", re.DOTALL)


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write a file so that it is there complete or not at all; text as UTF-8."""
    with open_atomic(path) as file:
        file.write(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)


@contextmanager
def open_atomic(path: Path, *, overwrite: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that is renamed to `path` when the block ends, and removed if the block raises.

    A symbolic link stays, and its target is written. What is not a regular file, such as /dev/null, is written
    directly.

    Args:
        path: where the file belongs; missing parent folders are made.
        overwrite: whether it may replace another file; if not, an existing file is kept, and must be equal to the new
            one, byte for byte.

    Raises:
        RunError: another file exists, and `overwrite` is false.
        OSError: it cannot be written; its `filename` is `path`, never the temporary name.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = _staging_path(path)
    try:
        with _naming_errors(path, staged):
            with staged.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if overwrite or not path.exists():
                staged.replace(path)
            elif not filecmp.cmp(staged, path, shallow=False):
                check_new(path)
    finally:
        staged.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def staged_folder(path: Path, *, keep_existing: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """A new temporary folder to write into, renamed to `path` when the block ends, and removed if the block raises.

    Args:
        path: where the finished folder belongs. An existing folder is replaced, and removed only then.
        keep_existing: called when the block has ended and something is at `path`: True keeps that and drops the new
            folder, as when another process has finished the same work first.

    Raises:
        OSError: it cannot be written; its `filename` is at `path`, never at the temporary name.
    """
    remove_leftovers(path.parent)
    staged = _staging_path(path)
    try:
        with _naming_errors(path, staged):
            staged.mkdir(parents=True)
            yield staged
            _move_into_place(staged, path, keep_existing)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _move_into_place(staged: Path, path: Path, keep_existing: Callable[[], bool]) -> None:
    replaced: list[Path] = []
    while True:
        try:
            staged.rename(path)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if keep_existing():
            break
        aside = _staging_path(path)
        with suppress(FileNotFoundError):  # another process has just moved it away
            path.rename(aside)
        replaced.append(aside)
    for folder in replaced:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _naming_errors(path: Path, staged: Path) -> Iterator[None]:
    """Have an OSError of the block name `path`, where it names `staged`, what is in it, or nothing, as a full disk."""
    try:
        yield
    except OSError as error:
        name = str(staged) if error.filename is None else error.filename
        if error.errno is not None and isinstance(name, str) and Path(name).is_relative_to(staged):
            error.filename = str(path / Path(name).relative_to(staged))
            if error.filename2 is not None:  # the target of a rename
                del error.filename2
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders in `folder` whose process, one of this machine, no longer runs."""
    for path in folder.glob(".*.part"):
        match = _STAGED.fullmatch(path.name)
        if match is not None and match["host"] == _HOST and not _is_alive(int(match["process"])):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _staging_path(path: Path) -> Path:
    """A path beside `path` that no other process uses: its name holds the machine and the process."""
    return path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{secrets.token_hex(4)}.part")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Flush the entries of `folder` to disk, so that a renamed file survives a power cut; POSIX only."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_table(
    path: Path, header: Sequence[str], rows: Iterator[Sequence[object]] | Sequence[Sequence[object]]
) -> None:
    """Write a CSV file atomically: UTF-8, commas, line feeds."""
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in (header, *rows):
        # Python before 3.13 writes a carriage return without quotes, and reads it as the end of a line
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
    """Write a JSON file as `open_atomic` does.

    Raises:
        ValueError: a value is NaN or infinite, which is not valid JSON.
    """
    text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with open_atomic(path, overwrite=overwrite) as file:
        file.write(text.encode("utf-8", NOT_UTF_8))


def read_json(path: Path, *, format: int = FORMAT) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        format: the version of its format; an object without the key `format` is accepted.

    Raises:
        RunError: the file is missing, damaged, or of another format.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            found=f"{path}: {error}", expected="a JSON file of a run", fix="restore it, or train again"
        ) from None
    if not isinstance(facts, dict) or facts.get("format", format) != format:
        raise RunError(
            found=f"{path} is of another format",
            expected=f"format {format}",
            fix="use the version of convscope that wrote it",
        )
    return facts


def check_new(path: Path) -> None:
    """Check that no file exists at `path`.

    Raises:
        RunError: one does.
    """
    if path.is_file():
        raise RunError(
            found=f"{path} exists already",
            expected="a new file",
            fix="choose another `out`, or move that file away",
        )


def make_numbered_folder(parent: Path) -> Path:
    """Make and return the folder `parent/N` after the highest N; two processes at once get two folders."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(path.name) for path in parent.iterdir() if path.name.isdecimal()), default=0)
    while True:
        try:
            (parent / str(number)).mkdir()
            return parent / str(number)
        except FileExistsError:
            number += 1


@contextmanager
def explain_write_errors(
    path: Path | str,
    error_class: type[ConvscopeError] = RunError,
    *,
    fix: str = "check the permissions and the free space, or choose another `out`",
) -> Iterator[None]:
    """Raise what keeps the block from writing, on the user's side, as an error with found, expected and fix.

    Any other OSError is a bug, or no error at all (a closed pipe), and passes.

    Args:
        path: what the block writes, named if the system does not say which file failed.
        error_class: of what is raised.
        fix: what the user can do.

    Raises:
        RunError, or `error_class`: no permission, no space, a disk that fails, a path that cannot exist.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in WRITE_ERRORS:
            raise
        raise error_class(
            found=f"{error.filename or path} cannot be written: {error.strerror}",
            expected="a path with permission and space to write",
            fix=fix,
        ) from None
