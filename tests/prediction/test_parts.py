"""prediction/parts.py: what is done stays, is gone on with only by what fits, and goes when the table is there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from convscope.errors import FolderError, RunError
from convscope.prediction import parts as module
from convscope.prediction.inference import Answer
from convscope.prediction.inputs import InputList
from convscope.prediction.parts import gather, open_parts, parts_folder
from convscope.prediction.provenance import Origin, Shard
from convscope.prediction.rows import Table

IMAGES = [f"{number}.jpg" for number in range(10)]


def origin_of(inputs: InputList) -> Origin:
    """A table of all inputs, of some model."""
    return Origin(
        model="m", classes=("a",), inputs=inputs.sha256, total=inputs.count, shard=Shard(1, 2), table=Table(top=1)
    )


def begin(out: Path) -> None:
    """A table of which three of five rows are done."""
    with open_parts(out, IMAGES, origin_of, resume=False) as parts:
        parts.keep(b"012", first=0, count=2, unreadable=1)
        parts.keep(b"3", first=2, count=1, unreadable=0)


def test_what_is_done_is_found_again(tmp_path: Path) -> None:
    """In order, with what was counted, by whoever goes on; beside the table, hidden, and nothing at its place."""
    begin(tmp_path / "out.csv")
    assert os.listdir(tmp_path) == [".out.csv.parts"]
    with open_parts(tmp_path / "out.csv", IMAGES, origin_of, resume=True) as parts:
        assert [(part.first, part.count, part.unreadable) for part in parts.done()] == [(0, 2, 1), (2, 1, 0)]
        assert b"".join(part.path.read_bytes() for part in parts.done()) == b"0123"
        assert list(parts.paths(3, 5)) == ["3.jpg", "4.jpg"]


def test_one_goes_on_without_naming_the_images(tmp_path: Path) -> None:
    """The list is that of the beginning, whatever has come into a folder since."""
    begin(tmp_path / "out.csv")
    with open_parts(tmp_path / "out.csv", [], origin_of, resume=True) as parts:
        assert (parts.origin.total, list(parts.paths(0, 10))) == (10, IMAGES)


def test_parts_behind_a_gap_do_not_count(tmp_path: Path) -> None:
    """Rows are done from the beginning of the shard up to the first that is not."""
    with open_parts(tmp_path / "out.csv", IMAGES, origin_of, resume=False) as parts:
        parts.keep(b"2", first=2, count=3, unreadable=0)
        assert parts.done() == []
        parts.keep(b"0", first=0, count=2, unreadable=0)
        assert [part.first for part in parts.done()] == [0, 2]


def test_finished_table_leaves_nothing(tmp_path: Path) -> None:
    """The folder goes with its block, also when it holds what a killed writer left."""
    with open_parts(tmp_path / "out.csv", IMAGES, origin_of, resume=False) as parts:
        (parts.folder / ".000000000000-2-0.77.part").touch()
        parts.finish()
    assert os.listdir(tmp_path) == []


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """A stranger's file in the folder is left, and so is the folder then."""
    with open_parts(tmp_path / "out.csv", IMAGES, origin_of, resume=False) as parts:
        (parts.folder / "notes.txt").touch()
        parts.finish()
    assert os.listdir(tmp_path / ".out.csv.parts") == ["notes.txt"]


def test_remains_of_a_finished_table_are_no_rows_of_the_next(tmp_path: Path) -> None:
    """Killed while the parts of a finished table were being removed, the next table does not take them for its own."""
    begin(tmp_path / "out.csv")
    (tmp_path / ".out.csv.parts" / module.ORIGIN).unlink()
    for resume in (False, True):
        with open_parts(tmp_path / "out.csv", IMAGES, origin_of, resume=resume) as parts:
            assert parts.done() == []


def test_nothing_to_list_leaves_nothing(tmp_path: Path) -> None:
    """A table that could not be begun leaves no folder."""
    with (
        pytest.raises(FolderError, match="found: no images"),
        open_parts(tmp_path / "out.csv", [], origin_of, resume=True),
    ):
        pass
    assert os.listdir(tmp_path) == []


def refused(out: Path, images: list[str], asked: Origin | None = None, *, resume: bool = True) -> RunError:
    """How a table is refused; what is done is still there afterwards."""
    before = sorted(os.listdir(parts_folder(out)))
    with (
        pytest.raises(RunError) as caught,
        open_parts(out, images, origin_of if asked is None else lambda _: asked, resume=resume),
    ):
        pass
    assert sorted(os.listdir(parts_folder(out))) == before
    return caught.value


