"""The run folder: files are whole or not there, and what cannot be read back is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stranger import Stranger

from convscope.errors import RunError
from convscope.recipe.recipe import Recipe
from convscope.run import (
    Run,
    available_cores,
    check_free,
    new_run,
    open_run,
    open_whole,
    read_json,
    read_table,
    write_json,
    write_table,
    write_whole,
)

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


# the folder


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


# files


@settings(max_examples=15)
@given(st.dictionaries(NAMES, JSON, max_size=4))
@example({"not\udcfftext": ["\udc80"]})
def test_json_reads_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, facts: dict[str, Any]) -> None:
    """Whatever is written comes back, and the file is valid UTF-8 for every other reader."""
    file = tmp_path_factory.getbasetemp() / "facts.json"
    facts = {**facts, "format": 1}
    write_json(file, facts)
    assert read_json(file) == facts
    assert json.loads(file.read_bytes().decode("utf-8")) == facts


def test_chinese_stays_readable_in_json(tmp_path: Path) -> None:
    """A person who opens the file sees what they wrote."""
    write_json(tmp_path / "facts.json", {"class": "狗"})
    assert '"狗"' in (tmp_path / "facts.json").read_text(encoding="utf-8")


def test_json_that_other_readers_refuse_is_not_written(tmp_path: Path) -> None:
    """NaN and infinity are no JSON; the old file stays."""
    write_json(tmp_path / "facts.json", {"loss": 1.0})
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "facts.json", {"loss": value})
    assert read_json(tmp_path / "facts.json") == {"loss": 1.0}


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"7", b"\xff\xfe", b'{"format": 2}', b'{"format": "1"}'])
def test_damaged_json_is_named(content: bytes | None, tmp_path: Path) -> None:
    """Missing, cut, no object, no text, or of another format."""
    file = tmp_path / "facts.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RunError, match=r"facts\.json"):
        read_json(file)


@settings(max_examples=15)
@given(st.lists(st.tuples(NAMES, NAMES, st.integers()), max_size=5))
@example([("a\rb", "not\udcfftext", 1), ("", 'c\r\n"d,', 2)])
def test_tables_read_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]]
) -> None:
    """Every name in every cell: commas, quotes, all line breaks, bytes that are no text."""
    file = tmp_path_factory.getbasetemp() / "table.csv"
    write_table(file, ("one", "狗", "n"), rows)
    assert [(row["one"], row["狗"], int(row["n"])) for row in read_table(file)] == rows


def test_a_table_is_plain(tmp_path: Path) -> None:
    """Commas, line feeds, quotes only where they are needed."""
    write_table(tmp_path / "table.csv", ("path", "n"), iter([("a b.jpg", 1), ("c,d.jpg", None)]))
    assert (tmp_path / "table.csv").read_bytes() == b'path,n\na b.jpg,1\n"c,d.jpg",\n'


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    """The error says which file, and so it does for a field without end."""
    with pytest.raises(RunError, match=r"gone\.csv"):
        read_table(tmp_path / "gone.csv")
    (tmp_path / "long.csv").write_text("a\n" + "b" * 200_000, encoding="utf-8")
    with pytest.raises(RunError, match=r"long\.csv"):
        read_table(tmp_path / "long.csv")


# whole or not at all


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    """An error while writing, and even Ctrl-C, leaves what was there and nothing beside it."""
    file = tmp_path / "file"
    write_whole(file, "old")

    def fail(error: type[BaseException]) -> None:
        with open_whole(file) as part:
            part.write(b"half of the ne")
            raise error

    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error):
            fail(error)
    assert file.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_who_reads_a_file_while_it_is_replaced_reads_the_old_one(tmp_path: Path) -> None:
    """The new content takes the name and not the place of the old, so that no reader sees half of each."""
    file = tmp_path / "file"
    write_whole(file, "old" * 100_000)
    with file.open(encoding="utf-8") as reader:
        start = reader.read(3)
        write_whole(file, "new" * 100_000)
        assert start + reader.read() == "old" * 100_000
    assert file.read_text(encoding="utf-8") == "new" * 100_000


def test_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    """A file in folders that do not exist yet stands there alone."""
    write_whole(tmp_path / "a" / "b" / "狗.bin", b"\0\xff")
    assert (tmp_path / "a" / "b" / "狗.bin").read_bytes() == b"\0\xff"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["狗.bin"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What a symbolic link points to is written, and the link remains."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to("real/table.csv")
    write_whole(tmp_path / "link.csv", "content")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real" / "table.csv").read_text(encoding="utf-8") == "content"


def test_full_disk_is_told_with_its_place(tmp_path: Path) -> None:
    """The system names no file where writing fails, so we do; where it names one, that stays."""
    for error, place in ((OSError(28, "No space left on device"), "table.csv"), (OSError(2, "gone", "other"), "other")):
        with pytest.raises(OSError, match=rf"{place}'$"), open_whole(tmp_path / "table.csv"):
            raise error


def test_another_file_keeps_its_place_where_it_is_to(tmp_path: Path) -> None:
    """With `over=False` what is there stays, the same content is no news, and nothing is left beside it."""
    file = tmp_path / "file"

    def write(content: bytes) -> None:
        with open_whole(file, over=False) as part:
            part.write(content)

    write(b"old")
    before = file.stat()
    write(b"old")
    with pytest.raises(RunError, match="file exists already"):
        write(b"new")
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (b"old", before.st_mtime_ns)
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    """A pipe, or a device such as /dev/stdout, gets the content and stays what it is."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_whole(pipe, "content")
    reader.join(10)
    assert got == [b"content"]
    assert pipe.is_fifo()


WRITE = """
import sys
from pathlib import Path
from convscope.run import write_whole
for number in range(10**9):
    write_whole(Path(sys.argv[1]), bytes([number % 256]) * 2_000_000)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    """`kill -9` at any moment: the file is one that was written whole."""
    file = tmp_path / "file"
    for pause in (0.0, 0.003, 0.01):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE, file], env=os.environ | {"PYTHONPATH": str(SOURCE)}
        ) as writer:
            wait_until(lambda: file.exists() and len(list(tmp_path.iterdir())) == 2)
            time.sleep(pause)
            writer.send_signal(signal.SIGKILL)
        content = file.read_bytes()
        assert content == content[:1] * 2_000_000
        for path in tmp_path.iterdir():
            path.unlink()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait up to half a minute."""
    end = time.monotonic() + 30
    while not holds() and time.monotonic() < end:
        time.sleep(0.001)
    assert holds()


def test_a_finished_run_says_so(tmp_path: Path) -> None:
    """A run is finished when its model is there, and its places are below its folder."""
    run = Run(tmp_path)
    assert not run.is_finished
    write_json(run.model / "model.json", {})
    assert run.is_finished
    places = (run.data_file, run.history_file, run.log_file, run.checkpoints, run.figures)
    assert [place.name for place in places] == ["data.csv", "history.csv", "log.jsonl", "checkpoints", "figures"]
    assert all(place.parent == tmp_path for place in places)
