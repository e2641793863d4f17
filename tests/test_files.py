"""files.py: files and folders are complete or not there, and what cannot be read back is an error that names it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from processes import start_python

from convscope.errors import RunError
from convscope.files import (
    open_atomic,
    read_json,
    read_table,
    remove_leftovers,
    staged_folder,
    write_atomic,
    write_json,
    write_table,
)

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


@pytest.mark.slow
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
    """In UTF-8, not in escapes."""
    write_json(tmp_path / "facts.json", {"class": "狗"})
    assert '"狗"' in (tmp_path / "facts.json").read_text(encoding="utf-8")


def test_json_that_other_readers_refuse_is_not_written(tmp_path: Path) -> None:
    """NaN and infinity are not JSON; the old file stays."""
    write_json(tmp_path / "facts.json", {"loss": 1.0})
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "facts.json", {"loss": value})
    assert read_json(tmp_path / "facts.json") == {"loss": 1.0}


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"7", b"\xff\xfe", b'{"format": 2}', b'{"format": "1"}'])
def test_damaged_json_is_named(content: bytes | None, tmp_path: Path) -> None:
    """Missing, truncated, not an object, not UTF-8, or of another format."""
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


def test_a_table_is_plain_csv(tmp_path: Path) -> None:
    """Commas, line feeds, quotes only where needed."""
    write_table(tmp_path / "table.csv", ("path", "n"), iter([("a b.jpg", 1), ("c,d.jpg", None)]))
    assert (tmp_path / "table.csv").read_bytes() == b'path,n\na b.jpg,1\n"c,d.jpg",\n'


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    """The error names the file, also if a field is too long for Python's reader."""
    with pytest.raises(RunError, match=r"gone\.csv"):
        read_table(tmp_path / "gone.csv")
    (tmp_path / "long.csv").write_text("a\n" + "b" * 200_000, encoding="utf-8")
    with pytest.raises(RunError, match=r"long\.csv"):
        read_table(tmp_path / "long.csv")


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """An error while writing, or Ctrl-C, changes nothing and leaves no temporary file."""
    file = tmp_path / "file"
    write_atomic(file, "old")

    def fail(error: type[BaseException]) -> None:
        with open_atomic(file) as part:
            part.write(b"half of the ne")
            raise error

    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error):
            fail(error)
    assert file.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_reader_of_a_replaced_file_reads_the_old_one(tmp_path: Path) -> None:
    """The name is given to a new file, so that no reader sees half of each content."""
    file = tmp_path / "file"
    write_atomic(file, "old" * 100_000)
    with file.open(encoding="utf-8") as reader:
        start = reader.read(3)
        write_atomic(file, "new" * 100_000)
        assert start + reader.read() == "old" * 100_000
    assert file.read_text(encoding="utf-8") == "new" * 100_000