def test_unfinished_table_is_never_thrown_away(tmp_path: Path) -> None:
    """Without `--resume` it is told how far it is, how to go on and how to start anew."""
    begin(tmp_path / "out.csv")
    error = refused(tmp_path / "out.csv", IMAGES, resume=False)
    assert error.found == f"an unfinished table, 3 of 5 images done, in {tmp_path / '.out.csv.parts'}"
    assert "--resume" in error.fix
    assert "remove that folder" in error.fix


ASKED = origin_of(InputList(0, ""))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "other"}, "the model"),
        ({"table": Table(top=1, format="jsonl")}, "--format (csv, not jsonl)"),
        ({"table": Table(top=0)}, "--top (1, not 0)"),
        ({"table": Table(top=1, min_confidence=0.5)}, "--min-confidence (0.0, not 0.5)"),
        ({"shard": Shard(2, 2)}, "--shard (1/2, not 2/2)"),
        ({"shard": Shard(1, 3)}, "--shard (1/2, not 1/3)"),
    ],
)
def test_other_choices_are_refused_by_name(tmp_path: Path, change: dict[str, object], named: str) -> None:
    """What was begun with one model or shape is not gone on with another."""
    begin(tmp_path / "out.csv")
    with open_parts(tmp_path / "out.csv", [], origin_of, resume=True) as parts:
        asked = replace(parts.origin, **change)  # type: ignore[arg-type]
    assert refused(tmp_path / "out.csv", [], asked).found.endswith(f"begun with: {named}")


@pytest.mark.parametrize(("images", "counts"), [(IMAGES[:9], " (10, not 9)"), ([*IMAGES[1:], IMAGES[0]], "")])
def test_other_images_are_refused(tmp_path: Path, images: list[str], counts: str) -> None:
    """Fewer, or in another order; the error names the way to go on with those of the beginning."""
    begin(tmp_path / "out.csv")
    error = refused(tmp_path / "out.csv", images)
    assert error.found.endswith(f"the images{counts}")
    assert "no images to go on with the list as it was" in error.fix


def test_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    """What cannot be read is told, and left."""
    begin(tmp_path / "out.csv")
    file = tmp_path / ".out.csv.parts" / module.ORIGIN
    for text in (file.read_text().replace('"format": 1', '"format": 2'), "{", "[]"):
        file.write_text(text)
        assert "cannot be read" in refused(tmp_path / "out.csv", IMAGES).found


@pytest.mark.skipif(os.name != "posix", reason="locks files as POSIX does")
def test_two_at_once_are_refused(tmp_path: Path) -> None:
    """While one process writes a table, another one cannot; afterwards it can."""
    with open_parts(tmp_path / "out.csv", IMAGES, origin_of, resume=False):
        assert "in use by another process" in refused(tmp_path / "out.csv", IMAGES).found
    with open_parts(tmp_path / "out.csv", IMAGES, origin_of, resume=True):
        pass


def test_symbolic_link_has_its_parts_at_its_target(tmp_path: Path) -> None:
    """Where the table will be written."""
    (tmp_path / "far").mkdir()
    (tmp_path / "out.csv").symlink_to(tmp_path / "far" / "table.csv")
    assert parts_folder(tmp_path / "out.csv") == (tmp_path / "far" / ".table.csv.parts").resolve()


def batches(count: int, *, wait_seconds: float = 0.0) -> Iterator[list[Answer]]:
    """So many batches of two answers."""
    for number in range(count):
        time.sleep(wait_seconds)
        yield [Answer(f"{number}", "lost", None)] * 2


def test_parts_end_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the model is, no more than these seconds can be lost; batches stay whole."""
    monkeypatch.setattr(module, "PART_SECONDS", 0.1)
    sizes = [len(each) for each in gather(batches(4, wait_seconds=0.2), most=1000, is_stopped=lambda: False)]
    assert sizes == [2, 2, 2, 2]


def test_parts_have_a_largest_size() -> None:
    """However fast it is, little waits in memory."""
    sizes = [len(each) for each in gather(batches(7), most=4, is_stopped=lambda: False)]
    assert sizes == [4, 4, 4, 2]


def test_stop_ends_a_part_at_once() -> None:
    """What was answered before a stop is kept."""
    stops = iter([False, False, True])
    assert len(next(gather(batches(100), most=1000, is_stopped=lambda: next(stops)))) == 6
