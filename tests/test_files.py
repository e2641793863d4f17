"""files.py: files and folders are whole or not there, and what cannot be read back is said."""

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


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    """An error while writing, and even Ctrl-C, leaves what was there and nothing beside it."""
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


def test_who_reads_a_file_while_it_is_replaced_reads_the_old_one(tmp_path: Path) -> None:
    """The new content takes the name and not the place of the old, so that no reader sees half of each."""
    file = tmp_path / "file"
    write_atomic(file, "old" * 100_000)
    with file.open(encoding="utf-8") as reader:
        start = reader.read(3)
        write_atomic(file, "new" * 100_000)
        assert start + reader.read() == "old" * 100_000
    assert file.read_text(encoding="utf-8") == "new" * 100_000


def test_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    """A file in folders that do not exist yet stands there alone."""
    write_atomic(tmp_path / "a" / "b" / "狗.bin", b"\0\xff")
    assert (tmp_path / "a" / "b" / "狗.bin").read_bytes() == b"\0\xff"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["狗.bin"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What a symbolic link points to is written, and the link remains."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to("real/table.csv")
    write_atomic(tmp_path / "link.csv", "content")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real" / "table.csv").read_text(encoding="utf-8") == "content"


def test_full_disk_is_told_with_its_place(tmp_path: Path) -> None:
    """The system names no file where writing fails, so we do; where it names one, that stays."""
    for error, place in ((OSError(28, "No space left on device"), "table.csv"), (OSError(2, "gone", "other"), "other")):
        with pytest.raises(OSError, match=rf"{place}'$"), open_atomic(tmp_path / "table.csv"):
            raise error


def test_another_file_keeps_its_place_where_it_is_to(tmp_path: Path) -> None:
    """With `overwrite=False` what is there stays, the same content is no news, and nothing is left beside it."""
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


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    """A pipe, or a device such as /dev/stdout, gets the content and stays what it is."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_atomic(pipe, "content")
    reader.join(10)
    assert got == [b"content"]
    assert pipe.is_fifo()


WRITE = """
import sys
from pathlib import Path
from convscope.files import write_atomic
for number in range(10**9):
    write_atomic(Path(sys.argv[1]), bytes([number % 256]) * 2_000_000)
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


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    """A block that fails leaves what was there; one that ends replaces it, and nothing else is left."""
    place = tmp_path / "model"
    with staged_folder(place) as staged:
        (staged / "a").touch()
        assert not place.exists()
    with pytest.raises(FileExistsError), staged_folder(place) as staged:
        staged.mkdir()
    assert [file.name for file in place.iterdir()] == ["a"]
    with staged_folder(place) as staged:
        (staged / "c").touch()
    assert [file.name for file in place.iterdir()] == ["c"]
    assert list(tmp_path.iterdir()) == [place]


def test_a_folder_that_is_there_may_be_kept(tmp_path: Path) -> None:
    """Where another process has finished the same first, its folder stays and the new one is dropped."""
    for name in ("first", "second"):
        with staged_folder(tmp_path / "place", keep_existing=lambda: True) as staged:
            (staged / name).touch()
    assert [file.name for file in (tmp_path / "place").iterdir()] == ["first"]
    assert len(list(tmp_path.iterdir())) == 1


def test_processes_that_replace_one_folder_never_mix(tmp_path: Path) -> None:
    """Eight writers of one place: in the end it is one of theirs, whole, and nothing else is left."""
    place = tmp_path / "place"

    def write(number: int) -> None:
        for _ in range(20):
            with staged_folder(place) as staged:
                for name in "ab":
                    (staged / name).write_text(str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len({(place / name).read_text() for name in "ab"}) == 1
    assert list(tmp_path.iterdir()) == [place]


def test_leftovers_of_the_dead_alone_are_removed(tmp_path: Path) -> None:
    """What a living process, another machine or a person put there stays."""
    with staged_folder(tmp_path / "place") as staged:
        host = staged.name.split(".")[2].partition("-")[0]
        dead = tmp_path / f".x.{host}-999999999-0a0a0a0a.part"
        others = {f".x.{host}-{os.getppid()}-0a0a0a0a.part", f".x.{host}x-999999999-0a0a0a0a.part", ".x.part"}
        for name in (dead.name, *others):
            (tmp_path / name).mkdir()
        remove_leftovers(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {staged.name, *others}
