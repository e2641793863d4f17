"""prediction/prediction.py: a row for every input, in order, each with its own answer; and a table that is whole."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Command, environment
from PIL import Image, ImageOps
from sample_images import KINDS, STRANGE_NAMES, VARIED, bomb, draw, refused_files, write_folder
from tiny_model import TinyModel, random_model

from convscope.errors import FolderError, RunError
from convscope.images.decoding import Square, decode_file
from convscope.images.reading import read_image
from convscope.prediction import parts
from convscope.prediction.inference import BATCH_IMAGES
from convscope.prediction.merging import merge
from convscope.prediction.parts import Parts, parts_folder
from convscope.prediction.prediction import command_to_resume, predict
from convscope.prediction.provenance import Shard
from convscope.prediction.rows import Format, Table
from convscope.prediction.shards import read_shard

CLASSES = ("ring", 'a, "b"', "狗")  # as little in alphabetical order as a model's classes need to be
SQUARE = Square(8, "pad")
INPUT_NAMES = [*STRANGE_NAMES, "-", "[1].png"]  # and what arguments give a meaning to


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
    """300 inputs in random order, bad, misnamed and repeated ones among them, on all cores: every row is its own."""
    paths = [str(path) for path in write_folder(tmp_path / "photos", per_class=50, size=12).rglob("*.png")]
    for name, (content, _) in refused_files().items():
        (tmp_path / name).write_bytes(content)
        paths += [str(tmp_path / name)] * 3
    for name, format in (("jpeg.png", "jpeg"), ("webp.jpg", "webp"), ("gif.tiff", "gif")):
        (tmp_path / name).write_bytes(VARIED[format])
        paths.append(str(tmp_path / name))
    paths += [str(tmp_path / "missing.png"), str(tmp_path / "missing.png"), *paths[:121]]
    random.Random(0).shuffle(paths)
    assert len(paths) == 300
    done = predict(file, paths, out=tmp_path / "out.csv")
    rows = read(tmp_path / "out.csv")
    check_rows(model, rows, paths)
    assert done.count == 300
    assert done.unreadable == sum(row["status"] == "unreadable" for row in rows) >= 26


@pytest.mark.parametrize("name", INPUT_NAMES)
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


def test_columns_of_reference(model: TinyModel, file: Path, photos: Path, tmp_path: Path) -> None:
    """The reference's table: one column for each class, and the file's name without folder and suffix as `id`."""
    paths = [str(photos / "disc" / "001.png"), str(tmp_path / "no.such.jpg"), str(photos / "bar" / "000.png")]
    predict(file, paths, out=tmp_path / "out.csv", table=Table(format="reference"))
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


@pytest.mark.parametrize("side", [9_500, 13_000])
def test_nothing_of_pillows_is_printed(file: Path, tmp_path: Path, side: int) -> None:
    """An image over the cap is refused in its row, also one up to twice as large, of which Pillow only warns."""
    (tmp_path / "large.png").write_bytes(bomb(side, side))
    command = [sys.executable, "-m", "convscope", "predict", str(file), str(tmp_path / "large.png")]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert ended.stdout.splitlines()[1].endswith('unreadable,"over 89,478,485 pixels",,,')
    assert ended.stderr == "1 of 1 image unreadable: their rows say why\n"


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


def test_what_is_no_file_is_written_as_it_is(file: Path, photos: Path) -> None:
    """`--out /dev/null` is no table that one could go on with, and nothing is left beside it."""
    done = predict(file, [str(photos / "disc")], out=Path(os.devnull))
    assert (done.count, done.unreadable) == (20, 0)
    assert not parts_folder(Path(os.devnull)).exists()


@pytest.mark.parametrize("out", [None, Path(os.devnull)])
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ({"resume": True}, "--resume or --shard"),
        ({"shard": Shard(1, 2)}, "--resume or --shard"),
        ({"table": Table(format="parquet")}, "--format parquet"),
    ],
)
def test_what_needs_a_file_is_refused_without_one(
    file: Path, photos: Path, out: Path | None, words: dict[str, Any], found: str
) -> None:
    """There is nothing to go on with on standard output, and Parquet is nothing for a terminal."""
    with pytest.raises(RunError) as caught:
        predict(file, [str(photos)], out=out, **words)
    assert caught.value.found.startswith(f"{found}, but the table goes to ")


def test_finished_table_is_alone(file: Path, photos: Path, tmp_path: Path) -> None:
    """Nothing but the table, in a folder that is made for it; with `resume` too, where nothing was begun."""
    for name, resume in (("a", False), ("b", True)):
        predict(file, [str(photos)], out=tmp_path / name / "out.csv", resume=resume)
        assert os.listdir(tmp_path / name) == ["out.csv"]


@pytest.mark.parametrize("kind", ["file", "symbolic link", "hard link"])
@pytest.mark.parametrize("name", ["model.onnx", "inside.onnx", "photos/a.png", "old.csv"])
def test_what_is_there_is_never_written_over(model: TinyModel, tmp_path: Path, name: str, kind: str) -> None:
    """The model, what lies beside it, an input, an old table: none is replaced, whatever name or link leads to it."""
    model.write(tmp_path / "model.onnx")
    (tmp_path / "photos").mkdir()
    Image.fromarray(draw("disc", 12, 1)).save(tmp_path / "photos" / "a.png")
    for each in ("inside.onnx", "old.csv"):
        (tmp_path / each).write_text("old")
    out = tmp_path / name
    if kind != "file":
        out = tmp_path / "link"
        (out.symlink_to if kind == "symbolic link" else out.hardlink_to)(tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RunError) as caught:
        predict(tmp_path / "model.onnx", [str(tmp_path / "photos")], out=out)
    assert caught.value.found == f"{out} exists already"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not parts_folder(out).exists()


def test_file_in_the_place_of_what_lies_beside_a_shard_is_not_written_over(
    file: Path, photos: Path, tmp_path: Path
) -> None:
    """`photos.csv.json` may be the user's."""
    (tmp_path / "out.csv.json").write_text("mine")
    for resume in (False, True):
        with pytest.raises(RunError, match=r"out\.csv\.json exists already"):
            predict(file, [str(photos)], out=tmp_path / "out.csv", shard=Shard(1, 2), resume=resume)
    assert os.listdir(tmp_path) == ["out.csv.json"]
    assert (tmp_path / "out.csv.json").read_text() == "mine"


