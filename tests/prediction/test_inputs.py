"""prediction/inputs.py: what arguments name, in order, byte for byte, in a file."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tracemalloc
from pathlib import Path

import pytest

from convscope.errors import FolderError
from convscope.prediction.inputs import list_inputs, read_inputs, write_inputs

MANY = 200_000  # paths; of 30 signs each they would be 16 MB of memory


def test_folders_are_searched_in_depth(tmp_path: Path) -> None:
    """Each folder's images and then its sub-folders', in order; hidden ones and other files are passed over."""
    for name in ("b/two.png", "a/deep/one.JPG", "top.webp", ".hidden/no.png", "a/.no.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list(list_inputs([str(tmp_path)]))
    assert found == [str(tmp_path / name) for name in ("top.webp", "a/deep/one.JPG", "b/two.png")]


def test_what_a_folder_holds_besides_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How much of what was passed over, hidden images included; nothing is said where that is nothing."""
    for name in ("1.png", "2.txt", ".3.png", ".notes"):
        (tmp_path / name).touch()
    (tmp_path / "up").symlink_to(".")
    assert list(list_inputs([str(tmp_path)])) == [str(tmp_path / "1.png")]
    passed = "1 .txt, 1 folder linked in a circle, 1 image with a hidden name"
    assert capsys.readouterr().err == f"{tmp_path}: passed over: {passed}\n"
    for name in ("2.txt", ".3.png", "up"):
        (tmp_path / name).unlink()
    list(list_inputs([str(tmp_path)]))
    assert capsys.readouterr().err == ""


def test_globs_are_spelled_out(tmp_path: Path) -> None:
    """A glob names its files in order, and those of the folders that it matches, as a shell would."""
    for name in ("x/1.png", "x/2.png", "y/3.png", "4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def listed(pattern: str) -> list[str]:
        return [os.path.relpath(path, tmp_path) for path in list_inputs([str(tmp_path / pattern)])]

    assert listed("x/*.png") == ["x/1.png", "x/2.png"]
    assert listed("*") == ["4.png", "x/1.png", "x/2.png", "y/3.png"]
    assert listed("**") == ["4.png", "x/1.png", "x/2.png", "y/3.png"]
    assert listed("?/[23].png") == ["x/2.png", "y/3.png"]


def test_brackets_in_a_name_are_a_name_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is called like a glob is that file; a glob without a match is told, and becomes an unreadable row."""
    (tmp_path / "[1].png").touch()
    (tmp_path / "1.png").touch()
    names = [str(tmp_path / "[1].png"), str(tmp_path / "[2].png")]
    assert list(list_inputs(names)) == names
    assert capsys.readouterr().err == f"{names[1]}: no file matches\n"


def test_dash_reads_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is a list of paths on standard input, one a line of any system, each byte for byte, blank lines left out."""
    lines = b"one.png\r\n\n two, .png\nthree\x0b\xe2\x80\xa8.png\n\xff.png\nlast.png"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines), "utf-8"))
    listed = list(list_inputs(["first.png", "-"]))
    assert listed == ["first.png", "one.png", " two, .png", "three\x0b\u2028.png", "\udcff.png", "last.png"]


STRANGE = ["two\nlines.png", "bytes \udcff\udc80.png", " space ", "照片.png", "\u2028\r.png"]


def test_list_in_a_file_gives_back_each_path() -> None:
    """Whatever a file is called, its name comes out as it went in; the SHA-256 is that of the file."""
    file = io.BytesIO()
    listed = write_inputs(file, STRANGE)
    assert list(read_inputs(file, 0, listed.count)) == STRANGE
    assert listed.sha256 == hashlib.sha256(file.getvalue()).hexdigest()


@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, MANY), (71_234, 71_300), (MANY - 1, MANY), (5, 5)])
def test_stretches_of_a_list_are_read(first: int, last: int) -> None:
    """Any stretch is what stands between its two numbers, also far behind the first block."""
    file = io.BytesIO(b"".join(b"photos/%d.jpg\0" % number for number in range(MANY)))
    assert list(read_inputs(file, first, last)) == [f"photos/{number}.jpg" for number in range(first, last)]


def test_memory_does_not_grow_with_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list on standard input goes to its file and comes back while a few megabytes are in memory."""
    (tmp_path / "list.txt").write_text("".join(f"photos/of/a/long/walk/{number:08}.jpg\n" for number in range(MANY)))
    with (tmp_path / "list.txt").open(encoding="utf-8") as lines, (tmp_path / "inputs").open("w+b") as file:
        monkeypatch.setattr(sys, "stdin", lines)
        tracemalloc.start()
        try:
            listed = write_inputs(file, ["-"])
            count = sum(1 for _ in read_inputs(file, 0, listed.count))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert listed.count == count == MANY
    assert peak < 3e6


def test_nul_in_a_path_is_told() -> None:
    """`find -print0` gives one line with everything in it: the error names the way out."""
    with pytest.raises(FolderError, match="not `find -print0`"):
        write_inputs(io.BytesIO(), ["one.png\0two.png"])
