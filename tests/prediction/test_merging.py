"""prediction/merging.py: all shards, once, unchanged and of one table, or a refusal that says what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import Command
from sample_images import KINDS, refused_files
from tiny_model import random_model

from convscope.errors import RunError
from convscope.prediction.merging import merge
from convscope.prediction.prediction import predict
from convscope.prediction.provenance import Shard
from convscope.prediction.rows import Format, Table
from convscope.prediction.shards import sidecar_of

CLASSES = ("one", "two", "three")
COUNT = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers something else for every image."""
    return random_model(CLASSES, seed=7).write(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def with_neighbours(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that carries training images: the photos."""
    return random_model(KINDS, seed=7).write_with_neighbours(tmp_path_factory.mktemp("carrying"), photos)


@pytest.fixture(scope="module")
def images(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """68 inputs, 8 of them unreadable."""
    place = tmp_path_factory.mktemp("bad")
    for name, (content, _) in refused_files().items():
        (place / name).write_bytes(content)
    return [str(photos / "disc"), str(place), str(photos / "bar"), str(photos / "ring")]


@pytest.fixture(scope="module")
def dealt(model: Path, images: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards in CSV. Only to be read."""
    place = tmp_path_factory.mktemp("dealt")
    for number in range(1, COUNT + 1):
        predict(model, images, out=place / f"{number}.csv", shard=Shard(number, COUNT))
    return place


@pytest.fixture
def shards(dealt: Path, tmp_path: Path) -> list[Path]:
    """The same three, to be changed."""
    shutil.copytree(dealt, tmp_path / "shards")
    return [tmp_path / "shards" / f"{number}.csv" for number in range(1, COUNT + 1)]


@pytest.mark.parametrize(("format", "count"), [("csv", 1), ("csv", 70), ("jsonl", 4), ("parquet", 4), ("reference", 4)])
@pytest.mark.parametrize("mirror", [False, True])
def test_merged_shards_are_the_table_of_one_run(
    model: Path, images: list[str], tmp_path: Path, format: Format, count: int, mirror: bool
) -> None:
    """Byte for byte, from any number of shards, some of them without an input, given in any order."""
    pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    table = Table(format=format, top=0 if format == "reference" else 2, mirror=mirror)
    whole = predict(model, images, out=tmp_path / "whole", table=table)
    paths = [tmp_path / f"part{number}" for number in range(1, count + 1)]
    for number, path in enumerate(paths, 1):
        predict(model, images, out=path, table=table, shard=Shard(number, count))
    merged = merge(reversed(paths), out=tmp_path / "merged")
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()
    assert (merged.count, merged.unreadable) == (whole.count, whole.unreadable) == (68, 8)


@pytest.mark.parametrize(("format", "count"), [("csv", 5), ("jsonl", 70), ("parquet", 3)])
def test_merged_shards_have_the_neighbours_of_one_run(
    with_neighbours: Path, images: list[str], tmp_path: Path, format: Format, count: int
) -> None:
    """Byte for byte, however the inputs are dealt; and merging needs neither the model nor what lies beside it."""
    pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    table = Table(format=format, top=1, neighbours=3)
    predict(with_neighbours, images, out=tmp_path / "whole", table=table)
    paths = [tmp_path / f"part{number}" for number in range(1, count + 1)]
    for number, path in enumerate(paths, 1):
        predict(with_neighbours, images, out=path, table=table, shard=Shard(number, count))
    merge(paths, out=tmp_path / "merged")
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()


def refused(tables: list[Path], out: Path) -> RunError:
    """How they are refused; no table is written."""
    with pytest.raises(RunError) as caught:
        merge(tables, out=out)
    assert not out.is_file() or out in tables
    return caught.value


def test_missing_shards_are_named(shards: list[Path], tmp_path: Path) -> None:
    """Which, and of how many."""
    assert refused(shards[1:2], tmp_path / "out.csv").found == "1 of 3 shards; missing: 1/3, 3/3"


def test_many_missing_shards_are_counted(model: Path, images: list[str], tmp_path: Path) -> None:
    """Ten are named."""
    predict(model, images, out=tmp_path / "a.csv", shard=Shard(1, 500))
    assert refused([tmp_path / "a.csv"], tmp_path / "out.csv").found.endswith("10/500, 11/500 and 489 more")


def test_double_shard_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """Both files are named."""
    shutil.copy(shards[1], tmp_path / "copy.csv")
    shutil.copy(sidecar_of(shards[1]), tmp_path / "copy.csv.json")
    found = refused([*shards, tmp_path / "copy.csv"], tmp_path / "out.csv").found
    assert found == f"shard 2/3 twice: {shards[1]} and {tmp_path / 'copy.csv'}"


@pytest.mark.parametrize("change", [b"", b"x", None])
def test_changed_table_is_refused(shards: list[Path], tmp_path: Path, change: bytes | None) -> None:
    """Cut short, longer, or with another byte."""
    data = shards[2].read_bytes()
    shards[2].write_bytes(data[:-1] + b"9\n" if change is None else data + change if change else data[:-20])
    assert refused(shards, tmp_path / "out.csv").found == f"{shards[2]} is not the table that was written"


def test_table_without_its_file_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """As when only the tables were copied."""
    sidecar_of(shards[0]).unlink()
    assert refused(shards, tmp_path / "out.csv").found == f"no {sidecar_of(shards[0])}"


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("model", "the model"),
        ("images", "the images (68, not 28)"),
        ("format", "--format (csv, not jsonl)"),
        ("top", "--top (0, not 1)"),
        ("min-confidence", "--min-confidence (0.0, not 0.9)"),
        ("count", "the number of shards (3, not 4)"),
    ],
)
def test_shards_of_something_else_are_refused(
    model: Path, images: list[str], shards: list[Path], tmp_path: Path, name: str, named: str
) -> None:
    """A shard of another model, of other inputs, or written with other choices is named, and how it differs."""
    other = random_model(CLASSES, seed=8).write(tmp_path / "other.onnx") if name == "model" else model
    tables = {
        "format": Table(format="jsonl"),
        "top": Table(top=1),
        "min-confidence": Table(min_confidence=0.9),
    }
    shards[2].unlink()
    sidecar_of(shards[2]).unlink()
    predict(
        other,
        images[:2] if name == "images" else images,
        out=shards[2],
        table=tables.get(name),
        shard=Shard(3, 4 if name == "count" else 3),
    )
    assert refused(shards, tmp_path / "out.csv").found == f"{shards[0]} and {shards[2]} differ in {named}"


