"""deployment/prediction.py: a row for every input, in order, each with its own answer; and a table that is whole."""

from __future__ import annotations

import csv
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from commands import environment
from drawing import draw, refused_files, write_folder
from PIL import Image
from tiny_model import TinyModel, random_model

from convscope.data.decoding import Square, decode_file
from convscope.data.image import read_image
from convscope.deployment.bundle import open_bundle
from convscope.deployment.prediction import COLUMNS, answer_files, list_inputs, predict
from convscope.errors import FolderError

CLASSES = ("ring", 'a, "b"', "狗")  # as little in alphabetical order as a model's classes need to be
SQUARE = Square(8, "pad")
STRANGE_NAMES = [
    "comma, and more.png",
    "quote \" and ' .png",
    "two\nlines.png",
    "carriage\rreturn.png",
    "照片 一.png",
    "bytes \udcff\udc80.png",  # how Python spells bytes that are not UTF-8
    "=1+1.png",
    "-",
    " space .png",
    "[1].png",
    "\x0b\x0c\x1c\x85\u2028.png",  # what str.splitlines takes for ends of lines
]


@pytest.fixture(scope="module")
def model() -> TinyModel:
    """A model that answers something else for every image."""
    return random_model(CLASSES, SQUARE, seed=3)


@pytest.fixture(scope="module")
def file(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a bundle."""
    return model.write(tmp_path_factory.mktemp("model") / "model.onnx")


def read(table: Path | str) -> list[dict[str, str]]:
    """The rows of a table, by column."""
    text = table if isinstance(table, str) else table.read_bytes().decode("utf-8", "surrogateescape")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def expected(model: TinyModel, path: str | Path) -> np.ndarray:
    """What the model answers for a file, computed directly."""
    return model.answer(read_image(Path(path), size=SQUARE.size, fit=SQUARE.fit)[np.newaxis])[0]


def check_rows(model: TinyModel, rows: Sequence[dict[str, str]], paths: Sequence[str]) -> None:
    """Each row is of its own path, in order, and says what the model answers for that file alone."""
    assert [row["path"] for row in rows] == paths
    for row in rows:
        if reason := decode_file(row["path"], SQUARE).reason:
            assert row == dict.fromkeys(row, "") | {"path": row["path"], "status": "unreadable", "error": reason}
            continue
        answer = expected(model, row["path"])
        np.testing.assert_allclose([float(row[name]) for name in CLASSES], answer, atol=1e-5)
        assert row["label"] == CLASSES[answer.argmax()]
        assert float(row["confidence"]) == max(float(row[name]) for name in CLASSES)
        assert (row["status"], row["error"]) == ("ok", "")


def test_order_survives_shuffles_and_bad_files(model: TinyModel, file: Path, tmp_path: Path) -> None:
    """300 inputs in random order, bad files and repetitions among them, through all cores: every row is its own."""
    paths = [str(path) for path in write_folder(tmp_path / "photos", per_class=50, size=12).rglob("*.png")]
    for name, (content, _) in refused_files().items():
        (tmp_path / name).write_bytes(content)
        paths += [str(tmp_path / name)] * 3
    paths += [str(tmp_path / "missing.png"), str(tmp_path / "missing.png"), *paths[:124]]
    random.Random(0).shuffle(paths)
    assert len(paths) == 300
    done = predict(file, paths, out=tmp_path / "out.csv")
    rows = read(tmp_path / "out.csv")
    check_rows(model, rows, paths)
    assert done.count == 300
    assert done.unreadable == sum(row["status"] == "unreadable" for row in rows) >= 26


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_strange_names_read_back(model: TinyModel, file: Path, tmp_path: Path, name: str) -> None:
    """Whatever a file is called, its row has that name, byte for byte, when the table is read as CSV."""
    path = str(tmp_path / name)
    Image.fromarray(draw("disc", 12, 1)).save(path, "PNG")
    predict(file, [path, str(tmp_path / "missing.png")], out=tmp_path / "out.csv")
    rows = read(tmp_path / "out.csv")
    check_rows(model, rows, [path, str(tmp_path / "missing.png")])
    assert [row["status"] for row in rows] == ["ok", "unreadable"]


def test_columns_of_csv(file: Path, photos: Path, tmp_path: Path) -> None:
    """path,label,confidence,status,error and then the classes in the model's order."""
    predict(file, [str(photos)], out=tmp_path / "out.csv")
    header = tmp_path.joinpath("out.csv").read_text(encoding="utf-8").partition("\n")[0]
    assert header == 'path,label,confidence,status,error,ring,"a, ""b""",狗'
    assert COLUMNS == ("path", "label", "confidence", "status", "error")


def test_columns_of_reference(model: TinyModel, file: Path, photos: Path, tmp_path: Path) -> None:
    """The reference's table: one column for each class, and the file's name without folder and suffix as `id`."""
    paths = [str(photos / "disc" / "001.png"), str(tmp_path / "no.such.jpg"), str(photos / "bar" / "000.png")]
    predict(file, paths, out=tmp_path / "out.csv", format="reference")
    header, *rows = csv.reader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8"), newline=""))
    assert header == [*CLASSES, "id"]
    assert [row[-1] for row in rows] == ["001", "no.such", "000"]
    assert rows[1][:-1] == ["", "", ""]
    for row, path in ((rows[0], paths[0]), (rows[2], paths[2])):
        np.testing.assert_allclose([float(cell) for cell in row[:-1]], expected(model, path), atol=1e-5)


def test_unreadable_rows_say_why(file: Path, tmp_path: Path) -> None:
    """Each file that cannot be used is a row with the reason, and with nothing that could pass for an answer."""
    files = refused_files()
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)
    done = predict(file, [str(tmp_path / name) for name in files], out=tmp_path / "out.csv")
    assert (done.count, done.unreadable) == (len(files), len(files))
    rows = read(tmp_path / "out.csv")
    assert [row["error"] for row in rows] == [reason for _, reason in files.values()]
    assert {row["label"] + row["confidence"] + "".join(row[name] for name in CLASSES) for row in rows} == {""}


