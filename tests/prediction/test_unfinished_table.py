"""prediction/unfinished_table.py: rows survive a kill, only the same choices resume them, and nothing is left over."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from processes import run_python

from convscope.errors import FolderError, RunError
from convscope.prediction import unfinished_table as module
from convscope.prediction.inference import Prediction
from convscope.prediction.inputs import InputList
from convscope.prediction.provenance import Provenance, Shard
from convscope.prediction.rows import Table
from convscope.prediction.unfinished_table import (
    Describe,
    group_into_parts,
    has_unfinished_table,
    open_unfinished_table,
    parts_folder,
)

IMAGES = [f"{number}.jpg" for number in range(10)]


def describe(inputs: InputList) -> Provenance:
    """The provenance of the first of two shards, of some model."""
    return Provenance(
        model="m", classes=("a",), inputs=inputs.sha256, total=inputs.count, shard=Shard(1, 2), table=Table(top=1)
    )


def begin(out: Path) -> None:
    """Begin a table and write three of its five rows."""
    with open_unfinished_table(out, IMAGES, describe, resume=False) as unfinished:
        unfinished.write_part(b"012", first=0, count=2, unreadable=1)
        unfinished.write_part(b"3", first=2, count=1, unreadable=0)


def test_finished_rows_are_found_again(tmp_path: Path) -> None:
    """In order, with their counts; in a hidden folder beside the table, and no file at the table's path."""
    assert not has_unfinished_table(tmp_path / "out.csv")
    begin(tmp_path / "out.csv")
    assert has_unfinished_table(tmp_path / "out.csv")
    assert os.listdir(tmp_path) == [".out.csv.parts"]
    with open_unfinished_table(tmp_path / "out.csv", IMAGES, describe, resume=True) as unfinished:
        assert [(part.first, part.count, part.unreadable) for part in unfinished.parts()] == [(0, 2, 1), (2, 1, 0)]
        assert b"".join(part.path.read_bytes() for part in unfinished.parts()) == b"0123"
        assert list(unfinished.paths(range(3, 5))) == ["3.jpg", "4.jpg"]


def test_images_need_not_be_named_to_resume(tmp_path: Path) -> None:
    """The list was saved when the table was begun, whatever was added to a folder since."""
    begin(tmp_path / "out.csv")
    with open_unfinished_table(tmp_path / "out.csv", [], describe, resume=True) as unfinished:
        assert (unfinished.provenance.total, list(unfinished.paths(range(10)))) == (10, IMAGES)


def test_parts_after_a_gap_do_not_count(tmp_path: Path) -> None:
    """Rows count from the first of the shard up to the first that is missing."""
    with open_unfinished_table(tmp_path / "out.csv", IMAGES, describe, resume=False) as unfinished:
        unfinished.write_part(b"2", first=2, count=3, unreadable=0)
        assert unfinished.parts() == []
        unfinished.write_part(b"0", first=0, count=2, unreadable=0)
        assert [part.first for part in unfinished.parts()] == [0, 2]


def test_finished_table_leaves_nothing(tmp_path: Path) -> None:
    """The folder is removed when its block ends, with temporary files of killed processes of any machine."""
    with open_unfinished_table(tmp_path / "out.csv", IMAGES, describe, resume=False) as unfinished:
        (unfinished.folder / ".000000000000-2-0.ffffff-77-0123abcd.part").touch()
        (unfinished.folder / ".000000000000-2-0.77.part").touch()  # as earlier versions named it
        unfinished.mark_finished()
    assert os.listdir(tmp_path) == []


def test_temporary_file_of_a_killed_process_is_removed_on_resuming(tmp_path: Path) -> None:
    """Or many kills would fill the disk. `os._exit` leaves the file as `kill -9` does."""
    begin(tmp_path / "out.csv")
    folder = parts_folder(tmp_path / "out.csv")
    code = (
        "import os, sys; from pathlib import Path; from convscope.files import open_atomic\n"
        "with open_atomic(Path(sys.argv[1])): os._exit(9)"
    )
    run_python(code, folder / "000000000003-1-0")
    assert [path.suffix for path in folder.glob(".*")] == [".part"]
    with open_unfinished_table(tmp_path / "out.csv", [], describe, resume=True) as unfinished:
        assert [part.first for part in unfinished.parts()] == [0, 2]
        assert [*folder.glob(".*")] == []


def test_file_of_the_user_stays(tmp_path: Path) -> None:
    """A file that convscope did not write is left, and with it the folder."""
    with open_unfinished_table(tmp_path / "out.csv", IMAGES, describe, resume=False) as unfinished:
        (unfinished.folder / "notes.txt").touch()
        unfinished.mark_finished()
    assert os.listdir(tmp_path / ".out.csv.parts") == ["notes.txt"]


def test_parts_of_a_finished_table_are_not_rows_of_the_next(tmp_path: Path) -> None:
    """If a kill interrupted their removal, the next table does not use them."""
    begin(tmp_path / "out.csv")
    (tmp_path / ".out.csv.parts" / module.PROVENANCE).unlink()
    for resume in (False, True):
        with open_unfinished_table(tmp_path / "out.csv", IMAGES, describe, resume=resume) as unfinished:
            assert unfinished.parts() == []