def test_finished_table_is_not_predicted_again(cli: Command, file: Path, photos: Path, tmp_path: Path) -> None:
    """A script that always says `--resume` ends well a second time, and the table is the one of the first."""
    out = tmp_path / "out.csv"
    assert cli("predict", file, photos, "--out", out, "--resume").code == 0
    before = out.stat()
    ended = cli("predict", file, photos / "disc", "--out", out, "--resume")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"{out} was there already, and stays; to predict anew, move it away\n"
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert os.listdir(tmp_path) == ["out.csv"]


def test_finished_shard_is_compared_with_what_is_asked_for(file: Path, photos: Path, tmp_path: Path) -> None:
    """The file beside it says what it is of: it counts as it did, and another one is refused by name."""
    out, images = tmp_path / "out.csv", [str(photos), "missing.png"]
    first = predict(file, images, out=out, shard=Shard(2, 2))
    for named in (images, []):
        again = predict(file, named, out=out, shard=Shard(2, 2), resume=True)
        assert (again.count, again.unreadable, again.was_there) == (first.count, 1, True)
    for change in ({"shard": Shard(1, 2)}, {"images": images[:1]}, {"table": Table(top=1)}):
        words: dict[str, Any] = {"images": images, "shard": Shard(2, 2)} | change
        with pytest.raises(RunError, match="other choices than the table was begun with"):
            predict(file, out=out, resume=True, **words)
    out.write_bytes(out.read_bytes()[:-1])
    with pytest.raises(RunError, match="is not the table that was written"):
        predict(file, images, out=out, shard=Shard(2, 2), resume=True)


