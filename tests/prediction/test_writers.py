"""prediction/writers.py: rows as CSV, JSON lines and the reference's CSV; and parts that join to the same bytes."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from sample_images import STRANGE_NAMES

from convscope.bundle.neighbours import Neighbour
from convscope.errors import RecipeError
from convscope.prediction.inference import Prediction
from convscope.prediction.rows import Format, Table
from convscope.prediction.writers import open_writer, text_writer

CLASSES = ("cat", "path", 'a, "b"\r', "狗")
FORMATS: tuple[Format, ...] = ("csv", "jsonl", "parquet", "reference")
TEXTS: tuple[Format, ...] = ("csv", "jsonl", "reference")


def make_predictions(count: int, classes: tuple[str, ...] = CLASSES) -> list[Prediction]:
    """Predictions that all differ, every fifth of them of an unreadable file."""
    probabilities = np.random.default_rng(0).dirichlet(np.ones(len(classes)), count).astype(np.float32)
    return [
        Prediction(
            f"photos/{number:05}.jpg", "" if number % 5 else "truncated", probabilities[number] if number % 5 else None
        )
        for number in range(count)
    ]


def rows_of_csv(data: bytes) -> list[list[str]]:
    """The cells of a CSV file, its header among them."""
    return list(csv.reader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")))


def test_csv() -> None:
    """The columns in their order; six digits; empty cells for an unreadable file."""
    predictions = [
        Prediction("a.jpg", "", np.array([0.125, 0.5, 0.25, 0.125], np.float32)),
        Prediction("b.jpg", "truncated", None),
        Prediction("c.jpg", "", np.array([1 / 3, 0.2, 0.2, 0.8 / 3], np.float32)),
    ]
    table = Table(top=2, min_confidence=0.4)
    header, *rows = rows_of_csv(open_writer(table, CLASSES).encode(predictions))
    ranks = ["label1", "confidence1", "label2", "confidence2"]
    assert header == ["path", "label", "confidence", "status", "error", *ranks, "cat", "class:path", 'a, "b"\r', "狗"]
    assert rows == [
        ["a.jpg", "path", "0.5", "ok", "", "path", "0.5", 'a, "b"\r', "0.25", "0.125", "0.5", "0.25", "0.125"],
        ["b.jpg", "", "", "unreadable", "truncated", *[""] * 8],
        [
            "c.jpg",
            "",
            "0.333333",
            "unsure",
            "",
            "cat",
            "0.333333",
            "狗",
            "0.266667",
            "0.333333",
            "0.2",
            "0.2",
            "0.266667",
        ],
    ]


def test_json_lines() -> None:
    """One object per line, with null for an unreadable file, a list of ranks, and the probability of each class."""
    predictions = [
        Prediction("a.jpg", "", np.array([0.125, 0.5, 0.25, 0.125], np.float32)),
        Prediction("b.jpg", "truncated", None),
    ]
    lines = open_writer(Table(format="jsonl", top=1), CLASSES).encode(predictions).decode().splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "path": "a.jpg",
            "label": "path",
            "confidence": 0.5,
            "status": "ok",
            "error": None,
            "top": [{"label": "path", "confidence": 0.5}],
            "probabilities": {"cat": 0.125, "path": 0.5, 'a, "b"\r': 0.25, "狗": 0.125},
        },
        {
            "path": "b.jpg",
            "label": None,
            "confidence": None,
            "status": "unreadable",
            "error": "truncated",
            "top": [],
            "probabilities": None,
        },
    ]
    plain = json.loads(open_writer(Table(format="jsonl"), CLASSES).encode(predictions[:1]))
    assert list(plain) == ["path", "label", "confidence", "status", "error", "probabilities"]


NEIGHBOURS = (Neighbour(7, "cat/a,\udcff.png", "cat", 0.98765432), Neighbour(2, "狗/b\r.png", "狗", 0.5))


def test_neighbours_in_csv() -> None:
    """After the ranks and before the classes, two cells each, empty for an unreadable file."""
    predictions = [
        Prediction("a.jpg", "", np.array([0.125, 0.5, 0.25, 0.125], np.float32), NEIGHBOURS),
        Prediction("b.jpg", "truncated", None),
    ]
    header, *rows = rows_of_csv(open_writer(Table(top=1, neighbours=2), CLASSES).encode(predictions))
    columns = ["neighbour1", "similarity1", "neighbour2", "similarity2"]
    assert header[5:] == ["label1", "confidence1", *columns, "cat", "class:path", 'a, "b"\r', "狗"]
    cells = ["cat/a,\udcff.png", "0.987654", "狗/b\r.png", "0.5"]
    assert rows[0] == ["a.jpg", "path", "0.5", "ok", "", "path", "0.5", *cells, "0.125", "0.5", "0.25", "0.125"]
    assert rows[1] == ["b.jpg", "", "", "unreadable", "truncated", *[""] * 10]


def test_carriage_return_in_a_neighbours_path_is_quoted() -> None:
    """Older readers, Python's among them, would read it as the end of a line."""
    predictions = [Prediction("a.jpg", "", np.array([0.5, 0.5], np.float32), NEIGHBOURS[1:])]
    data = open_writer(Table(neighbours=1), ("cat", "狗")).encode(predictions)
    assert data.decode().splitlines(keepends=True)[1:] == [
        '"a.jpg","cat","0.5","ok","","狗/b\r',
        '.png","0.5","0.5","0.5"\n',
    ]


