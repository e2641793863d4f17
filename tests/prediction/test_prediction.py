"""prediction/prediction.py: one row for every input, in order; a table that appears atomically and replaces nothing."""

from __future__ import annotations

import csv
import io
import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prediction_tables import CLASSES, check_rows, expected_probabilities, read_rows
from processes import finish, start
from sample_images import STRANGE_NAMES, VARIED, bomb, draw, refused_files, write_folder
from tiny_model import TinyModel

from convscope.errors import FolderError, RunError
from convscope.prediction.prediction import predict
from convscope.prediction.provenance import Shard
from convscope.prediction.rows import Table
from convscope.prediction.shards import read_shard
from convscope.prediction.unfinished_table import parts_folder

INPUT_NAMES = [*STRANGE_NAMES, "-", "[1].png"]  # the last two also mean something as arguments


@pytest.mark.slow
def test_order_survives_shuffles_and_bad_files(model: TinyModel, model_file: Path, tmp_path: Path) -> None:
    """300 inputs in random order, bad, misnamed and repeated ones among them, on all cores: each has its own row."""
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
    summary = predict(model_file, paths, out=tmp_path / "out.csv")
    rows = read_rows(tmp_path / "out.csv")
    check_rows(model, rows, paths)
    assert summary.count == 300
    assert summary.unreadable == sum(row["status"] == "unreadable" for row in rows) >= 26


@pytest.mark.slow
@pytest.mark.parametrize("name", INPUT_NAMES)
def test_strange_names_read_back(model: TinyModel, model_file: Path, tmp_path: Path, name: str) -> None:
    """Whatever a file is called, its row has that name, byte for byte, when the table is read as CSV."""
    path = str(tmp_path / name)
    Image.fromarray(draw("disc", 12, 1)).save(path, "PNG")
    predict(model_file, [path, str(tmp_path / "missing.png")], out=tmp_path / "out.csv")
    rows = read_rows(tmp_path / "out.csv")
    check_rows(model, rows, [path, str(tmp_path / "missing.png")])
    assert [row["status"] for row in rows] == ["ok", "unreadable"]


def test_columns_of_csv(model_file: Path, photos: Path, tmp_path: Path) -> None:
    """path,label,confidence,status,error and then the classes in the model's order."""
    predict(model_file, [str(photos)], out=tmp_path / "out.csv")
    header = tmp_path.joinpath("out.csv").read_text(encoding="utf-8").partition("\n")[0]
    assert header == 'path,label,confidence,status,error,ring,"a, ""b""",狗'


def test_columns_of_reference(model: TinyModel, model_file: Path, photos: Path, tmp_path: Path) -> None:
    """The reference's table: one column for each class, and the file's name without folder and suffix as `id`."""
    paths = [str(photos / "disc" / "001.png"), str(tmp_path / "no.such.jpg"), str(photos / "bar" / "000.png")]
    predict(model_file, paths, out=tmp_path / "out.csv", table=Table(format="reference"))
    header, *rows = csv.reader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8"), newline=""))
    assert header == [*CLASSES, "id"]
    assert [row[-1] for row in rows] == ["001", "no.such", "000"]
    assert rows[1][:-1] == ["", "", ""]
    for row, path in ((rows[0], paths[0]), (rows[2], paths[2])):
        expected = expected_probabilities(model, path)
        np.testing.assert_allclose([float(cell) for cell in row[:-1]], expected, atol=1e-5)


def test_unreadable_rows_have_a_reason(model_file: Path, unreadable: Path, tmp_path: Path) -> None:
    """Each file that cannot be used is a row with the reason, and without anything that looks like a prediction."""
    reasons = {name: reason for name, (_, reason) in refused_files().items()}
    summary = predict(model_file, [str(unreadable / name) for name in reasons], out=tmp_path / "out.csv")
    assert (summary.count, summary.unreadable) == (len(reasons), len(reasons))
    rows = read_rows(tmp_path / "out.csv")
    assert [row["error"] for row in rows] == [*reasons.values()]
    assert {row["label"] + row["confidence"] + "".join(row[name] for name in CLASSES) for row in rows} == {""}


@pytest.mark.slow
@pytest.mark.parametrize("side", [9_500, 13_000])
def test_no_warning_of_pillow_is_printed(model_file: Path, tmp_path: Path, side: int) -> None:
    """An image over the limit is refused in its row, also one up to twice as large, of which Pillow only warns."""
    (tmp_path / "large.png").write_bytes(bomb(side, side))
    result = finish(start("predict", model_file, tmp_path / "large.png"))
    assert result.out.splitlines()[1].endswith('unreadable,"over 89,478,485 pixels",,,')
    assert len(result.err.splitlines()) == 1
    assert "1 of 1 image unreadable" in result.err