def test_kill_just_after_the_table_costs_nothing(
    file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is there and its parts are too: one goes on to the same end, unless another file took the place."""
    out = tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "finish", lambda _: None)  # as if killed before it
        predict(file, [str(photos)], out=out, shard=Shard(1, 2))
    before = out.read_bytes()
    out.write_bytes(b"another")
    with pytest.raises(RunError, match="exists already"):
        predict(file, out=out, shard=Shard(1, 2), resume=True)
    assert out.read_bytes() == b"another"
    out.write_bytes(before)
    assert predict(file, out=out, shard=Shard(1, 2), resume=True).count == 30
    assert out.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["out.csv", "out.csv.json"]


def test_file_that_came_since_the_beginning_is_told_at_once(file: Path, photos: Path, tmp_path: Path) -> None:
    """A table that is not complete cannot be there: whatever is, is another file, and the rest is not predicted."""
    out = tmp_path / "out.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parts, "keep", fail)
        with pytest.raises(OSError, match="full"):
            predict(file, [str(photos)], out=out)
    out.write_text("another")
    with pytest.raises(RunError, match="exists already"):
        predict(file, out=out, resume=True)
    out.unlink()
    assert predict(file, out=out, resume=True).count == 60


def fail(*_: object, **__: object) -> None:
    """As a disk does."""
    raise OSError("full")


def test_shard_says_what_it_is(file: Path, photos: Path, tmp_path: Path) -> None:
    """A shard's table has its stretch of the rows, and a file beside it that says which."""
    done = predict(file, [str(photos)], out=tmp_path / "part.csv", shard=Shard(2, 7))
    predict(file, [str(photos)], out=tmp_path / "whole.csv")
    first, last = Shard(2, 7).stretch(60)
    assert read(tmp_path / "part.csv") == read(tmp_path / "whole.csv")[first:last]
    assert done.count == last - first
    assert read_shard(tmp_path / "part.csv").origin.shard == Shard(2, 7)
    assert sorted(os.listdir(tmp_path)) == ["part.csv", "part.csv.json", "whole.csv"]


def test_resumed_command_has_every_choice(tmp_path: Path) -> None:
    """What shapes the rows is in the command that goes on, and the images are not: they are known."""
    table = Table(format="jsonl", top=2, min_confidence=0.8, neighbours=5, mirror=True)
    command = command_to_resume(Path("a run"), tmp_path / "out", table=table, shard=Shard(3, 4))
    words = "--resume --format jsonl --top 2 --min-confidence 0.8 --neighbours 5 --mirror --shard 3/4"
    assert command.endswith(f"predict 'a run' --out {tmp_path / 'out'} {words}")


@pytest.fixture(scope="module")
def learned(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that carries training images: the photos."""
    return random_model(KINDS, SQUARE, seed=3).write_with_neighbours(tmp_path_factory.mktemp("learned"), photos)


def test_neighbours_are_the_training_images_that_are_most_like(
    cli: Command, learned: Path, photos: Path, tmp_path: Path
) -> None:
    """A training image is most like itself, wherever it lies; the rest of the table is that of one without."""
    with_them, without = tmp_path / "with.csv", tmp_path / "without.csv"
    (tmp_path / "bad.png").write_bytes(b"text")
    inputs = [photos, tmp_path / "bad.png"]
    assert cli("predict", learned, *inputs, "--out", with_them, "--neighbours", 2, "--top", 1).code == 0
    assert cli("predict", learned, *inputs, "--out", without, "--top", 1).code == 0
    rows = read(with_them)
    known = {neighbour["neighbour1"] for neighbour in rows}
    own = [row for row in rows if row["path"].removeprefix(f"{photos}/") in known]
    assert 40 < len(own) < 60
    for row in own:
        assert (row["neighbour1"], row["similarity1"]) == (row["path"].removeprefix(f"{photos}/"), "1")
        assert 0 < float(row["similarity2"]) < 1
    added = ("neighbour1", "similarity1", "neighbour2", "similarity2")
    assert [rows[-1][name] for name in added] == [""] * 4
    assert [{name: row[name] for name in row if name not in added} for row in rows] == read(without)


def test_mirrored_table_says_the_same_of_a_photo_and_its_mirror_image(
    cli: Command, learned: Path, photos: Path, tmp_path: Path
) -> None:
    """With `--mirror` it makes no difference which way a photo faces; without it does. The neighbours stay its own."""
    original = sorted(photos.rglob("*.png"))[:8]
    for place in original:
        (tmp_path / "turned").mkdir(exist_ok=True)
        with Image.open(place) as image:
            ImageOps.mirror(image).save(tmp_path / "turned" / f"{place.parent.name}-{place.name}")
    turned = [tmp_path / "turned" / f"{place.parent.name}-{place.name}" for place in original]
    tables = {}
    for name, words in {"plain": (), "mirror": ("--mirror", "--neighbours", 1)}.items():
        for way, inputs in {"as it is": original, "turned": turned}.items():
            out = tmp_path / f"{name} {way}.csv"
            assert cli("predict", learned, *inputs, "--out", out, *words).code == 0
            tables[name, way] = read(out)
    own = ("path", "neighbour1", "similarity1")
    both = [
        [{key: value for key, value in row.items() if key not in own} for row in tables["mirror", way]]
        for way in ("as it is", "turned")
    ]
    assert both[0] == both[1]
    confidences = [[row["confidence"] for row in tables["plain", way]] for way in ("as it is", "turned")]
    assert confidences[0] != confidences[1]
    streamed = cli("predict", learned, *original, "--mirror", "--neighbours", 1)
    assert streamed.out == (tmp_path / "mirror as it is.csv").read_text()
    assert sum(row["similarity1"] == "1" for row in tables["mirror", "as it is"]) > 4


def test_table_of_mirrored_answers_is_no_part_of_a_plain_one(file: Path, photos: Path, tmp_path: Path) -> None:
    """Two shards, of which one is mirrored, are told apart by `merge`."""
    parts_of = [tmp_path / "1.csv", tmp_path / "2.csv"]
    for number, (place, is_mirrored) in enumerate(zip(parts_of, (False, True), strict=True), start=1):
        predict(file, [str(photos)], out=place, shard=Shard(number, 2), table=Table(mirror=is_mirrored))
    with pytest.raises(RunError, match="--mirror"):
        merge(parts_of, out=tmp_path / "whole.csv")


def test_neighbours_go_on_to_the_same_bytes(
    learned: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that was stopped in the middle, or that goes to standard output, has those of one that was not."""
    monkeypatch.setattr(parts, "PART_SECONDS", 0.0)
    images, table = [str(photos), str(photos / "disc")], Table(neighbours=3)
    predict(learned, images, out=tmp_path / "whole.csv", table=table)
    kept = Parts.keep

    def fail_late(some: Parts, content: bytes, *, first: int, count: int, unreadable: int) -> None:
        if first:
            fail()
        kept(some, content, first=first, count=count, unreadable=unreadable)

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "keep", fail_late)
        with pytest.raises(OSError, match="full"):
            predict(learned, images, out=tmp_path / "out.csv", table=table)
    with pytest.raises(RunError, match=r"--neighbours \(3, not 0\)"):
        predict(learned, out=tmp_path / "out.csv", resume=True)
    predict(learned, out=tmp_path / "out.csv", table=table, resume=True)
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    out = io.StringIO(newline="")
    monkeypatch.setattr(sys, "stdout", out)
    predict(learned, images, table=table)
    assert out.getvalue().encode() == (tmp_path / "whole.csv").read_bytes()


def test_neighbours_that_are_not_there_are_told(
    cli: Command, file: Path, learned: Path, photos: Path, tmp_path: Path
) -> None:
    """A model that carries none, or fewer than are asked for: before anything is predicted."""
    for model, count, found in ((file, 5, "no neighbours.safetensors beside"), (learned, 99, "--neighbours 99 of a")):
        ended = cli("predict", model, photos, "--out", tmp_path / "out.csv", "--neighbours", count)
        assert ended.code == 2
        assert found in ended.err.splitlines()[0]
    assert list(tmp_path.iterdir()) == []


def test_missing_pyarrow_is_told(
    cli: Command, file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parquet without the extra: which one to install, before anything is predicted; other formats do not need it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "convscope.prediction.parquet", raising=False)
    ended = cli("predict", file, photos, "--out", tmp_path / "out.parquet", "--format", "parquet")
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == "fix:      pip install 'convscope[parquet]'"
    assert os.listdir(tmp_path) == []
    assert cli("predict", file, photos, "--out", tmp_path / "out.jsonl", "--format", "jsonl").code == 0


WITH_SMALL_FILES = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))
sys.argv[0] = "convscope"
runpy.run_module("convscope", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits files as POSIX does")
def test_full_disk_costs_nothing_that_is_done(file: Path, photos: Path, tmp_path: Path) -> None:
    """When the disk is full, no table is there and the error has 3 lines; with room one can go on."""
    out = tmp_path / "out.csv"
    images = "\n".join([str(photos / "disc" / "000.png")] * 1000)  # 60 kB of names, over 80 kB of rows
    command = [sys.executable, "-c", WITH_SMALL_FILES, "predict", file, "-", "--out", out]
    ended = subprocess.run(command, input=images, capture_output=True, text=True, env=environment())
    assert ended.returncode == 2
    found, wanted, fix = ended.stderr.splitlines()[-3:]
    assert found.startswith(f"found:    [Errno 27] File too large: '{parts_folder(out)}")
    assert (wanted.split()[0], fix.split()[0]) == ("expected:", "fix:")
    assert not out.exists()
    assert predict(file, out=out, resume=True).count == 1000
    assert os.listdir(tmp_path) == ["out.csv"]


WITH_SMALL_PARTS = """
import runpy, sys
from convscope.prediction import parts
parts.PART_SECONDS = 0.0
sys.argv[0] = "convscope"
runpy.run_module("convscope", run_name="__main__")
"""
BATCHES = 60  # each of them a part


@pytest.fixture
def copies(photos: Path, tmp_path: Path) -> Path:
    """A folder of 60 batches of images, all different in name, some of them unreadable."""
    folder = tmp_path / "copies"
    folder.mkdir()
    sources = sorted(photos.rglob("*.png"))
    for number in range(BATCHES * BATCH_IMAGES):
        (folder / f"{number:05}.png").symlink_to(sources[number % 60] if number % 50 else "nowhere")
    return folder


def start_predicting(*words: object, **options: Any) -> subprocess.Popen[str]:
    """`convscope predict WORDS...`, which keeps a part for each batch, in a group of its own."""
    command = [sys.executable, "-c", WITH_SMALL_PARTS, "predict", *map(str, words)]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, start_new_session=True, text=True, env=environment(), **options
    )


