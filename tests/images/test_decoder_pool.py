"""Decoding: many files in order on all cores; a file that crashes its decoder costs that file only."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from processes import SOURCE, start_python, wait_until_ended
from sample_images import VARIED, draw, encode, refused_files, write_folder

from convscope.errors import ConvscopeError
from convscope.images.decoder_pool import DecodedFile, InputSpec, decode_file, decode_files
from convscope.images.image_reader import read_image

SMALL = InputSpec(8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 small images, and each kind of bad file."""
    root = write_folder(tmp_path_factory.mktemp("decoding"), ("disc",), per_class=100, size=12)
    for name, (data, _) in refused_files().items():
        (root / name).write_bytes(data)
    return root


def same(one: DecodedFile, other: DecodedFile) -> bool:
    """Whether two decoded files are equal, their pixels too."""
    if one.image is None or other.image is None:
        return one == other
    return (one.sha256, one.reason) == (other.sha256, other.reason) and np.array_equal(one.image, other.image)


def child_processes() -> set[int]:
    """The numbers of this process's children that run."""
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def discs(folder: Path) -> list[Path]:
    """The images of the class `disc`."""
    return sorted((folder / "disc").iterdir())


def test_a_decoded_file_has_the_hash_and_the_pixels_of_its_file(tmp_path: Path) -> None:
    """The hash is of the content on the disk, the pixels are those that `read_image` gives."""
    data = encode(draw("ring", 20, 1), "JPEG")
    (tmp_path / "photo.jpg").write_bytes(data)
    for spec in (InputSpec(16), InputSpec(16, "crop", 1)):
        decoded = decode_file(tmp_path / "photo.jpg", spec)
        assert decoded.sha256 == hashlib.sha256(data).hexdigest()
        assert decoded.image is not None
        assert decoded.image.shape == spec.shape
        assert decoded.image.nbytes == spec.num_bytes
        expected = read_image(data, size=16, fit=spec.fit, channels=spec.channels)
        np.testing.assert_array_equal(decoded.image, expected)


@pytest.mark.slow
def test_a_bad_file_has_a_reason_in_place_of_pixels(folder: Path) -> None:
    """A file that could be read has its hash even so."""
    for name, (data, reason) in refused_files().items():
        decoded = decode_file(folder / name, SMALL)
        assert (decoded.reason, decoded.image) == (reason, None)
        assert decoded.sha256 == (hashlib.sha256(data).hexdigest() if data else "")
    assert decode_file(folder / "gone.jpg", SMALL) == DecodedFile("", "no such file", None)


@pytest.mark.slow
def test_workers_decode_as_this_process_does_and_in_order(tmp_path: Path, folder: Path) -> None:
    """Every kind of file and every bad one, many of them, with long names: the same results, in the same order."""
    long = tmp_path / ("狗" * 80) / ("猫" * 80)
    long.mkdir(parents=True)
    paths = [folder / name for name in refused_files()] + discs(folder)[:50]
    for name, data in VARIED.items():
        (long / name).write_bytes(data)
        paths += [long / name]
    for number, path in enumerate(discs(folder)):
        os.link(path, long / f"{number}.png")
        paths.insert(number * 2, long / f"{number}.png")
    inline = [decode_file(path, SMALL) for path in paths]
    parallel = list(decode_files(paths, SMALL))
    assert len(parallel) == len(paths)
    assert all(map(same, inline, parallel))


def test_few_files_need_no_workers(folder: Path) -> None:
    """Up to 63 files are decoded in this process, since workers take longer to start."""
    before = child_processes()
    decoded = decode_files(discs(folder)[:63], SMALL)
    next(decoded)
    assert child_processes() == before
    assert len(list(decoded)) == 62
    assert list(decode_files([], SMALL)) == []


@pytest.mark.slow
def test_paths_are_taken_as_they_are_needed(folder: Path) -> None:
    """Of an endless iterator only some hundred paths are taken ahead; leaving early ends the workers."""
    before, taken = child_processes(), 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield folder / "disc" / "000.png"

    decoded = decode_files(endless(), SMALL, workers=1)
    assert len(list(islice(decoded, 100))) == 100
    assert taken <= 100 + 4 * 32 + 64
    assert len(child_processes() - before) == 1
    decoded.close()  # type: ignore[attr-defined]
    assert child_processes() == before


