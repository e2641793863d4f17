"""prediction/prediction.py in a pipe: lists of paths come in on standard input, rows go out on standard output."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image
from processes import environment
from sample_images import draw

from convscope.prediction.prediction import predict


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="closes pipes as POSIX does")
def test_reader_that_closes_the_pipe_is_no_error(model_file: Path, photos: Path) -> None:
    """`convscope predict ... | head -1` ends well and prints nothing about it."""
    command = [sys.executable, "-m", "convscope", "predict", model_file, *[photos / "disc" / "000.png"] * 3000]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    assert child.stdout is not None
    assert child.stdout.readline().startswith(b"path,")
    child.stdout.close()
    assert child.stderr is not None
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(timeout=30) == 0


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="names pipes as POSIX does")
def test_named_pipe_is_written_until_its_reader_closes_it(model_file: Path, photos: Path, tmp_path: Path) -> None:
    """As for `--out >(head -1)`: the closed pipe is no failed write, and stays a BrokenPipeError."""
    os.mkfifo(tmp_path / "pipe")
    first_lines: list[str] = []

    def read_first_line() -> None:
        with (tmp_path / "pipe").open() as pipe:
            first_lines.append(pipe.readline())

    reader = threading.Thread(target=read_first_line)
    reader.start()
    with pytest.raises(BrokenPipeError):
        predict(model_file, [str(photos / "disc" / "000.png")] * 5000, out=tmp_path / "pipe")
    reader.join(timeout=30)
    assert first_lines[0].startswith("path,")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_bytes_that_are_not_text_pass_through_the_pipe(model_file: Path, tmp_path: Path) -> None:
    """From a list on standard input to the table on standard output, under a strict encoding too."""
    name = os.fsencode(tmp_path) + b"/\xff\xe7.png"
    Image.fromarray(draw("disc", 12, 1)).save(os.fsdecode(name), "PNG")
    command = [sys.executable, "-m", "convscope", "predict", model_file, "-"]
    result = subprocess.run(
        command, input=name + b"\n", capture_output=True, env=environment(PYTHONIOENCODING="utf-8:strict")
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.splitlines()[1].startswith(name + b",")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="closes standard input as POSIX does")
def test_closed_standard_input_is_an_error(model_file: Path) -> None:
    """`convscope predict MODEL - <&-`: three lines, exit code 2."""
    command = [sys.executable, "-m", "convscope", "predict", str(model_file), "-"]
    result = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *command], capture_output=True, text=True, env=environment())
    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == "found:    standard input cannot be read: it is closed"
