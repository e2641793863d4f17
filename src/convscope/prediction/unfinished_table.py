"""An unfinished table on disk: the rows that survive `kill -9` and a power cut, and from which `predict` resumes.

It is a hidden folder beside the table, with the list of inputs and the table's provenance. The rows lie there in
parts: each part is a small table, written atomically, whose name says which inputs it holds and how many of them are
unreadable. So no index exists that could disagree with the parts.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from convscope.errors import ConvscopeError, RunError
from convscope.files import explain_write_errors, open_atomic, remove_leftovers, write_atomic, write_json
from convscope.prediction.inference import Prediction
from convscope.prediction.inputs import InputList, read_inputs, write_inputs
from convscope.prediction.provenance import Provenance

PART_SECONDS = 5.0  # work that a kill can lose; ten million images at 1,000 images/s make 2,000 parts
PROVENANCE, INPUTS, LOCK = "origin.json", "inputs", "lock"
PART = re.compile(r"(\d{12,})-(\d+)-(\d+)")  # first, count, unreadable

Describe = Callable[[InputList], Provenance]  # a list of inputs -> the provenance of the table of these inputs


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of some consecutive inputs.

    Attributes:
        first: position of the first input in the list of all inputs.
        count: how many inputs.
        unreadable: how many of them are unreadable.
        path: the file.
    """

    first: int
    count: int
    unreadable: int
    path: Path


@dataclass(frozen=True, slots=True)
class UnfinishedTable:
    """The folder of an unfinished table, and the provenance of the table."""

    folder: Path
    provenance: Provenance

    def paths(self, positions: range) -> Iterator[str]:
        """The inputs at consecutive positions of the list of all inputs."""
        with (self.folder / INPUTS).open("rb") as file:
            yield from read_inputs(file, positions)

    def write_part(self, table: bytes, *, first: int, count: int, unreadable: int) -> None:
        """Write the rows of the `count` inputs from `first` on.

        Raises:
            RunError: they cannot be written.
        """
        path = self.folder / f"{first:012}-{count}-{unreadable}"
        with explain_write_errors(path, fix="check the permissions and the free space, then use `resume=True`"):
            write_atomic(path, table)

    def parts(self) -> list[Part]:
        """The parts that can be joined: in order, each beginning where the one before it ends."""
        by_first: dict[int, Part] = {}
        for path in self.folder.iterdir():
            if match := PART.fullmatch(path.name):
                first, count, unreadable = map(int, match.groups())
                by_first[first] = Part(first, count, unreadable, path)
        parts: list[Part] = []
        next_first = self.provenance.input_range.start
        while next_first in self.provenance.input_range and next_first in by_first:
            parts.append(by_first[next_first])
            next_first += by_first[next_first].count
        return parts

    def num_done(self) -> int:
        """How many rows are written."""
        return sum(part.count for part in self.parts())

    def is_complete(self) -> bool:
        """Whether every row is written."""
        return self.num_done() == self.provenance.count

    def mark_finished(self) -> None:
        """Note that the table itself is written; `open_unfinished_table` removes the folder when its block ends."""
        (self.folder / PROVENANCE).unlink()


@contextmanager
def open_unfinished_table(
    out: Path, images: Iterable[str], describe: Describe, *, resume: bool
) -> Iterator[UnfinishedTable]:
    """Begin a table, or resume one; while the block runs no other process can.

    Args:
        out: the path of the table.
        images: its inputs; may be empty to resume: the list was saved when the table was begun.
        describe: the provenance of the table, given its inputs.
        resume: continue the unfinished table if there is one.

    Raises:
        FolderError: there is no input.
        RunError: an unfinished table is there and `resume` is false, or it has another provenance, or another process
            is writing it, or the folder cannot be written.
    """
    folder = parts_folder(out)
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        try:
            yield _resume(folder, images, describe, resume=resume) or _begin(folder, images, describe)
        finally:
            if not (folder / PROVENANCE).exists():
                _remove_files(folder)
                (folder / LOCK).unlink(missing_ok=True)
                with suppress(OSError):  # it holds a file that convscope did not write
                    folder.rmdir()


