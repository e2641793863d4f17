"""prediction/merging.py: joins all shards of one table, each once and unchanged; any other input is an error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from prediction_tables import CLASSES, SQUARE
from processes import Command
from tiny_model import random_model

from convscope.errors import RunError
from convscope.prediction.merging import merge
from convscope.prediction.prediction import predict
from convscope.prediction.provenance import Shard
from convscope.prediction.rows import Format, Table
from convscope.prediction.shards import sidecar_of

NUM_SHARDS = 3


@pytest.fixture(scope="module")
def images(photos: Path, unreadable: Path) -> list[str]:
    """68 inputs, 8 of them unreadable."""
    return [str(photos / "disc"), str(unreadable), str(photos / "bar"), str(photos / "ring")]


@pytest.fixture(scope="module")
def original_shards(model_file: Path, images: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three shards in CSV. Only to be read."""
    folder = tmp_path_factory.mktemp("shards")
    for number in range(1, NUM_SHARDS + 1):
        predict(model_file, images, out=folder / f"{number}.csv", shard=Shard(number, NUM_SHARDS))
    return folder


@pytest.fixture
def shards(original_shards: Path, tmp_path: Path) -> list[Path]:
    """Copies of the three shards, which the test may change."""
    shutil.copytree(original_shards, tmp_path / "shards")
    return [tmp_path / "shards" / f"{number}.csv" for number in range(1, NUM_SHARDS + 1)]


@pytest.mark.slow
@pytest.mark.parametrize(("format", "count"), [("csv", 1), ("csv", 70), ("jsonl", 4), ("parquet", 4), ("reference", 4)])
@pytest.mark.parametrize("mirror", [False, True])
def test_merged_shards_are_the_table_of_a_run_without_shards(
    model_file: Path, images: list[str], tmp_path: Path, format: Format, count: int, mirror: bool
) -> None:
    """Byte for byte, from any number of shards, some of them without an input, given in any order."""
    pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    table = Table(format=format, top=0 if format == "reference" else 2, mirror=mirror)
    unsharded = predict(model_file, images, out=tmp_path / "unsharded", table=table)
    paths = [tmp_path / f"part{number}" for number in range(1, count + 1)]
    for number, path in enumerate(paths, 1):
        predict(model_file, images, out=path, table=table, shard=Shard(number, count))
    merged = merge(reversed(paths), out=tmp_path / "merged")
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "unsharded").read_bytes()
    assert (merged.count, merged.unreadable) == (unsharded.count, unsharded.unreadable) == (68, 8)


@pytest.mark.slow
@pytest.mark.parametrize(("format", "count"), [("csv", 5), ("jsonl", 70), ("parquet", 3)])
def test_merged_shards_have_the_neighbours_of_a_run_without_shards(
    model_with_neighbours: Path, images: list[str], tmp_path: Path, format: Format, count: int
) -> None:
    """Byte for byte, for any number of shards; merging needs neither the model nor its training images."""
    pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    table = Table(format=format, top=1, neighbours=3)
    predict(model_with_neighbours, images, out=tmp_path / "unsharded", table=table)
    paths = [tmp_path / f"part{number}" for number in range(1, count + 1)]
    for number, path in enumerate(paths, 1):
        predict(model_with_neighbours, images, out=path, table=table, shard=Shard(number, count))
    merge(paths, out=tmp_path / "merged")
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "unsharded").read_bytes()


def merge_error(tables: list[Path], out: Path) -> RunError:
    """The error that merging raises; no table is written."""
    with pytest.raises(RunError) as caught:
        merge(tables, out=out)
    assert not out.is_file() or out in tables
    return caught.value


def test_missing_shards_are_named(shards: list[Path], tmp_path: Path) -> None:
    """With the number of shards."""
    assert merge_error(shards[1:2], tmp_path / "out.csv").found == "1 of 3 shards; missing: 1/3, 3/3"


def test_many_missing_shards_are_counted(model_file: Path, images: list[str], tmp_path: Path) -> None:
    """Ten are named, the others counted."""
    predict(model_file, images, out=tmp_path / "a.csv", shard=Shard(1, 500))
    assert merge_error([tmp_path / "a.csv"], tmp_path / "out.csv").found.endswith("10/500, 11/500 and 489 more")


def test_repeated_shard_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """Both files are named."""
    shutil.copy(shards[1], tmp_path / "copy.csv")
    shutil.copy(sidecar_of(shards[1]), tmp_path / "copy.csv.json")
    error = merge_error([*shards, tmp_path / "copy.csv"], tmp_path / "out.csv")
    assert error.found == f"shard 2/3 twice: {shards[1]} and {tmp_path / 'copy.csv'}"


