"""The run folder: what is in it, and how a run is made, opened and resumed.

Every file in it is written atomically (`convscope.files`); only log.jsonl grows.
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
from convscope.files import NOT_UTF_8, explain_write_errors, make_numbered_folder, read_json, write_atomic, write_json
from convscope.recipe.resolved import ResolvedRecipe

RUNS = Path("runs")
RUNS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Run:
    """The paths of one run's files below `path`."""

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
    def recipe(self) -> ResolvedRecipe:
        """The recipe that the run was started with, complete."""
        return ResolvedRecipe.from_file(self.recipe_file)

    @property
    def environment(self) -> dict[str, Any]:
        """The folder of the images, the versions of the libraries and the machine that the run was started on."""
        return read_json(self.environment_file)

    @property
    def is_finished(self) -> bool:
        """Whether training has ended and the model is written."""
        return (self.model / "model.json").exists()

    def log(self, event: str, **facts: Any) -> None:
        """Add one line to log.jsonl: what happened, and when."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}, ensure_ascii=False)
        with self.log_file.open("a", encoding="utf-8", errors=NOT_UTF_8) as file:
            file.write(line + "\n")


def new_run(path: Path | None, *, recipe: ResolvedRecipe, data: Path) -> Run:
    """Make a run folder at `path`, or at the next free `runs/N`; an existing one is never overwritten.

    Raises:
        RunError: something is there already, or the folder cannot be written.
    """
    with explain_write_errors(path or RUNS, fix="choose another `out`"):
        run = Run(make_numbered_folder(RUNS) if path is None else _make_folder(path))
        write_atomic(run.recipe_file, recipe.to_toml())  # a folder with a recipe is a run
        write_environment(run, data=data)
    return run


def check_free(path: Path) -> None:
    """Check that a new run can be made at `path`: nothing is there, or a folder that is empty but for hidden files.

    Raises:
        RunError: something is there, or no folder can be made there.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    if missing:
        with explain_write_errors(path, fix="choose another `out`"):
            path.mkdir(parents=True)
        for folder in missing:
            with suppress(OSError):  # another process has just put something there
                folder.rmdir()
    if path.exists() and (not path.is_dir() or any(not entry.name.startswith(".") for entry in path.iterdir())):
        raise RunError(
            found=f"{path} exists already",
            expected="a new run folder",
            fix="choose another `out`" + ", or continue that run with `resume=True`" * Run(path).recipe_file.is_file(),
        )


def write_environment(run: Run, *, data: Path) -> None:
    """Write environment.json, unless a run has it already."""
    if not run.environment_file.exists():
        write_json(run.environment_file, describe_environment(data))


def open_run(path: Path) -> Run:
    """The run in `path`.

    Raises:
        RunError: there is no run at `path`.
    """
    run = Run(path)
    if not os.path.isfile(run.recipe_file):  # unlike Path.is_file, no error where a parent folder may not be read
        found = "no run folder" if os.path.lexists(path) else "nothing"
        raise RunError(
            found=f"{found} at {path}",
            expected="a run folder, as `convscope train` writes it",
            fix=f"check the path; runs here: {_list_runs()}",
        )
    return run


def find_started_run(out: Path | None) -> Run | None:
    """The run at `out` that can be resumed; None if there is none, or it was killed before its recipe was written.

    Raises:
        RunError: `out` is not given.
    """
    if out is None:
        raise RunError(found="`resume=True` without `out`", expected="the run to resume", fix="name it with `out`")
    run = Run(Path(out))
    return run if run.recipe_file.is_file() else None


def _make_folder(path: Path) -> Path:
    check_free(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _list_runs() -> str:
    runs = sorted(str(file.parent) for file in RUNS.glob("*/recipe.toml"))
    return ", ".join(runs[-RUNS_SHOWN:]) or "none"