def test_table_without_inputs_leaves_nothing(tmp_path: Path) -> None:
    """A table that could not be begun leaves no folder."""
    with (
        pytest.raises(FolderError, match="found: no images"),
        open_unfinished_table(tmp_path / "out.csv", [], describe, resume=True),
    ):
        pass
    assert os.listdir(tmp_path) == []


def opening_error(out: Path, images: list[str], describe: Describe = describe, *, resume: bool = True) -> RunError:
    """The error that opening a table raises; its files stay."""
    before = sorted(os.listdir(parts_folder(out)))
    with (
        pytest.raises(RunError) as caught,
        open_unfinished_table(out, images, describe, resume=resume),
    ):
        pass
    assert sorted(os.listdir(parts_folder(out))) == before
    return caught.value


def test_unfinished_table_is_never_discarded(tmp_path: Path) -> None:
    """Without `resume` the error says how many rows are done, how to continue and how to start again."""
    begin(tmp_path / "out.csv")
    error = opening_error(tmp_path / "out.csv", IMAGES, resume=False)
    assert error.found == f"an unfinished table, 3 of 5 images done, in {tmp_path / '.out.csv.parts'}"
    assert "`resume=True`" in error.fix
    assert "remove that folder" in error.fix


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "other"}, "the model"),
        ({"table": Table(top=1, format="jsonl")}, "`format` (csv, not jsonl)"),
        ({"table": Table(top=0)}, "`top` (1, not 0)"),
        ({"table": Table(top=1, min_confidence=0.5)}, "`min_confidence` (0.0, not 0.5)"),
        ({"shard": Shard(2, 2)}, "`shard` (1/2, not 2/2)"),
        ({"shard": Shard(1, 3)}, "`shard` (1/2, not 1/3)"),
    ],
)
def test_other_choices_are_refused_by_name(tmp_path: Path, change: dict[str, object], named: str) -> None:
    """A table begun with one model or choice is not resumed with another."""
    begin(tmp_path / "out.csv")
    with open_unfinished_table(tmp_path / "out.csv", [], describe, resume=True) as unfinished:
        requested = replace(unfinished.provenance, **change)  # type: ignore[arg-type]
    error = opening_error(tmp_path / "out.csv", [], lambda _: requested)
    assert error.found == f"other choices than those of {parts_folder(tmp_path / 'out.csv')}: {named}"


@pytest.mark.parametrize(("images", "counts"), [(IMAGES[:9], " (10, not 9)"), ([*IMAGES[1:], IMAGES[0]], "")])
def test_other_images_are_opening_error(tmp_path: Path, images: list[str], counts: str) -> None:
    """Fewer, or in another order; the error says how to use the saved list."""
    begin(tmp_path / "out.csv")
    error = opening_error(tmp_path / "out.csv", images)
    assert error.found.endswith(f"the images{counts}")
    assert "no images to use the saved list" in error.fix


def test_folder_of_another_version_is_opening_error(tmp_path: Path) -> None:
    """An error names the file, and it stays."""
    begin(tmp_path / "out.csv")
    file = tmp_path / ".out.csv.parts" / module.PROVENANCE
    for text in (file.read_text().replace('"format": 1', '"format": 2'), "{", "[]"):
        file.write_text(text)
        assert "cannot be read" in opening_error(tmp_path / "out.csv", IMAGES).found


@pytest.mark.skipif(os.name != "posix", reason="locks files as POSIX does")
def test_two_at_once_are_opening_error(tmp_path: Path) -> None:
    """While one process writes a table, another cannot; afterwards it can."""
    with open_unfinished_table(tmp_path / "out.csv", IMAGES, describe, resume=False):
        assert "in use by another process" in opening_error(tmp_path / "out.csv", IMAGES).found
    with open_unfinished_table(tmp_path / "out.csv", IMAGES, describe, resume=True):
        pass


def test_parts_lie_beside_the_target_of_a_symbolic_link(tmp_path: Path) -> None:
    """The table will be written there."""
    (tmp_path / "far").mkdir()
    (tmp_path / "out.csv").symlink_to(tmp_path / "far" / "table.csv")
    assert parts_folder(tmp_path / "out.csv") == (tmp_path / "far" / ".table.csv.parts").resolve()


def batches(count: int, *, wait_seconds: float = 0.0) -> Iterator[list[Prediction]]:
    """`count` batches of two predictions."""
    for number in range(count):
        time.sleep(wait_seconds)
        yield [Prediction(f"{number}", "lost", None)] * 2


@pytest.mark.slow
def test_part_ends_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the model is, a kill loses no more than these seconds of work; batches are not divided."""
    monkeypatch.setattr(module, "PART_SECONDS", 0.1)
    sizes = [
        len(rows) for rows in group_into_parts(batches(4, wait_seconds=0.2), max_rows=1000, is_stopped=lambda: False)
    ]
    assert sizes == [2, 2, 2, 2]


def test_part_has_a_maximum_size() -> None:
    """However fast the model is, memory stays flat."""
    sizes = [len(rows) for rows in group_into_parts(batches(7), max_rows=4, is_stopped=lambda: False)]
    assert sizes == [4, 4, 4, 2]


def test_stop_ends_a_part_at_once() -> None:
    """The predictions before the stop are not lost."""
    stops = iter([False, False, True])
    assert len(next(group_into_parts(batches(100), max_rows=1000, is_stopped=lambda: next(stops)))) == 6
