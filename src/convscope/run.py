"""The run folder: what is in it, how each file is written whole, and how it is read back.

Every file appears complete or not at all: it is written beside its place, flushed to disk, and renamed into it; only
log.jsonl grows. Nothing is ever written anywhere else, least of all into the user's images.
"""

from __future__ import annotations

import csv
import filecmp
import hashlib
import io
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from convscope.errors import RunError
from convscope.recipe.recipe import Recipe

FORMAT = 1
RUNS = Path("runs")
NOT_UTF_8 = "backslashreplace"  # a byte of a name that is not UTF-8 becomes `\udcff`, which JSON reads back as it was
LIBRARIES = ("convscope", "numpy", "pillow", "onnxruntime", "keras", "tensorflow", "tensorflow-cpu", "tf2onnx", "onnx")


@dataclass(frozen=True, slots=True)
class Run:
    """The places of one run's files below `path`."""

    path: Path

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def environment_file(self) -> Path:
        return self.path / "environment.json"

    @property
    def log_file(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def data_file(self) -> Path:
        return self.path / "data.csv"

    @property
    def history_file(self) -> Path:
        return self.path / "history.csv"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def recipe(self) -> Recipe:
        """The recipe that the run was started with."""
        return Recipe.from_file(self.recipe_file)

    @property
    def environment(self) -> dict[str, Any]:
        """Where the images are, and what the run was made with."""
        return read_json(self.environment_file)

    @property
    def is_finished(self) -> bool:
        """Whether training came to its end and left a model."""
        return (self.model / "model.json").exists()

    def log(self, event: str, **facts: Any) -> None:
        """Add one line to log.jsonl: what happened, and when."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}, ensure_ascii=False)
        with self.log_file.open("a", encoding="utf-8", errors=NOT_UTF_8) as file:
            file.write(line + "\n")


def new_run(path: Path | None, *, recipe: Recipe, data: Path) -> Run:
    """Make a run folder at `path`, or at the next free `runs/N`; an existing one is never overwritten."""
    try:
        run = Run(count_up(RUNS) if path is None else _make_folder(path))
        write_whole(run.recipe_file, recipe.to_toml())  # a folder with a recipe is a run
        keep_environment(run, data=data)
    except OSError as error:
        raise RunError(
            found=f"{path or RUNS} cannot be written: {error.strerror or error}",
            expected="a place for the run folder that convscope may write to",
            fix="choose another --out",
        ) from None
    return run


def check_free(path: Path) -> None:
    """Make sure that a new run can be at `path`: nothing is there, or a folder that is empty but for hidden files.

    Raises:
        RunError: something is.
        OSError: no folder can be made there.
    """
    missing = [each for each in (path, *path.parents) if not each.exists()]
    if missing:
        path.mkdir(parents=True)
        for folder in missing:
            with suppress(OSError):  # somebody else puts something there now
                folder.rmdir()
    if path.exists() and (not path.is_dir() or any(not each.name.startswith(".") for each in path.iterdir())):
        raise RunError(
            found=f"{path} exists already",
            expected="a new run folder",
            fix="choose another --out, or go on with --resume",
        )


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


def keep_environment(run: Run, *, data: Path) -> None:
    """Write environment.json where a run does not have it yet."""
    if not run.environment_file.exists():
        write_json(run.environment_file, describe_environment(data))


def open_run(path: Path) -> Run:
    """The run in `path`.

    Raises:
        RunError: there is no run at `path`.
    """
    run = Run(path)
    if not os.path.isfile(run.recipe_file):  # unlike Path.is_file, no error where a parent folder may not be read
        what = "no run folder" if os.path.lexists(path) else "nothing"
        raise RunError(
            found=f"{what} at {path}",
            expected="a run folder, as `convscope train` leaves it",
            fix=f"check the path; runs here: {_runs_here()}",
        )
    return run


def run_to_resume(out: Path | None, *, resume: bool) -> Run | None:
    """The run in `out` to go on with; None where it is to begin, also since it was killed before it had begun.

    Raises:
        RunError: it is not said which run.
    """
    if resume and out is None:
        raise RunError(found="--resume without --out", expected="the run to go on with", fix="say which one with --out")
    run = Run(Path(out)) if resume and out is not None else None
    return run if run is not None and run.recipe_file.is_file() else None


def base_recipe(file: Path | None, *, out: Path | None, resume: bool) -> Recipe:
    """What flags go over: the recipe in `file`, else that of the run which is gone on with, else the default one."""
    if file is not None:
        return Recipe.from_file(file)
    old = run_to_resume(out, resume=resume)
    return Recipe() if old is None else old.recipe


def describe_environment(data: Path) -> dict[str, Any]:
    """What a run depends on besides its recipe: the images' folder, versions, machine."""
    return {
        "format": FORMAT,
        "data": str(data.absolute()),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": available_cores(),
        "libraries": library_versions(),
    }


def available_cores() -> int:
    """How many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def library_versions() -> dict[str, str]:
    """The versions of those libraries that a model's answers depend on, as far as they are installed."""
    return dict(_versions())


def write_whole(path: Path, data: str | bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    with open_whole(path) as file:
        file.write(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)


@contextmanager
def open_whole(path: Path, *, over: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that takes its place at `path` when the block ends well, and vanishes when it does not.

    A symbolic link stays and its target is written; what is no file, such as /dev/null, is written as it is.

    Args:
        path: its place.
        over: whether it may take that of another file; else what is there stays, and must be the same byte for byte.

    Raises:
        RunError: another file is there, and `over` is false.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if over or not path.exists():
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


def replace_folder(part: Path, place: Path) -> None:
    """Rename a finished folder into its place; what stood there is removed only then."""
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    part.rename(place)
    sync_folder(place.parent)
    shutil.rmtree(old, ignore_errors=True)


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
    write_whole(path, text.getvalue())


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


def write_json(path: Path, facts: Mapping[str, Any], *, over: bool = True) -> None:
    """Write a JSON file whole, as `open_whole` does; NaN and infinity are refused, since other readers would be."""
    text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with open_whole(path, over=over) as file:
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


def _make_folder(path: Path) -> Path:
    check_free(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def count_up(parent: Path) -> Path:
    """Make and return the first free `parent/N`; two that ask at once get two folders."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(each.name) for each in parent.iterdir() if each.name.isdecimal()), default=0)
    while True:
        try:
            (parent / str(number)).mkdir()
            return parent / str(number)
        except FileExistsError:
            number += 1


def _runs_here() -> str:
    found = sorted(str(file.parent) for file in RUNS.glob("*/recipe.toml"))
    return ", ".join(found[-5:]) or "none"


def _versions() -> Iterator[tuple[str, str]]:
    for name in LIBRARIES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