def wait_for_parts(child: subprocess.Popen[str], out: Path, count: int) -> None:
    """Wait until so many parts are done; or the process has ended."""
    while child.poll() is None and len(list(parts_folder(out).glob("0*"))) < count:
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_killed_and_resumed_is_as_if_never_stopped(file: Path, copies: Path, tmp_path: Path, format: Format) -> None:
    """After two `kill -9` the table is that of an unbroken run byte for byte, and no row was predicted twice."""
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    out, whole = tmp_path / "out", tmp_path / "whole"
    predict(file, [str(copies)], out=whole, table=Table(format=format))
    words = [file, copies, "--out", out, "--format", format, "--max-unreadable", "5%"]
    for resume, count in (([], 5), (["--resume"], 30)):
        child = start_predicting(*words, *resume)
        wait_for_parts(child, out, count)
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate(timeout=60)
        assert child.returncode == -signal.SIGKILL
        assert not out.exists()
    for image in sorted(copies.iterdir())[: 30 * BATCH_IMAGES]:
        image.unlink()  # whoever read it again would find nothing
    child = start_predicting(*[word for word in words if word != copies], "--resume")
    _, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    assert re.match(r"going on after [\d,]+ of 1,920 images\n", err)
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["copies", "out", "whole"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends signals as POSIX does")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_run_says_how_to_go_on(file: Path, copies: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM: exit code 130, what is done stays, and the command that is printed ends it."""
    out, whole = tmp_path / "out.csv", tmp_path / "whole.csv"
    listed = "".join(f"{image}\n" for image in sorted(copies.iterdir()))
    (tmp_path / "list.txt").write_text(listed)
    with (tmp_path / "list.txt").open() as lines:
        child = start_predicting(file, "-", "--out", out, "--top", "2", "--shard", "1/1", stdin=lines)
        wait_for_parts(child, out, 3)
        os.killpg(child.pid, number)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    stopped, saved, resume = err.splitlines()[-3:]
    assert re.fullmatch(r"stopped:  after [\d,]+ of 1,920 images", stopped)
    assert saved == f"saved:    their rows, in {parts_folder(out)}"
    assert not out.exists()
    words = shlex.split(resume.removeprefix("resume:"))
    child = start_predicting(*words[words.index("predict") + 1 :])
    assert child.communicate(timeout=120)[1].endswith(f"1,920 rows in {out}\n")
    predict(file, listed.splitlines(), out=whole, table=Table(top=2))
    assert out.read_bytes() == whole.read_bytes()
    read_shard(out).check_intact()


@pytest.mark.slow
@pytest.mark.parametrize(("allowed", "code"), [("1%", 3), ("5%", 0)])
def test_unreadable_share_counts_every_part(file: Path, copies: Path, tmp_path: Path, allowed: str, code: int) -> None:
    """A run that was killed ends with the exit code of one that was not: 39 of 1,920 are unreadable, 2.03 %."""
    words = [file, copies, "--out", tmp_path / "out.csv", "--max-unreadable", allowed]
    child = start_predicting(*words)
    wait_for_parts(child, tmp_path / "out.csv", 55)
    child.kill()
    child.communicate(timeout=60)
    child = start_predicting(*words, "--resume")
    _, err = child.communicate(timeout=120)
    assert child.returncode == code, err
    assert "39 of 1,920 images unreadable" in err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends signals as POSIX does")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_without_a_file_is_plain(file: Path, photos: Path, number: signal.Signals) -> None:
    """On standard output nothing is kept: Ctrl-C and SIGTERM say `stopped` and end with 130."""
    child = start_predicting(file, *[photos / "disc" / "000.png"] * 3000, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    os.killpg(child.pid, number)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (130, "stopped\n")


def test_words_of_the_command_line(cli: Command, file: Path, photos: Path, tmp_path: Path) -> None:
    """Each flag arrives: ranks, the least confidence, a shard, a format; and what is no shard is told."""
    out = tmp_path / "out.jsonl"
    words = ["--format", "jsonl", "--top", 1, "--min-confidence", "100%", "--shard", "2/3"]
    assert cli("predict", file, photos, "--out", out, *words).code == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 20
    assert {(row["status"], row["label"], len(row["top"])) for row in rows} == {("unsure", None, 1)}
    assert "3/16" in cli("predict", file, photos, "--out", out, "--shard", "three").err


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
