"""The parts of a table that is not finished: what survives `kill -9` and a power cut, and is gone on with.

They lie in a hidden folder beside the table, with the list of inputs and what the table is made of. A part is a small
table of its own, written beside its place, flushed and renamed; its name says which inputs it holds and how many of
them are unreadable, so there is no second book that could disagree.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from convscope.errors import ConvscopeError, RunError
from convscope.files import open_atomic, write_atomic, write_json
from convscope.prediction.inference import Answer
from convscope.prediction.inputs import InputList, read_inputs, write_inputs
from convscope.prediction.provenance import Origin

PART_SECONDS = 5.0  # what a kill can cost; ten million images at 1,000 images/s are 2,000 parts
ORIGIN, INPUTS, LOCK = "origin.json", "inputs", "lock"
PART = re.compile(r"(\d{12,})-(\d+)-(\d+)")  # first, count, unreadable
BEGUN = re.compile(r"\..*\.part")  # what `files.open_atomic` leaves of a file when it is killed


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are done: the number of their first input, how many, how many of them unreadable; and the file."""

    first: int
    count: int
    unreadable: int
    path: Path


@dataclass(frozen=True, slots=True)
class Parts:
    """The folder of a table that is not finished, and what the table is made of."""

    folder: Path
    origin: Origin

    def paths(self, first: int, last: int) -> Iterator[str]:
        """The inputs with the numbers from `first` up to, but not including, `last`."""
        with (self.folder / INPUTS).open("rb") as file:
            yield from read_inputs(file, first, last)

    def keep(self, table: bytes, *, first: int, count: int, unreadable: int) -> None:
        """Keep the rows of `count` inputs from `first` on."""
        write_atomic(self.folder / f"{first:012}-{count}-{unreadable}", table)

    def done(self) -> list[Part]:
        """What is done, in order, each part beginning where the one before ends."""
        parts: dict[int, Part] = {}
        for path in self.folder.iterdir():
            if match := PART.fullmatch(path.name):
                start, count, unreadable = map(int, match.groups())
                parts[start] = Part(start, count, unreadable, path)
        chain: list[Part] = []
        first, last = self.origin.stretch
        while first < last and first in parts:
            chain.append(parts[first])
            first += parts[first].count
        return chain

    @property
    def is_complete(self) -> bool:
        """Whether every row is done."""
        return sum(part.count for part in self.done()) == self.origin.count

    def finish(self) -> None:
        """The table is there: the folder is none of an unfinished one any more, and goes when its block ends."""
        (self.folder / ORIGIN).unlink()


@contextmanager
def open_parts(
    out: Path, images: Iterable[str], origin_of: Callable[[InputList], Origin], *, resume: bool
) -> Iterator[Parts]:
    """Begin a table, or go on with it; while the block runs nobody else can.

    Args:
        out: where the table is to be.
        images: what its inputs are; none where one goes on: those that it was begun with.
        origin_of: what the table is made of, given its inputs.
        resume: whether to go on with what is there; where nothing is, the table is begun.

    Raises:
        FolderError: there is no input.
        RunError: an unfinished table is there and `resume` is false, or it is made of something else, or another
            process writes it.
    """
    folder = parts_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        try:
            yield _go_on(folder, images, origin_of, resume=resume) or _begin(folder, images, origin_of)
        finally:
            if not (folder / ORIGIN).exists():
                _clear(folder)
                (folder / LOCK).unlink(missing_ok=True)
                with suppress(OSError):  # something is in it that is not ours
                    folder.rmdir()


def is_begun(out: Path) -> bool:
    """Whether there is an unfinished table that is to be at `out`."""
    return (parts_folder(out) / ORIGIN).exists()


def parts_folder(out: Path) -> Path:
    """Where the parts of a table are: `.NAME.parts` beside it, or beside what it is a symbolic link to."""
    out = Path(os.path.realpath(out))
    return out.with_name(f".{out.name}.parts")


def gather(batches: Iterable[Sequence[Answer]], *, most: int, is_stopped: Callable[[], bool]) -> Iterator[list[Answer]]:
    """Batches of answers to those of whole parts: what came in some seconds, or `most`, or until a stop."""
    answers: list[Answer] = []
    since = time.monotonic()
    for batch in batches:
        answers += batch
        if is_stopped() or len(answers) >= most or time.monotonic() - since > PART_SECONDS:
            yield answers
            answers, since = [], time.monotonic()
    if answers:
        yield answers


def _begin(folder: Path, images: Iterable[str], origin_of: Callable[[InputList], Origin]) -> Parts:
    _clear(folder)  # what the removal of a finished table's parts left when it was killed
    with open_atomic(folder / INPUTS) as file:
        origin = origin_of(write_inputs(file, images))
    write_json(folder / ORIGIN, origin.to_json())  # from here on the table is begun
    return Parts(folder, origin)


def _go_on(
    folder: Path, images: Iterable[str], origin_of: Callable[[InputList], Origin], *, resume: bool
) -> Parts | None:
    """The unfinished table in a folder; None where there is none."""
    begun = _read_origin(folder)
    if begun is None:
        return None
    parts = Parts(folder, begun)
    if not resume:
        count, (first, last) = sum(part.count for part in parts.done()), begun.stretch
        raise RunError(
            found=f"an unfinished table, {count:,} of {last - first:,} images done, in {folder}",
            expected="a new table",
            fix="go on with --resume; or choose another --out; or, to start anew, remove that folder",
        )
    check_same(begun, images, origin_of, place=folder)
    return parts


def check_same(begun: Origin, images: Iterable[str], origin_of: Callable[[InputList], Origin], *, place: Path) -> None:
    """Make sure that a table is made of what is asked for, its inputs included where they are named.

    Raises:
        RunError: it is made of something else.
    """
    asked = origin_of(InputList(begun.total, begun.inputs))
    if images := list(images):
        with tempfile.TemporaryFile(dir=place.parent) as file:
            asked = origin_of(write_inputs(file, images))
    if found := begun.differences(asked):
        leave_out = ", or no images to go on with the list as it was" if begun.inputs != asked.inputs else ""
        raise RunError(
            found=f"other choices than the table was begun with: {', '.join(found)}",
            expected=f"the same as for {place}",
            fix=f"give the same{leave_out}; or choose another --out",
        )


def _read_origin(folder: Path) -> Origin | None:
    file = folder / ORIGIN
    if not file.exists():
        return None
    try:
        return Origin.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, KeyError, TypeError, ValueError, RecursionError, ConvscopeError) as error:
        raise RunError(
            found=f"{file} cannot be read: {error}",
            expected="what an unfinished table is made of",
            fix=f"use the convscope that wrote it; or, to start anew, remove {folder}",
        ) from None


def _clear(folder: Path) -> None:
    """Remove what is ours from a folder that holds no unfinished table."""
    for path in folder.iterdir():
        if path.name == INPUTS or PART.fullmatch(path.name) or BEGUN.fullmatch(path.name):
            path.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system takes back from whoever dies."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                found=f"{folder} in use by another process",
                expected="one process that writes a table",
                fix="let that one end, or choose another --out",
            ) from None
        except OSError:  # a file system without locks: as on Windows, it is up to the person
            pass
        yield
