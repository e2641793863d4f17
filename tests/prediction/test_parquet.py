"""prediction/parquet.py: the same rows with types, and bytes that depend on the rows alone."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest

pyarrow = pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
from pyarrow import parquet  # noqa: E402

from convscope.bundle.neighbours import Neighbour  # noqa: E402
from convscope.prediction import parquet as parquet_module  # noqa: E402
from convscope.prediction.inference import Prediction  # noqa: E402
from convscope.prediction.parquet import ParquetWriter  # noqa: E402
from convscope.prediction.rows import Table  # noqa: E402

CLASSES = ("cat", "path")


def test_columns_have_types() -> None:
    """Strings, float32 numbers as the model gave them, and null for an unreadable file."""
    probabilities = np.array([0.3, 0.7], np.float32)
    predictions = [Prediction("a\n.jpg", "", probabilities), Prediction("b.jpg", "truncated", None)]
    table = parquet.read_table(io.BytesIO(ParquetWriter(Table(top=1), CLASSES).encode(predictions)))
    texts = ("path", "label", "status", "error", "label1")
    assert {field.name: str(field.type) for field in table.schema} == {
        **dict.fromkeys(texts, "string"),
        **dict.fromkeys(("confidence", "confidence1", "cat", "class:path"), "float"),
    }
    first, second = table.to_pylist()
    assert first == {
        "path": "a\n.jpg",
        "label": "path",
        "confidence": float(probabilities[1]),
        "status": "ok",
        "error": None,
        "label1": "path",
        "confidence1": float(probabilities[1]),
        "cat": float(probabilities[0]),
        "class:path": float(probabilities[1]),
    }
    assert second == dict.fromkeys(second) | {"path": "b.jpg", "status": "unreadable", "error": "truncated"}


def test_neighbours_are_paths_and_numbers() -> None:
    """The columns of CSV, float32 for the similarity; null for an unreadable file."""
    neighbours = (Neighbour(7, "cat/\udcff.png", "cat", 0.98765432), Neighbour(2, "b.png", "path", 0.5))
    probabilities = np.array([0.3, 0.7], np.float32)
    predictions = [Prediction("a.jpg", "", probabilities, neighbours), Prediction("b.jpg", "truncated", None)]
    table = parquet.read_table(io.BytesIO(ParquetWriter(Table(top=1, neighbours=2), CLASSES).encode(predictions)))
    names = ["neighbour1", "similarity1", "neighbour2", "similarity2"]
    assert table.schema.names[5:] == ["label1", "confidence1", *names, "cat", "class:path"]
    assert [str(table.schema.field(name).type) for name in names] == ["string", "float", "string", "float"]
    first, second = table.select(names).to_pylist()
    assert list(first.values()) == ["cat/\\xff.png", pytest.approx(0.98765432), "b.png", 0.5]
    assert list(second.values()) == [None] * 4


def test_names_that_are_not_utf_8_are_escaped() -> None:
    """Parquet's strings are UTF-8: other bytes of a name are written as `\\xff`."""
    data = ParquetWriter(Table(), CLASSES).encode([Prediction("\udcff照.jpg", "no such file", None)])
    assert parquet.read_table(io.BytesIO(data))["path"].to_pylist() == ["\\xff照.jpg"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_bytes_do_not_depend_on_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Over many row groups, divided anywhere and joined in two stages, the file is the same."""
    monkeypatch.setattr(parquet_module, "GROUP_ROWS", 100)
    writer = ParquetWriter(Table(top=2), CLASSES)
    probabilities = np.random.default_rng(seed).dirichlet((1, 1), 1050).astype(np.float32)
    predictions = [
        Prediction(f"photos/{number}.jpg", "" if number % 7 else "empty file", row if number % 7 else None)
        for number, row in enumerate(probabilities)
    ]
    cuts = [0, *sorted(random.Random(seed).sample(range(1050), 12)), 1050]
    parts = [tmp_path / str(index) for index in range(len(cuts) - 1)]
    for part, first, last in zip(parts, cuts, cuts[1:], strict=False):
        part.write_bytes(writer.encode(predictions[first:last]))
    for name, tables in (("left", parts[:5]), ("right", parts[5:])):
        with (tmp_path / name).open("wb") as file:
            writer.join(file, tables)
    file = io.BytesIO()
    writer.join(file, [tmp_path / "left", tmp_path / "right"])
    assert file.getvalue() == writer.encode(predictions)
    assert parquet.ParquetFile(file).num_row_groups == 11


def test_row_groups_are_smaller_with_many_classes() -> None:
    """A reader holds one row group in memory: with 1,000 classes it has 16,000 rows."""
    assert ParquetWriter(Table(), ("a", "b")).group_rows == 65_536
    assert ParquetWriter(Table(), tuple(map(str, range(1000)))).group_rows == 16_000
