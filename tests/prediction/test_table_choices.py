"""prediction/prediction.py: neighbours, the average with the horizontal flip, and the other choices of a table."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from prediction_tables import read_rows
from processes import Command

from convscope.errors import BundleError, ConvscopeError, MissingExtra, RunError
from convscope.prediction.merging import merge
from convscope.prediction.prediction import predict
from convscope.prediction.provenance import Shard
from convscope.prediction.rows import Table


@pytest.mark.slow
def test_neighbours_are_the_most_similar_training_images(
    model_with_neighbours: Path, photos: Path, tmp_path: Path
) -> None:
    """A training image is most similar to itself; the other columns are those of a table without neighbours."""
    (tmp_path / "bad.png").write_bytes(b"text")
    images = [str(photos), str(tmp_path / "bad.png")]
    for name, table in {"with": Table(top=1, neighbours=2), "without": Table(top=1)}.items():
        predict(model_with_neighbours, images, out=tmp_path / f"{name}.csv", table=table)
    rows = read_rows(tmp_path / "with.csv")
    training_images = {row["neighbour1"] for row in rows}
    own_rows = [row for row in rows if row["path"].removeprefix(f"{photos}/") in training_images]
    assert 40 < len(own_rows) < 60
    for row in own_rows:
        assert (row["neighbour1"], row["similarity1"]) == (row["path"].removeprefix(f"{photos}/"), "1")
        assert 0 < float(row["similarity2"]) < 1
    columns = ("neighbour1", "similarity1", "neighbour2", "similarity2")
    assert [rows[-1][name] for name in columns] == [""] * 4
    others = [{name: cell for name, cell in row.items() if name not in columns} for row in rows]
    assert others == read_rows(tmp_path / "without.csv")


def test_standard_output_has_the_neighbours_of_a_file(
    model_with_neighbours: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes."""
    predict(model_with_neighbours, [str(photos)], out=tmp_path / "out.csv", table=Table(neighbours=3))
    out = io.StringIO(newline="")
    monkeypatch.setattr(sys, "stdout", out)
    predict(model_with_neighbours, [str(photos)], table=Table(neighbours=3))
    assert out.getvalue().encode() == (tmp_path / "out.csv").read_bytes()


@pytest.mark.slow
def test_flipped_photo_has_the_same_row(
    cli: Command, model_with_neighbours: Path, photos: Path, tmp_path: Path
) -> None:
    """With `--mirror` a photo and its flip have equal rows, without it not. Neighbours are those of the photo."""
    originals = sorted(photos.rglob("*.png"))[:8]
    (tmp_path / "flipped").mkdir()
    flips = [tmp_path / "flipped" / f"{path.parent.name}-{path.name}" for path in originals]
    for path, flip in zip(originals, flips, strict=True):
        with Image.open(path) as image:
            ImageOps.mirror(image).save(flip)
    tables = {}
    for name, arguments in {"plain": (), "mirror": ("--mirror", "--neighbours", 1)}.items():
        for kind, paths in {"originals": originals, "flips": flips}.items():
            out = tmp_path / f"{name} {kind}.csv"
            assert cli("predict", model_with_neighbours, *paths, "--out", out, *arguments).code == 0
            tables[name, kind] = read_rows(out)
    unaffected = ("path", "neighbour1", "similarity1")
    original_rows, flipped_rows = (
        [{name: cell for name, cell in row.items() if name not in unaffected} for row in tables["mirror", kind]]
        for kind in ("originals", "flips")
    )
    assert original_rows == flipped_rows
    confidences = [[row["confidence"] for row in tables["plain", kind]] for kind in ("originals", "flips")]
    assert confidences[0] != confidences[1]
    streamed = cli("predict", model_with_neighbours, *originals, "--mirror", "--neighbours", 1)
    assert streamed.out == (tmp_path / "mirror originals.csv").read_text()
    assert sum(row["similarity1"] == "1" for row in tables["mirror", "originals"]) > 4


def test_shards_with_and_without_mirror_are_not_merged(model_file: Path, photos: Path, tmp_path: Path) -> None:
    """Their probabilities are not comparable."""
    shards = [tmp_path / "1.csv", tmp_path / "2.csv"]
    for number, (path, mirror) in enumerate(zip(shards, (False, True), strict=True), start=1):
        predict(model_file, [str(photos)], out=path, shard=Shard(number, 2), table=Table(mirror=mirror))
    with pytest.raises(RunError, match="`mirror`"):
        merge(shards, out=tmp_path / "out.csv")


def test_missing_neighbours_are_an_error(
    model_file: Path, model_with_neighbours: Path, photos: Path, tmp_path: Path
) -> None:
    """A model that has none, or fewer than requested: before anything is predicted."""
    with pytest.raises(BundleError, match=r"no neighbours\.safetensors beside"):
        predict(model_file, [str(photos)], out=tmp_path / "out.csv", table=Table(neighbours=5))
    with pytest.raises(ConvscopeError, match="99"):
        predict(model_with_neighbours, [str(photos)], out=tmp_path / "out.csv", table=Table(neighbours=99))
    assert list(tmp_path.iterdir()) == []


def test_missing_pyarrow_is_an_error(
    model_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parquet without the extra: which one to install, before anything is predicted; other formats do not need it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "convscope.prediction.parquet", raising=False)
    with pytest.raises(MissingExtra) as caught:
        predict(model_file, [str(photos)], out=tmp_path / "out.parquet", table=Table(format="parquet"))
    assert caught.value.fix == "pip install 'convscope[parquet]'"
    assert os.listdir(tmp_path) == []
    predict(model_file, [str(photos)], out=tmp_path / "out.jsonl", table=Table(format="jsonl"))


def test_flags_of_the_command_line(cli: Command, model_file: Path, photos: Path, tmp_path: Path) -> None:
    """Each flag reaches the table: ranks, minimum confidence, shard, format; and a wrong shard is an error."""
    out = tmp_path / "out.jsonl"
    arguments = ["--format", "jsonl", "--top", 1, "--min-confidence", "100%", "--shard", "2/3"]
    assert cli("predict", model_file, photos, "--out", out, *arguments).code == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 20
    assert {(row["status"], row["label"], len(row["top"])) for row in rows} == {("unsure", None, 1)}
    assert "3/16" in cli("predict", model_file, photos, "--out", out, "--shard", "three").err