def test_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    """A file is alone in the folders that were made for it."""
    write_atomic(tmp_path / "a" / "b" / "狗.bin", b"\0\xff")
    assert (tmp_path / "a" / "b" / "狗.bin").read_bytes() == b"\0\xff"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["狗.bin"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The target of a symbolic link is written."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to("real/table.csv")
    write_atomic(tmp_path / "link.csv", "content")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real" / "table.csv").read_text(encoding="utf-8") == "content"


def test_errors_name_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    """Not the temporary one, and also if the system names none, as on a full disk; the names of other files stay."""

    file = tmp_path / "table.csv"
    for error, name in ((OSError(28, "No space left on device"), str(file)), (OSError(2, "gone", "other"), "other")):
        with pytest.raises(OSError, match=rf"{name!r}$"), open_atomic(file):
            raise error
    with pytest.raises(IsADirectoryError, match=rf"Is a directory: {str(file)!r}$"), open_atomic(file):
        file.mkdir()


def test_errors_name_the_folder_that_was_to_be_written(tmp_path: Path) -> None:
    """Files in it are named where they would have been."""
    with pytest.raises(FileNotFoundError) as caught, staged_folder(tmp_path / "model") as staged:
        (staged / "a" / "b").touch()
    assert caught.value.filename == str(tmp_path / "model" / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as in_file, staged_folder(tmp_path / "file" / "model"):  # noqa: PT011
        pass
    assert in_file.value.filename.startswith(str(tmp_path / "file"))
    assert ".part" not in in_file.value.filename


def test_existing_file_can_be_kept(tmp_path: Path) -> None:
    """With `overwrite=False` other content is an error, the same content changes nothing; no temporary file is left."""
    file = tmp_path / "file"

    def write(content: bytes) -> None:
        with open_atomic(file, overwrite=False) as part:
            part.write(content)

    write(b"old")
    before = file.stat()
    write(b"old")
    with pytest.raises(RunError, match="file exists already"):
        write(b"new")
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (b"old", before.st_mtime_ns)
    assert list(tmp_path.iterdir()) == [file]


def test_pipe_is_written_and_stays_a_pipe(tmp_path: Path) -> None:
    """As does a device such as /dev/stdout."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    contents: list[bytes] = []
    reader = threading.Thread(target=lambda: contents.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_atomic(pipe, "content")
    reader.join(10)
    assert contents == [b"content"]
    assert pipe.is_fifo()


WRITE = """
import sys
from pathlib import Path
from convscope.files import write_atomic
for number in range(10**9):
    write_atomic(Path(sys.argv[1]), bytes([number % 256]) * 2_000_000)
"""


@pytest.mark.slow
def test_killed_writer_leaves_a_complete_file(tmp_path: Path) -> None:
    """`kill -9` at any moment: the file has one complete content."""
    file = tmp_path / "file"
    for pause in (0.0, 0.003, 0.01):
        with start_python(WRITE, file) as writer:
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


def test_folder_is_complete_or_not_there(tmp_path: Path) -> None:
    """A block that raises changes nothing; one that ends replaces the folder; no temporary folder is left."""
    folder = tmp_path / "model"
    with staged_folder(folder) as staged:
        (staged / "a").touch()
        assert not folder.exists()
    with pytest.raises(FileExistsError), staged_folder(folder) as staged:
        staged.mkdir()
    assert [file.name for file in folder.iterdir()] == ["a"]
    with staged_folder(folder) as staged:
        (staged / "c").touch()
    assert [file.name for file in folder.iterdir()] == ["c"]
    assert list(tmp_path.iterdir()) == [folder]


def test_existing_folder_can_be_kept(tmp_path: Path) -> None:
    """If another process has finished the same first, its folder stays and the new one is dropped."""
    for name in ("first", "second"):
        with staged_folder(tmp_path / "place", keep_existing=lambda: True) as staged:
            (staged / name).touch()
    assert [file.name for file in (tmp_path / "place").iterdir()] == ["first"]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_processes_that_replace_one_folder_never_mix(tmp_path: Path) -> None:
    """Eight writers of one path: one of their folders is there in the end, complete, and nothing else is left."""
    folder = tmp_path / "place"

    def write(number: int) -> None:
        for _ in range(20):
            with staged_folder(folder) as staged:
                for name in "ab":
                    (staged / name).write_text(str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len({(folder / name).read_text() for name in "ab"}) == 1
    assert list(tmp_path.iterdir()) == [folder]


def test_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    """Those of a running process, of another machine, and other files stay."""
    with staged_folder(tmp_path / "place") as staged:
        host = staged.name.split(".")[2].partition("-")[0]
        dead = tmp_path / f".x.{host}-999999999-0a0a0a0a.part"
        others = {f".x.{host}-{os.getppid()}-0a0a0a0a.part", f".x.{host}x-999999999-0a0a0a0a.part", ".x.part"}
        for name in (dead.name, *others):
            (tmp_path / name).mkdir()
        remove_leftovers(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {staged.name, *others}
