"""The run folder: what is in it, and how a run is made, opened and resumed.

Every file in it appears whole or not at all (`convscope.files`); only log.jsonl grows.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.environment import describe_environment
from convscope.errors import RunError
from convscope.files import NOT_UTF_8, make_numbered_folder, read_json, write_atomic, write_json
from convscope.recipe.recipe import Recipe

RUNS = Path("runs")


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
        run = Run(make_numbered_folder(RUNS) if path is None else _make_folder(path))
        write_atomic(run.recipe_file, recipe.to_toml())  # a folder with a recipe is a run
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


def _make_folder(path: Path) -> Path:
    check_free(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _runs_here() -> str:
    found = sorted(str(file.parent) for file in RUNS.glob("*/recipe.toml"))
    return ", ".join(found[-5:]) or "none"
