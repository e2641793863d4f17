"""prediction/tables.py: rows as CSV, JSON lines and the reference's CSV; and parts that join to the same bytes."""

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
from convscope.prediction.inference import Answer
from convscope.prediction.rows import Format, Table
from convscope.prediction.tables import open_writer, text_writer

CLASSES = ("cat", "path", 'a, "b"\r', "狗")
FORMATS: tuple[Format, ...] = ("csv", "jsonl", "parquet", "reference")
TEXTS: tuple[Format, ...] = ("csv", "jsonl", "reference")


def some_answers(count: int, classes: tuple[str, ...] = CLASSES) -> list[Answer]:
    """Answers that all differ, every fifth of them of an unreadable file."""
    values = np.random.default_rng(0).dirichlet(np.ones(len(classes)), count).astype(np.float32)
    return [
        Answer(f"photos/{number:05}.jpg", "" if number % 5 else "truncated", values[number] if number % 5 else None)
        for number in range(count)
    ]


def rows_of_csv(data: bytes) -> list[list[str]]:
    """The cells of a CSV file, its header among them."""
    return list(csv.reader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")))


def test_csv() -> None:
    """The columns in their order; six digits; empty cells where nothing can be said."""
    answers = [
        Answer("a.jpg", "", np.array([0.125, 0.5, 0.25, 0.125], np.float32)),
        Answer("b.jpg", "truncated", None),
        Answer("c.jpg", "", np.array([1 / 3, 0.2, 0.2, 0.8 / 3], np.float32)),
    ]
    table = Table(top=2, min_confidence=0.4)
    header, *rows = rows_of_csv(open_writer(table, CLASSES).encode(answers))
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
    """One object a line, with null where nothing can be said, a list of ranks, and each probability under its class."""
    answers = [
        Answer("a.jpg", "", np.array([0.125, 0.5, 0.25, 0.125], np.float32)),
        Answer("b.jpg", "truncated", None),
    ]
    lines = open_writer(Table(format="jsonl", top=1), CLASSES).encode(answers).decode().splitlines()
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
    plain = json.loads(open_writer(Table(format="jsonl"), CLASSES).encode(answers[:1]))
    assert list(plain) == ["path", "label", "confidence", "status", "error", "probabilities"]


NEAR = (Neighbour(7, "cat/a,\udcff.png", "cat", 0.98765432), Neighbour(2, "狗/b\r.png", "狗", 0.5))


def test_neighbours_in_csv() -> None:
    """Behind the ranks and before the classes, two cells each, empty where a file could not be read."""
    answers = [
        Answer("a.jpg", "", np.array([0.125, 0.5, 0.25, 0.125], np.float32), NEAR),
        Answer("b.jpg", "truncated", None),
    ]
    header, *rows = rows_of_csv(open_writer(Table(top=1, neighbours=2), CLASSES).encode(answers))
    near = ["neighbour1", "similarity1", "neighbour2", "similarity2"]
    assert header[5:] == ["label1", "confidence1", *near, "cat", "class:path", 'a, "b"\r', "狗"]
    cells = ["cat/a,\udcff.png", "0.987654", "狗/b\r.png", "0.5"]
    assert rows[0] == ["a.jpg", "path", "0.5", "ok", "", "path", "0.5", *cells, "0.125", "0.5", "0.25", "0.125"]
    assert rows[1] == ["b.jpg", "", "", "unreadable", "truncated", *[""] * 10]


def test_carriage_return_in_a_neighbours_path_is_quoted() -> None:
    """Or older readers, Python's among them, would take it for the end of a line."""
    answers = [Answer("a.jpg", "", np.array([0.5, 0.5], np.float32), NEAR[1:])]
    data = open_writer(Table(neighbours=1), ("cat", "狗")).encode(answers)
    assert data.decode().splitlines(keepends=True)[1:] == [
        '"a.jpg","cat","0.5","ok","","狗/b\r',
        '.png","0.5","0.5","0.5"\n',
    ]


def test_neighbours_in_json_lines() -> None:
    """A list of objects, empty where a file could not be read; without the choice there is none."""
    answers = [Answer("a.jpg", "", np.array([0.5, 0.5], np.float32), NEAR), Answer("b.jpg", "truncated", None)]
    lines = open_writer(Table(format="jsonl", neighbours=2), ("cat", "狗")).encode(answers).splitlines()
    first, second = map(json.loads, lines)
    assert list(first) == ["path", "label", "confidence", "status", "error", "neighbours", "probabilities"]
    assert first["neighbours"] == [
        {"path": "cat/a,\udcff.png", "label": "cat", "similarity": 0.987654},
        {"path": "狗/b\r.png", "label": "狗", "similarity": 0.5},
    ]
    assert second["neighbours"] == []
    assert b"neighbours" not in open_writer(Table(format="jsonl"), ("cat", "狗")).encode(answers)


def test_reference() -> None:
    """A column for each class, and the file's name without folder and suffix as `id`."""
    answers = [Answer("a/b.c.jpg", "", np.array([0.25, 0.75], np.float32)), Answer("no.such.jpg", "no such file", None)]
    rows = rows_of_csv(open_writer(Table(format="reference"), ("id", "path")).encode(answers))
    assert rows == [["class:id", "path", "id"], ["0.25", "0.75", "b.c"], ["", "", "no.such"]]


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_names_read_back_byte_for_byte(name: str) -> None:
    """From CSV and from JSON lines a path comes back as it was, one row for one file."""
    answers = [Answer(f"folder/{name}", "", np.full(4, 0.25, np.float32))] * 2
    _, *rows = rows_of_csv(open_writer(Table(), CLASSES).encode(answers))
    assert [os.fsencode(row[0]) for row in rows] == [os.fsencode(f"folder/{name}")] * 2
    lines = open_writer(Table(format="jsonl"), CLASSES).encode(answers).split(b"\n")
    assert [os.fsencode(json.loads(line)["path"]) for line in lines[:-1]] == [os.fsencode(f"folder/{name}")] * 2
    assert [row[2:4] for row in rows] == [["0.25", "ok"]] * 2


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("cuts", [(0, 1, 40), (0, 0, 13, 13, 40, 40), (0, 40)])
def test_parts_join_to_the_table_of_the_whole(tmp_path: Path, format: Format, cuts: tuple[int, ...]) -> None:
    """However the rows were cut, empty parts among them, the bytes are those of the table written at once."""
    pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    writer = open_writer(Table(format=format), CLASSES)
    answers = some_answers(40)
    parts = [tmp_path / str(place) for place in range(len(cuts) - 1)]
    for part, first, last in zip(parts, cuts, cuts[1:], strict=False):
        part.write_bytes(writer.encode(answers[first:last]))
    file = io.BytesIO()
    writer.join(file, parts)
    assert file.getvalue() == writer.encode(answers)


@pytest.mark.parametrize("format", TEXTS)
def test_lines_are_the_table(format: Format) -> None:
    """What goes to standard output line by line is the table."""
    writer = text_writer(Table(format=format), CLASSES)
    answers = some_answers(10)
    assert writer.encode(answers) == (writer.header + "".join(map(writer.line, answers))).encode()


@pytest.mark.parametrize("format", TEXTS[:2])
def test_too_many_ranks_are_refused(format: Format) -> None:
    """Before anything is predicted."""
    with pytest.raises(RecipeError, match="--top 9"):
        open_writer(Table(format=format, top=9), CLASSES)