def test_no_input_is_an_error(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, an empty list and no argument at all are errors, and no table is written."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n"), "utf-8"))
    (tmp_path / "empty").mkdir()
    for images in ([str(tmp_path / "empty")], ["-"], []):
        with pytest.raises(FolderError, match="found: no images"):
            predict(model_file, images, out=tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_folder_as_out_is_an_error(model_file: Path, photos: Path, tmp_path: Path) -> None:
    """It is raised before anything is predicted, and suggests a name."""
    with pytest.raises(FolderError) as caught:
        predict(model_file, [str(photos)], out=tmp_path)
    assert str(tmp_path / "predictions.csv") in caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_is_an_error(model_file: Path, photos: Path, tmp_path: Path) -> None:
    """Where a file stands in the way, or a name is too long: found, expected, fix."""
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "out.csv", tmp_path / "folder" / ("x" * 300)):
        with pytest.raises(RunError, match="cannot be written: ") as caught:
            predict(model_file, [str(photos)], out=out)
        assert "`out`" in caught.value.fix


def test_table_without_out_goes_to_standard_output(
    model: TinyModel, model_file: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same table, and nothing else there."""
    summary = predict(model_file, [str(photos / "disc")])
    rows = read_rows(capsys.readouterr().out)
    check_rows(model, rows, [str(path) for path in sorted((photos / "disc").iterdir())])
    assert summary.out is None


def test_special_file_is_written_directly(model_file: Path, photos: Path) -> None:
    """/dev/null is no table that could be resumed, and nothing is written beside it."""
    summary = predict(model_file, [str(photos / "disc")], out=Path(os.devnull))
    assert (summary.count, summary.unreadable) == (20, 0)
    assert not parts_folder(Path(os.devnull)).exists()


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("count", [1, 1000])
def test_full_special_file_is_an_error(model_file: Path, photos: Path, count: int) -> None:
    """As a full disk is: found, expected, fix; whether the rows fit into the buffer of the file or not."""
    with pytest.raises(RunError, match="/dev/full cannot be written: "):
        predict(model_file, [str(photos / "disc" / "000.png")] * count, out=Path("/dev/full"))


@pytest.mark.parametrize("out", [None, Path(os.devnull)])
@pytest.mark.parametrize(
    ("choice", "found"),
    [
        ({"resume": True}, "`resume`"),
        ({"shard": Shard(1, 2)}, "`shard`"),
        ({"table": Table(format="parquet")}, "`format='parquet'`"),
    ],
)
def test_choice_that_needs_a_file_is_refused_without_one(
    model_file: Path, photos: Path, out: Path | None, choice: dict[str, Any], found: str
) -> None:
    """Standard output cannot be resumed, a shard needs a file beside it, and Parquet is binary."""
    with pytest.raises(RunError) as caught:
        predict(model_file, [str(photos)], out=out, **choice)
    assert caught.value.found.startswith(f"{found}, but the table goes to ")


def test_finished_table_is_alone(model_file: Path, photos: Path, tmp_path: Path) -> None:
    """Only the table is in the folder that was made for it; with `resume` too, where nothing was begun."""
    for name, resume in (("a", False), ("b", True)):
        predict(model_file, [str(photos)], out=tmp_path / name / "out.csv", resume=resume)
        assert os.listdir(tmp_path / name) == ["out.csv"]


@pytest.mark.parametrize("kind", ["file", "symbolic link", "hard link"])
@pytest.mark.parametrize("name", ["model.onnx", "inside.onnx", "photos/a.png", "old.csv"])
def test_existing_file_is_never_replaced(model: TinyModel, tmp_path: Path, name: str, kind: str) -> None:
    """The model, a file beside it, an input, an old table: none is replaced, by whatever name or link it is reached."""
    model.write(tmp_path / "model.onnx")
    (tmp_path / "photos").mkdir()
    Image.fromarray(draw("disc", 12, 1)).save(tmp_path / "photos" / "a.png")
    for existing in ("inside.onnx", "old.csv"):
        (tmp_path / existing).write_text("old")
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


def test_file_at_the_path_of_the_sidecar_is_never_replaced(model_file: Path, photos: Path, tmp_path: Path) -> None:
    """`photos.csv.json` may be the user's."""
    (tmp_path / "out.csv.json").write_text("mine")
    for resume in (False, True):
        with pytest.raises(RunError, match=r"out\.csv\.json exists already"):
            predict(model_file, [str(photos)], out=tmp_path / "out.csv", shard=Shard(1, 2), resume=resume)
    assert os.listdir(tmp_path) == ["out.csv.json"]
    assert (tmp_path / "out.csv.json").read_text() == "mine"


def test_shard_has_its_rows_and_a_sidecar(model_file: Path, photos: Path, tmp_path: Path) -> None:
    """A shard's table has its range of the rows, and a JSON file beside it says which."""
    summary = predict(model_file, [str(photos)], out=tmp_path / "part.csv", shard=Shard(2, 7))
    predict(model_file, [str(photos)], out=tmp_path / "all.csv")
    positions = Shard(2, 7).input_range(60)
    assert read_rows(tmp_path / "part.csv") == read_rows(tmp_path / "all.csv")[positions.start : positions.stop]
    assert summary.count == len(positions)
    assert read_shard(tmp_path / "part.csv").provenance.shard == Shard(2, 7)
    assert sorted(os.listdir(tmp_path)) == ["all.csv", "part.csv", "part.csv.json"]
