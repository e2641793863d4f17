"""prediction/inputs.py: the inputs that arguments name, in order, byte for byte, in a file."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest

from convscope.errors import FolderError, RunError
from convscope.prediction.inputs import list_inputs, read_inputs, write_inputs

NUM_PATHS = 200_000  # of 30 characters each; as strings they need 16 MB


def test_folders_are_searched_in_depth(tmp_path: Path) -> None:
    """Each folder's images and then its sub-folders', in order; hidden ones and other files are skipped."""
    for name in ("b/two.png", "a/deep/one.JPG", "top.webp", ".hidden/no.png", "a/.no.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed = list(list_inputs([str(tmp_path)]))
    assert listed == [str(tmp_path / name) for name in ("top.webp", "a/deep/one.JPG", "b/two.png")]


def test_skipped_files_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """How many of which kind, hidden images included; no message if none was skipped."""
    caplog.set_level(logging.INFO, logger="convscope")
    for name in ("1.png", "2.txt", ".3.png", ".notes"):
        (tmp_path / name).touch()
    (tmp_path / "up").symlink_to(".")
    assert list(list_inputs([str(tmp_path)])) == [str(tmp_path / "1.png")]
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path}: skipped 1 .txt, 1 folder linked in a circle, 1 image with a hidden name")
    caplog.clear()
    for name in ("2.txt", ".3.png", "up"):
        (tmp_path / name).unlink()
    list(list_inputs([str(tmp_path)]))
    assert caplog.messages == []


def test_globs_are_expanded(tmp_path: Path) -> None:
    """A glob yields its files in order, and those in the folders that it matches, as a shell would."""
    for name in ("x/1.png", "x/2.png", "y/3.png", "4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def listed(pattern: str) -> list[str]:
        return [os.path.relpath(path, tmp_path) for path in list_inputs([str(tmp_path / pattern)])]

    assert listed("x/*.png") == ["x/1.png", "x/2.png"]
    assert listed("*") == ["4.png", "x/1.png", "x/2.png", "y/3.png"]
    assert listed("**") == ["4.png", "x/1.png", "x/2.png", "y/3.png"]
    assert listed("?/[23].png") == ["x/2.png", "y/3.png"]


def test_existing_file_is_never_a_glob(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file named `[1].png` is that file; a glob without a match is logged, and becomes an unreadable row."""
    caplog.set_level(logging.INFO, logger="convscope")
    (tmp_path / "[1].png").touch()
    (tmp_path / "1.png").touch()
    names = [str(tmp_path / "[1].png"), str(tmp_path / "[2].png")]
    assert list(list_inputs(names)) == names
    assert caplog.messages == [f"{names[1]}: no file matches"]


def test_dash_reads_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is a list of paths on standard input, one per line, LF or CRLF, byte for byte, blank lines skipped."""
    lines = b"one.png\r\n\n two, .png\nthree\x0b\xe2\x80\xa8.png\n\xff.png\nlast.png"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines), "utf-8"))
    listed = list(list_inputs(["first.png", "-"]))
    assert listed == ["first.png", "one.png", " two, .png", "three\x0b\u2028.png", "\udcff.png", "last.png"]


STRANGE_PATHS = ["two\nlines.png", "bytes \udcff\udc80.png", " space ", "照片.png", "\u2028\r.png"]


def test_list_in_a_file_keeps_each_path() -> None:
    """Whatever a file is called, its name is read as it was written; the SHA-256 is that of the file."""
    file = io.BytesIO()
    listed = write_inputs(file, STRANGE_PATHS)
    assert list(read_inputs(file, range(listed.count))) == STRANGE_PATHS
    assert listed.sha256 == hashlib.sha256(file.getvalue()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "last"), [(0, 1), (0, NUM_PATHS), (71_234, 71_300), (NUM_PATHS - 1, NUM_PATHS), (5, 5)]
)
def test_ranges_of_a_list_are_read(first: int, last: int) -> None:
    """Any range of positions, also far after the first block."""
    file = io.BytesIO(b"".join(b"photos/%d.jpg\0" % number for number in range(NUM_PATHS)))
    assert list(read_inputs(file, range(first, last))) == [f"photos/{number}.jpg" for number in range(first, last)]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list on standard input is written and read while at most 3 MB are in memory."""
    (tmp_path / "list.txt").write_text(
        "".join(f"photos/of/a/long/walk/{number:08}.jpg\n" for number in range(NUM_PATHS))
    )
    with (tmp_path / "list.txt").open(encoding="utf-8") as lines, (tmp_path / "inputs").open("w+b") as file:
        monkeypatch.setattr(sys, "stdin", lines)
        tracemalloc.start()
        try:
            listed = write_inputs(file, ["-"])
            count = sum(1 for _ in read_inputs(file, range(listed.count)))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert listed.count == count == NUM_PATHS
    assert peak < 3e6


def test_unreadable_standard_input_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed, or of a kind that cannot be read: found, expected, fix."""
    with (tmp_path / "out").open("wb", buffering=0) as unreadable:
        for stdin in (None, SimpleNamespace(buffer=unreadable)):
            monkeypatch.setattr(sys, "stdin", stdin)
            with pytest.raises(RunError, match="standard input cannot be read: "):
                list(list_inputs(["-"]))


def test_nul_in_a_path_is_an_error() -> None:
    """`find -print0` gives one line with every path in it: the error says what to use instead."""
    with pytest.raises(FolderError, match="not `find -print0`"):
        write_inputs(io.BytesIO(), ["one.png\0two.png"])
