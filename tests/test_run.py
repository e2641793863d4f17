"""run.py: a run folder has its recipe and the folder of its images, and is never overwritten."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from unprivileged_user import UnprivilegedUser

from convscope.environment import available_cores
from convscope.errors import RunError
from convscope.files import write_json
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.run import Run, check_free, find_started_run, new_run, open_run

DATA = Path("photos")
RECIPE = resolve(Recipe(network="classic", seed=7, filters=(8, 8)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_run_has_its_recipe_and_the_folder_of_its_images(tmp_path: Path) -> None:
    """Both are in the folder from the start, as plain text."""
    run = new_run(tmp_path / "deep" / "run", recipe=RECIPE, data=DATA)
    assert run.recipe == RECIPE
    assert run.environment["data"] == str(DATA.absolute())
    assert run.environment["cores"] == available_cores() >= 1
    assert {"convscope", "numpy", "pillow"} - run.environment["libraries"].keys() <= {"convscope"}
    assert not run.is_finished
    assert {path.name for path in run.path.iterdir()} == {"recipe.toml", "environment.json"}
    assert open_run(run.path) == run


@pytest.mark.slow
def test_runs_without_a_name_are_counted_up(here: Path) -> None:
    """`runs/1`, `runs/2`, ...: after the highest number, never the same number twice."""
    (here / "runs" / "7").mkdir(parents=True)
    (here / "runs" / "name").mkdir()
    assert new_run(None, recipe=RECIPE, data=DATA).path == Path("runs/8")
    together = threading.Barrier(8)

    def start(_: int) -> int:
        together.wait(10)
        return int(new_run(None, recipe=RECIPE, data=DATA).path.name)

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(start, range(32))) == list(range(9, 41))


def test_a_folder_that_cannot_be_written_is_an_error_before_it_is_needed(
    tmp_path: Path, unprivileged_user: UnprivilegedUser
) -> None:
    """The check leaves nothing behind; where no run can be made, that is an error now and not after the training."""
    check_free(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file/run cannot be written.*choose another `out`"):
        check_free(tmp_path / "file" / "run")
    with (
        unprivileged_user.impersonate(),
        pytest.raises(RunError, match="Permission denied"),
    ):  # the folder of another user
        check_free(unprivileged_user.folder / "run")


def test_an_existing_run_is_never_overwritten(tmp_path: Path) -> None:
    """A folder with anything in it, or a file, is refused and left as it is; an empty one may be used."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep", encoding="utf-8")
    (tmp_path / "file").touch()
    for taken in ("mine", "file"):
        with pytest.raises(RunError, match=r"exists already.*choose another `out`$"):
            new_run(tmp_path / taken, recipe=RECIPE, data=DATA)
    run = new_run(tmp_path / "run", recipe=RECIPE, data=DATA)
    with pytest.raises(RunError, match=r"exists already.*`resume=True`"):  # only a run can be continued
        new_run(run.path, recipe=RECIPE, data=DATA)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").touch()
    assert new_run(tmp_path / "empty", recipe=RECIPE, data=DATA).recipe == RECIPE


def test_a_run_that_cannot_be_written_is_an_error(
    unprivileged_user: UnprivilegedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No permission, or a file where a folder has to be: an error in three parts, with or without `out`."""
    (unprivileged_user.folder / "file").touch()
    (unprivileged_user.folder / "closed").mkdir(mode=0o700)
    monkeypatch.chdir(unprivileged_user.folder)
    with unprivileged_user.impersonate():
        for path in (None, Path("run"), Path("closed/run"), Path("file/run")):
            with pytest.raises(RunError, match=r"cannot be written.*choose another `out`"):
                new_run(path, recipe=RECIPE, data=DATA)
        with pytest.raises(RunError, match="no run folder at closed"):
            open_run(Path("closed"))


def test_an_error_lists_the_existing_runs(here: Path) -> None:
    """Nothing, another folder, a file, a name that is too long: each is named, and the runs here are listed."""
    with pytest.raises(RunError, match=r"nothing at gone.*runs here: none"):
        open_run(Path("gone"))
    new_run(None, recipe=RECIPE, data=DATA)
    (here / "other").mkdir()
    (here / "file").touch()
    for name, description in (("other", "no run folder"), ("file", "no run folder"), ("long" * 100, "nothing")):
        with pytest.raises(RunError, match=f"{description} at {name}.*runs/1"):
            open_run(Path(name))


def test_the_log_grows_by_lines(tmp_path: Path) -> None:
    """Each event is one line of JSON with its time and facts, also with names that are no text."""
    run = new_run(tmp_path / "run", recipe=RECIPE, data=DATA)
    facts = [{"step": 3}, {"text": "狗\n\udcff"}, {}]
    for number, values in enumerate(facts):
        run.log(f"event {number}", **values)
    lines = [json.loads(line) for line in run.log_file.read_text(encoding="utf-8").splitlines()]
    assert [line.pop("event") for line in lines] == ["event 0", "event 1", "event 2"]
    assert all(abs(line.pop("time") - time.time()) < 60 for line in lines)
    assert lines == facts


def test_a_run_with_a_model_is_finished(tmp_path: Path) -> None:
    """It is finished as soon as its model is written; all paths are below its folder."""
    run = Run(tmp_path)
    assert not run.is_finished
    write_json(run.model / "model.json", {})
    assert run.is_finished
    paths = (run.data_file, run.history_file, run.log_file, run.checkpoints, run.figures)
    assert [path.name for path in paths] == ["data.csv", "history.csv", "log.jsonl", "checkpoints", "figures"]
    assert all(path.parent == tmp_path for path in paths)


def test_a_started_run_is_one_with_a_recipe(tmp_path: Path) -> None:
    """Only such a run can be resumed: none is found in an empty folder, or where the recipe was not written yet."""
    run = new_run(tmp_path / "run", recipe=RECIPE, data=DATA)
    assert find_started_run(run.path) == run
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / ".recipe.toml.123.part").write_text("image_si")
    assert find_started_run(tmp_path / "killed") is None
    assert find_started_run(tmp_path / "nothing") is None
    with pytest.raises(RunError, match=r"`resume=True` without `out`"):
        find_started_run(None)