def test_nothing_to_merge_is_told(tmp_path: Path) -> None:
    """No tables, no table."""
    assert refused([], tmp_path / "out.csv").found == "no tables"


def test_tables_place_is_not_taken(shards: list[Path], tmp_path: Path) -> None:
    """Neither a folder nor any file that is there is written over, be it one of the tables or a link to one."""
    before = shards[0].read_bytes()
    (tmp_path / "link.csv").symlink_to(shards[0])
    assert refused(shards, tmp_path).found.endswith("is a folder")
    for out in (shards[0], tmp_path / "link.csv"):
        with pytest.raises(RunError) as caught:
            merge(shards, out=out)
        assert caught.value.found == f"{out} exists already"
    assert shards[0].read_bytes() == before


def test_run_without_shards_cannot_be_merged(
    shards: list[Path], model: Path, images: list[str], tmp_path: Path
) -> None:
    """A table that stands in a shard's place is no shard, whatever the file beside it says."""
    shards[1].unlink()
    predict(model, images, out=shards[1])
    assert "is not the table that was written" in refused(shards, tmp_path / "out.csv").found


@pytest.mark.parametrize(("words", "code"), [([], 3), (["--max-unreadable", "12%"], 0)])
def test_merge_ends_as_the_run_would(
    shards: list[Path], cli: Command, tmp_path: Path, words: list[str], code: int
) -> None:
    """With the share of unreadable inputs among all: 8 of 68 are too many, unless that is allowed."""
    ended = cli("merge", *shards, "--out", tmp_path / "out.csv", *words)
    assert ended.code == code
    assert "8 of 68 images unreadable" in ended.err
    assert f"68 rows in {tmp_path / 'out.csv'}" in ended.err


def test_sidecar_that_lies_about_its_shard_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """A shard's number outside its count is damage."""
    facts = json.loads(sidecar_of(shards[0]).read_text())
    sidecar_of(shards[0]).write_text(json.dumps(facts | {"shard": {"number": 9, "count": 3}}))
    assert "cannot be read" in refused(shards, tmp_path / "out.csv").found