def test_folders_are_searched_in_depth(tmp_path: Path) -> None:
    """Each folder's images and then its sub-folders', in order; hidden ones and other files are passed over."""
    for name in ("b/two.png", "a/deep/one.JPG", "top.webp", ".hidden/no.png", "a/.no.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list(list_inputs([str(tmp_path)]))
    assert found == [str(tmp_path / name) for name in ("top.webp", "a/deep/one.JPG", "b/two.png")]


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


def test_brackets_in_a_name_are_a_name_first(tmp_path: Path) -> None:
    """A file that is called like a glob is that file; a glob without a match stays, to be an unreadable row."""
    (tmp_path / "[1].png").touch()
    (tmp_path / "1.png").touch()
    names = [str(tmp_path / "[1].png"), str(tmp_path / "[2].png")]
    assert list(list_inputs(names)) == names


def test_dash_reads_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is a list of paths on standard input, one a line of any system, each byte for byte, blank lines left out."""
    lines = b"one.png\r\n\n two, .png\nthree\x0b\xe2\x80\xa8.png\n\xff.png\nlast.png"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines), "utf-8"))
    listed = list(list_inputs(["first.png", "-"]))
    assert listed == ["first.png", "one.png", " two, .png", "three\x0b\u2028.png", "\udcff.png", "last.png"]


def test_nothing_to_classify_is_an_error(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, an empty list and no argument at all are told, and no table is written."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n"), "utf-8"))
    (tmp_path / "empty").mkdir()
    for images in ([str(tmp_path / "empty")], ["-"], []):
        with pytest.raises(FolderError, match="found: no images"):
            predict(file, images, out=tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_folder_in_the_tables_place_is_an_error(file: Path, photos: Path, tmp_path: Path) -> None:
    """`--out FOLDER` is told before the work is done, with a name that would do."""
    with pytest.raises(FolderError) as caught:
        predict(file, [str(photos)], out=tmp_path)
    assert str(tmp_path / "predictions.csv") in caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_table_without_out_goes_to_standard_output(
    model: TinyModel, file: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same table, and nothing else there."""
    done = predict(file, [str(photos / "disc")])
    rows = read(capsys.readouterr().out)
    check_rows(model, rows, [str(path) for path in sorted((photos / "disc").iterdir())])
    assert done.out is None


def test_answers_come_before_the_last_file_is_read(file: Path, photos: Path) -> None:
    """Answers flow: the first is there while most files still wait, so memory does not grow with their number."""
    paths = [str(photos / "disc" / "000.png")] * 100_000
    answers = answer_files(open_bundle(file), paths)
    started = time.monotonic()
    assert next(answers).path == paths[0]
    answers.close()
    assert time.monotonic() - started < 10.0  # all of them take a minute


WITH_SMALL_FILES = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.argv[0] = "convscope"
runpy.run_module("convscope", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits files as POSIX does")
def test_nothing_stands_under_the_name_when_it_fails(file: Path, photos: Path, tmp_path: Path) -> None:
    """When the disk is full in the middle, an old table stays as it was and no part is left; the error has 3 lines."""
    out = tmp_path / "out.csv"
    out.write_text("old")
    images = [str(photos / "disc" / "000.png")] * 1000  # 60 kB of rows
    command = [sys.executable, "-c", WITH_SMALL_FILES, "predict", file, "-", "--out", out]
    ended = subprocess.run(command, input="\n".join(images), capture_output=True, text=True, env=environment())
    assert ended.returncode == 2
    found, wanted, fix = ended.stderr.splitlines()
    assert found.startswith("found:    [Errno 27] File too large")
    assert (wanted.split()[0], fix.split()[0]) == ("expected:", "fix:")
    assert out.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.csv"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends signals as POSIX does")
@pytest.mark.parametrize(("number", "code", "left"), [(signal.SIGKILL, -9, 1), (signal.SIGINT, 130, 0)])
def test_stopped_run_leaves_no_table(
    file: Path, photos: Path, tmp_path: Path, number: signal.Signals, code: int, left: int
) -> None:
    """Killed, it leaves at most a hidden part; stopped by Ctrl-C, nothing, and ends with 130."""
    images = tmp_path / "list.txt"
    images.write_text(f"{photos / 'disc' / '000.png'}\n" * 100_000)
    (tmp_path / "to").mkdir()
    command = [sys.executable, "-m", "convscope", "predict", file, "-", "--out", tmp_path / "to" / "out.csv"]
    with images.open() as lines:
        child = subprocess.Popen(
            command, stdin=lines, stderr=subprocess.PIPE, start_new_session=True, text=True, env=environment()
        )
        while child.poll() is None and not sum(part.stat().st_size for part in (tmp_path / "to").iterdir()):
            time.sleep(0.02)
        os.killpg(child.pid, number)
        _, err = child.communicate(timeout=30)
    assert child.returncode == code, err
    assert err == ("stopped\n" if number == signal.SIGINT else "")
    names = os.listdir(tmp_path / "to")
    assert len(names) == left
    assert all(name.startswith(".") for name in names)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="closes pipes as POSIX does")
def test_reader_that_has_seen_enough_is_no_error(file: Path, photos: Path) -> None:
    """`convscope predict ... | head -1` ends well, and says nothing of it."""
    command = [sys.executable, "-m", "convscope", "predict", file, *[photos / "disc" / "000.png"] * 3000]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    assert child.stdout is not None
    assert child.stdout.readline().startswith(b"path,")
    child.stdout.close()
    assert child.stderr is not None
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(timeout=30) == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_bytes_that_are_no_text_pass_through_the_pipe(file: Path, tmp_path: Path) -> None:
    """From a list on standard input to the table on standard output, under a strict locale too."""
    name = os.fsencode(tmp_path) + b"/\xff\xe7.png"
    Image.fromarray(draw("disc", 12, 1)).save(os.fsdecode(name), "PNG")
    command = [sys.executable, "-m", "convscope", "predict", file, "-"]
    ended = subprocess.run(
        command, input=name + b"\n", capture_output=True, env=environment(PYTHONIOENCODING="utf-8:strict")
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.splitlines()[1].startswith(name + b",")
