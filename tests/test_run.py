"""run.py: a run folder knows its recipe and images, and is never overwritten."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import strategies as st
from stranger import Stranger

from convscope.environment import available_cores
from convscope.errors import RunError
from convscope.files import write_json
from convscope.recipe.recipe import Recipe
from convscope.run import Run, check_free, new_run, open_run

SOURCE = Path(__file__).parents[1] / "src"
DATA = Path("photos")
# names from a disk may be anything but NUL; bytes that are no UTF-8 come as lone surrogates
NAMES = st.text(
    st.one_of(st.characters(exclude_categories=("Cs",)), st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF))
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_run_knows_its_recipe_and_where_its_images_are(tmp_path: Path) -> None:
    """Both stand in the folder from the start, readable by anybody."""
    recipe = Recipe(network="classic", seed=7, filters=(8, 8))
    run = new_run(tmp_path / "deep" / "run", recipe=recipe, data=DATA)
    assert run.recipe == recipe
    assert run.environment["data"] == str(DATA.absolute())
    assert run.environment["cores"] == available_cores() >= 1
    assert {"convscope", "numpy", "pillow"} - run.environment["libraries"].keys() <= {"convscope"}
    assert not run.is_finished
    assert {path.name for path in run.path.iterdir()} == {"recipe.toml", "environment.json"}
    assert open_run(run.path) == run


def test_runs_without_a_name_are_counted_up(here: Path) -> None:
    """`runs/1`, `runs/2`, ...: behind the highest number, whatever else is there, and never one twice."""
    (here / "runs" / "7").mkdir(parents=True)
    (here / "runs" / "name").mkdir()
    assert new_run(None, recipe=Recipe(), data=DATA).path == Path("runs/8")
    together = threading.Barrier(8)

    def start(_: int) -> int:
        together.wait(10)
        return int(new_run(None, recipe=Recipe(), data=DATA).path.name)

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(start, range(32))) == list(range(9, 41))


def test_place_that_cannot_be_written_is_told_before_it_is_needed(tmp_path: Path, stranger: Stranger) -> None:
    """Nothing is left where a run could be; where it could not, that is an error now and not after the training."""
    check_free(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        check_free(tmp_path / "file" / "run")
    with stranger.rights(), pytest.raises(PermissionError):  # the folder belongs to another
        check_free(stranger.folder / "run")


def test_an_existing_run_is_never_overwritten(tmp_path: Path) -> None:
    """A folder with anything in it, or a file, is refused and left as it is; an empty one may be used."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep", encoding="utf-8")
    (tmp_path / "file").touch()
    for taken in ("mine", "file"):
        with pytest.raises(RunError, match=r"exists already.*--resume"):
            new_run(tmp_path / taken, recipe=Recipe(), data=DATA)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").touch()
    assert new_run(tmp_path / "empty", recipe=Recipe(), data=DATA).recipe == Recipe()


def test_a_place_that_cannot_be_written_is_an_error(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    """No permission, or a file where a folder has to be: said in three parts, with or without a name."""
    (stranger.folder / "file").touch()
    (stranger.folder / "closed").mkdir(mode=0o700)
    monkeypatch.chdir(stranger.folder)
    with stranger.rights():
        for path in (None, Path("run"), Path("closed/run"), Path("file/run")):
            with pytest.raises(RunError, match=r"cannot be written.*choose another --out"):
                new_run(path, recipe=Recipe(), data=DATA)
        with pytest.raises(RunError, match="no run folder at closed"):
            open_run(Path("closed"))


def test_what_is_no_run_is_refused_with_the_runs_that_there_are(here: Path) -> None:
    """Nothing, another folder, a file, a name that is too long: each is said, and where runs are."""
    with pytest.raises(RunError, match=r"nothing at gone.*runs here: none"):
        open_run(Path("gone"))
    new_run(None, recipe=Recipe(), data=DATA)
    (here / "other").mkdir()
    (here / "file").touch()
    for name, found in (("other", "no run folder"), ("file", "no run folder"), ("long" * 100, "nothing")):
        with pytest.raises(RunError, match=f"{found} at {name}.*runs/1"):
            open_run(Path(name))


def test_the_log_grows_by_lines(tmp_path: Path) -> None:
    """Each event is one line of JSON with its time and facts, also with names that are no text."""
    run = new_run(tmp_path / "run", recipe=Recipe(), data=DATA)
    facts = [{"step": 3}, {"text": "狗\n\udcff"}, {}]
    for number, each in enumerate(facts):
        run.log(f"event {number}", **each)
    lines = [json.loads(line) for line in run.log_file.read_text(encoding="utf-8").splitlines()]
    assert [line.pop("event") for line in lines] == ["event 0", "event 1", "event 2"]
    assert all(abs(line.pop("time") - time.time()) < 60 for line in lines)
    assert lines == facts


def test_a_finished_run_says_so(tmp_path: Path) -> None:
    """A run is finished when its model is there, and its places are below its folder."""
    run = Run(tmp_path)
    assert not run.is_finished
    write_json(run.model / "model.json", {})
    assert run.is_finished
    places = (run.data_file, run.history_file, run.log_file, run.checkpoints, run.figures)
    assert [place.name for place in places] == ["data.csv", "history.csv", "log.jsonl", "checkpoints", "figures"]
    assert all(place.parent == tmp_path for place in places)