@pytest.mark.slow
def test_a_killed_worker_costs_no_image(folder: Path) -> None:
    """A worker that is killed, as by a system that runs out of memory, changes no result."""
    before, paths = child_processes(), discs(folder) * 4
    decoded = decode_files(paths, SMALL, workers=1)
    first = list(islice(decoded, 20))
    started = child_processes() - before
    assert len(started) == 1
    for pid in started:
        os.kill(pid, signal.SIGKILL)
    assert all(map(same, first + list(decoded), [decode_file(path, SMALL) for path in paths]))


@pytest.mark.slow
def test_a_worker_that_was_killed_while_it_waited_costs_no_image(folder: Path) -> None:
    """The file of the next request is not refused for it."""
    before = child_processes()

    def kill_before_the_last() -> Iterator[Path]:
        yield from discs(folder)[:96]
        (child,) = child_processes() - before
        wait_until_idle(child)
        os.kill(child, signal.SIGKILL)
        yield folder / "disc" / "000.png"

    last = list(decode_files(kill_before_the_last(), SMALL, workers=1))[-1]
    assert same(last, decode_file(folder / "disc" / "000.png", SMALL))


def wait_until_idle(process: int) -> None:
    """Wait until a process has slept for a fifth of a second."""
    asleep = 0
    while asleep < 20:
        time.sleep(0.01)
        asleep = asleep + 1 if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "S" else 0


@pytest.mark.slow
def test_a_file_that_crashes_its_decoder_is_one_refusal(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that ends its process, as a bug in a codec may, costs that file only."""
    (tmp_path / "sitecustomize.py").write_text(CRASHING_PILLOW, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # read by workers when they start
    (tmp_path / "crash.jpg").write_bytes(b"crash")
    paths = [*discs(folder)[:40], tmp_path / "crash.jpg", *discs(folder)[40:70]]
    decoded = list(decode_files(paths, SMALL, workers=1))
    assert decoded[40] == DecodedFile("", "crashes the decoder", None)
    del decoded[40], paths[40]
    assert all(map(same, decoded, [decode_file(path, SMALL) for path in paths]))


CRASHING_PILLOW = """
import os
from PIL import Image

open_image = Image.open

def crash(file, *args, **options):
    if file.read() == b"crash":
        os._exit(139)
    file.seek(0)
    return open_image(file, *args, **options)

Image.open = crash
"""


def test_workers_that_cannot_start_are_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no worker can run at all, no image is refused for it."""
    for executable in ("/bin/false", str(folder / "no such file")):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(ConvscopeError, match="ended before its first image"):
            list(decode_files(discs(folder), SMALL, workers=1))


@pytest.mark.slow
def test_workers_import_what_their_parent_does(folder: Path, tmp_path: Path) -> None:
    """A `json.py` in the user's folder breaks nothing, and convscope may be where only `sys.path` says."""
    for name in ("json.py", "numpy.py", "PIL.py", "hashlib.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong module')", encoding="utf-8")
    program = f"""
import sys; sys.path[0] = {str(SOURCE)!r}
from convscope.images.decoder_pool import InputSpec, decode_files
files = decode_files({[str(path) for path in discs(folder)]!r}, InputSpec(8), workers=1)
print([file.reason for file in files].count(""))
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("100\n", "")


@pytest.mark.slow
def test_no_worker_outlives_its_parent(folder: Path) -> None:
    """A parent that is killed leaves no worker behind, working or waiting."""
    program = f"""
import itertools, os, sys
from pathlib import Path
from convscope.images.decoder_pool import InputSpec, decode_files
decoded = decode_files(itertools.repeat({str(discs(folder)[0])!r}), InputSpec(8), workers=2)
next(decoded)
print(*[child for task in Path(f"/proc/{{os.getpid()}}/task").glob("*/children") for child in task.read_text().split()])
sys.stdout.flush()
next(itertools.islice(decoded, 10**9, None))
"""
    with start_python(program) as parent:
        assert parent.stdout is not None
        started = [int(child) for child in parent.stdout.readline().split()]
        parent.kill()
    assert len(started) == 2
    assert wait_until_ended(*started)