def test_neighbours_in_json_lines() -> None:
    """A list of objects, empty for an unreadable file; without the choice there is no list."""
    predictions = [
        Prediction("a.jpg", "", np.array([0.5, 0.5], np.float32), NEIGHBOURS),
        Prediction("b.jpg", "truncated", None),
    ]
    lines = open_writer(Table(format="jsonl", neighbours=2), ("cat", "狗")).encode(predictions).splitlines()
    first, second = map(json.loads, lines)
    assert list(first) == ["path", "label", "confidence", "status", "error", "neighbours", "probabilities"]
    assert first["neighbours"] == [
        {"path": "cat/a,\udcff.png", "label": "cat", "similarity": 0.987654},
        {"path": "狗/b\r.png", "label": "狗", "similarity": 0.5},
    ]
    assert second["neighbours"] == []
    assert b"neighbours" not in open_writer(Table(format="jsonl"), ("cat", "狗")).encode(predictions)


def test_reference() -> None:
    """A column for each class, and the file's name without folder and suffix as `id`."""
    predictions = [
        Prediction("a/b.c.jpg", "", np.array([0.25, 0.75], np.float32)),
        Prediction("no.such.jpg", "no such file", None),
    ]
    rows = rows_of_csv(open_writer(Table(format="reference"), ("id", "path")).encode(predictions))
    assert rows == [["class:id", "path", "id"], ["0.25", "0.75", "b.c"], ["", "", "no.such"]]


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_names_read_back_byte_for_byte(name: str) -> None:
    """From CSV and from JSON lines a path is read as it was written, one row for one file."""
    predictions = [Prediction(f"folder/{name}", "", np.full(4, 0.25, np.float32))] * 2
    _, *rows = rows_of_csv(open_writer(Table(), CLASSES).encode(predictions))
    assert [os.fsencode(row[0]) for row in rows] == [os.fsencode(f"folder/{name}")] * 2
    lines = open_writer(Table(format="jsonl"), CLASSES).encode(predictions).split(b"\n")
    assert [os.fsencode(json.loads(line)["path"]) for line in lines[:-1]] == [os.fsencode(f"folder/{name}")] * 2
    assert [row[2:4] for row in rows] == [["0.25", "ok"]] * 2


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("cuts", [(0, 1, 40), (0, 0, 13, 13, 40, 40), (0, 40)])
def test_parts_join_to_the_table_written_at_once(tmp_path: Path, format: Format, cuts: tuple[int, ...]) -> None:
    """However the rows were divided, empty parts among them, the bytes are the same."""
    pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    writer = open_writer(Table(format=format), CLASSES)
    predictions = make_predictions(40)
    parts = [tmp_path / str(index) for index in range(len(cuts) - 1)]
    for part, first, last in zip(parts, cuts, cuts[1:], strict=False):
        part.write_bytes(writer.encode(predictions[first:last]))
    file = io.BytesIO()
    writer.join(file, parts)
    assert file.getvalue() == writer.encode(predictions)


@pytest.mark.parametrize("format", TEXTS)
def test_lines_are_the_table(format: Format) -> None:
    """The lines that go to standard output one by one are the table."""
    writer = text_writer(Table(format=format), CLASSES)
    predictions = make_predictions(10)
    assert writer.encode(predictions) == (writer.header + "".join(map(writer.line, predictions))).encode()


@pytest.mark.parametrize("format", TEXTS[:2])
def test_too_many_ranks_are_refused(format: Format) -> None:
    """When the writer is opened, before anything is predicted."""
    with pytest.raises(RecipeError, match="`top=9`"):
        open_writer(Table(format=format, top=9), CLASSES)