def has_unfinished_table(out: Path) -> bool:
    """Whether a table for `out` was begun and is not finished."""
    return os.path.exists(parts_folder(out) / PROVENANCE)


def parts_folder(out: Path) -> Path:
    """The folder of an unfinished table: `.NAME.parts` beside it, or beside the target of a symbolic link."""
    out = Path(os.path.realpath(out))
    return out.with_name(f".{out.name}.parts")


def check_provenance(provenance: Provenance, images: Iterable[str], describe: Describe, *, path: Path) -> None:
    """Raise an error if the table at `path` is not the one that is requested.

    Args:
        provenance: of the table at `path`.
        images: the requested inputs; if there are none, those of the table are.
        describe: the requested provenance, given its inputs.
        path: named in the error.

    Raises:
        RunError: they differ.
    """
    requested = describe(InputList(provenance.total, provenance.inputs))
    if images := list(images):
        with open(os.devnull, "wb") as file:  # only the count and the hash are needed
            requested = describe(write_inputs(file, images))
    if differences := provenance.differences(requested):
        leave_out = ", or no images to use the saved list" if provenance.inputs != requested.inputs else ""
        raise RunError(
            found=f"other choices than those of {path}: {', '.join(differences)}",
            expected="the choices with which that table was begun",
            fix=f"make the same choices{leave_out}; or choose another `out`",
        )


def group_into_parts(
    batches: Iterable[Sequence[Prediction]], *, max_rows: int, is_stopped: Callable[[], bool]
) -> Iterator[list[Prediction]]:
    """Join batches into parts: a part ends after some seconds, at `max_rows`, or when a stop is requested."""
    predictions: list[Prediction] = []
    started = time.monotonic()
    for batch in batches:
        predictions += batch
        if is_stopped() or len(predictions) >= max_rows or time.monotonic() - started > PART_SECONDS:
            yield predictions
            predictions, started = [], time.monotonic()
    if predictions:
        yield predictions


def _begin(folder: Path, images: Iterable[str], describe: Describe) -> UnfinishedTable:
    with explain_write_errors(folder):
        _remove_files(folder)  # a kill may have interrupted the removal of an earlier table's parts
        with open_atomic(folder / INPUTS) as file:
            provenance = describe(write_inputs(file, images))
        write_json(folder / PROVENANCE, provenance.to_json())  # from here on the table is begun
    return UnfinishedTable(folder, provenance)


def _resume(folder: Path, images: Iterable[str], describe: Describe, *, resume: bool) -> UnfinishedTable | None:
    """The unfinished table in a folder; None if there is none."""
    provenance = _read_provenance(folder)
    if provenance is None:
        return None
    unfinished = UnfinishedTable(folder, provenance)
    if not resume:
        raise RunError(
            found=f"an unfinished table, {unfinished.num_done():,} of {provenance.count:,} images done, in {folder}",
            expected="a new table",
            fix="continue with `resume=True`; or choose another `out`; or, to start again, remove that folder",
        )
    check_provenance(provenance, images, describe, path=folder)
    with explain_write_errors(folder):
        remove_leftovers(folder)
    return unfinished


def _read_provenance(folder: Path) -> Provenance | None:
    file = folder / PROVENANCE
    if not file.exists():
        return None
    try:
        return Provenance.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, KeyError, TypeError, ValueError, RecursionError, ConvscopeError) as error:
        raise RunError(
            found=f"{file} cannot be read: {error}",
            expected="the provenance of an unfinished table",
            fix=f"use the convscope that wrote it; or, to start again, remove {folder}",
        ) from None


def _remove_files(folder: Path) -> None:
    """Remove what convscope wrote into a folder that holds no unfinished table."""
    for path in folder.iterdir():
        # temporary files too, of any machine: the lock guarantees that no process is writing them
        if path.name == INPUTS or PART.fullmatch(path.name) or path.match(".*.part"):
            path.unlink()


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system releases if the process dies."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with explain_write_errors(folder):
        lock = (folder / LOCK).open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                found=f"{folder} in use by another process",
                expected="one process that writes a table",
                fix="wait until that process ends, or choose another `out`",
            ) from None
        except OSError:  # a file system without locks: as on Windows, it is up to the user
            pass
        yield