@pytest.mark.parametrize("change", [b"", b"x", None])
def test_changed_table_is_refused(shards: list[Path], tmp_path: Path, change: bytes | None) -> None:
    """Shorter, longer, or with another byte."""
    data = shards[2].read_bytes()
    shards[2].write_bytes(data[:-1] + b"9\n" if change is None else data + change if change else data[:-20])
    assert merge_error(shards, tmp_path / "out.csv").found == f"{shards[2]} has changed since it was written"


def test_table_without_sidecar_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """As when only the tables were copied."""
    sidecar_of(shards[0]).unlink()
    assert merge_error(shards, tmp_path / "out.csv").found == f"no {sidecar_of(shards[0])}"


def test_missing_table_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """As when only the sidecars were copied."""
    shards[0].unlink()
    assert merge_error(shards, tmp_path / "out.csv").found.startswith(f"{shards[0]} cannot be read: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("model", "the model"),
        ("images", "the images (68, not 28)"),
        ("format", "`format` (csv, not jsonl)"),
        ("top", "`top` (0, not 1)"),
        ("min_confidence", "`min_confidence` (0.0, not 0.9)"),
        ("count", "the number of shards (3, not 4)"),
    ],
)
def test_shard_of_another_table_is_refused(
    model_file: Path, images: list[str], shards: list[Path], tmp_path: Path, change: str, named: str
) -> None:
    """A shard of another model, of other inputs, or written with other choices is named, and how it differs."""
    other_model = random_model(CLASSES, SQUARE, seed=8).write(tmp_path / "other.onnx")
    tables = {
        "format": Table(format="jsonl"),
        "top": Table(top=1),
        "min_confidence": Table(min_confidence=0.9),
    }
    shards[2].unlink()
    sidecar_of(shards[2]).unlink()
    predict(
        other_model if change == "model" else model_file,
        images[:2] if change == "images" else images,
        out=shards[2],
        table=tables.get(change),
        shard=Shard(3, 4 if change == "count" else 3),
    )
    assert merge_error(shards, tmp_path / "out.csv").found == f"{shards[0]} and {shards[2]} differ in {named}"


def test_no_tables_are_an_error(tmp_path: Path) -> None:
    """No table is written."""
    assert merge_error([], tmp_path / "out.csv").found == "no tables"


def test_existing_file_is_never_replaced(shards: list[Path], tmp_path: Path) -> None:
    """Neither a folder nor a file is, also if it is one of the tables or a link to one."""
    before = shards[0].read_bytes()
    (tmp_path / "link.csv").symlink_to(shards[0])
    assert merge_error(shards, tmp_path).found.endswith("is a folder")
    for out in (shards[0], tmp_path / "link.csv"):
        with pytest.raises(RunError) as caught:
            merge(shards, out=out)
        assert caught.value.found == f"{out} exists already"
    assert shards[0].read_bytes() == before


def test_out_that_cannot_be_written_is_an_error(shards: list[Path], tmp_path: Path) -> None:
    """Where a file stands in the way of its folder: found, expected, fix."""
    (tmp_path / "file").touch()
    error = merge_error(shards, tmp_path / "file" / "out.csv")
    assert "cannot be written: " in error.found
    assert "`out`" in error.fix


@pytest.mark.slow
def test_run_without_shards_cannot_be_merged(
    shards: list[Path], model_file: Path, images: list[str], tmp_path: Path
) -> None:
    """A table at the path of a shard is not that shard, whatever its sidecar says."""
    shards[1].unlink()
    predict(model_file, images, out=shards[1])
    assert "has changed since it was written" in merge_error(shards, tmp_path / "out.csv").found


@pytest.mark.parametrize(("arguments", "code"), [([], 3), (["--max-unreadable", "12%"], 0)])
def test_merge_ends_as_a_run_without_shards(
    shards: list[Path], cli: Command, tmp_path: Path, arguments: list[str], code: int
) -> None:
    """The exit code depends on the share of unreadable inputs: 8 of 68 are too many, unless allowed."""
    result = cli("merge", *shards, "--out", tmp_path / "out.csv", *arguments)
    assert result.code == code
    assert "8 of 68 images unreadable" in result.err
    assert f"68 rows in {tmp_path / 'out.csv'}" in result.err


def test_sidecar_with_an_impossible_shard_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """A shard's number above the number of shards is damage."""
    facts = json.loads(sidecar_of(shards[0]).read_text())
    sidecar_of(shards[0]).write_text(json.dumps(facts | {"shard": {"number": 9, "count": 3}}))
    assert "cannot be read" in merge_error(shards, tmp_path / "out.csv").found
