"""Tables of predictions as files: CSV, JSON lines, Parquet, or the reference system's CSV.

The bytes of a table depend on its rows alone, never on the parts in which they came: joining the tables of the parts
gives the table of the whole.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from convscope.files import NOT_UTF_8
from convscope.prediction.inference import Answer
from convscope.prediction.rows import Row, Table, check_top, class_columns, make_row, text_columns

COPIED_BYTES = 1 << 20  # at once


class Writer(Protocol):
    """Writes tables of one format."""

    def encode(self, answers: Sequence[Answer]) -> bytes:
        """A whole table with a row for each answer."""

    def join(self, file: IO[bytes], tables: Iterable[Path]) -> None:
        """Write one table with the rows of many, in order; memory stays flat."""


@dataclass(frozen=True, slots=True)
class TextWriter:
    """Writes tables that are text: `header`, and then for each answer what `line` makes of it."""

    header: str
    line: Callable[[Answer], str]

    def encode(self, answers: Sequence[Answer]) -> bytes:
        """A whole table with a row for each answer."""
        return _to_bytes(self.header + "".join(map(self.line, answers)))

    def join(self, file: IO[bytes], tables: Iterable[Path]) -> None:
        """Write one table with the rows of many, in order; memory stays flat."""
        header = _to_bytes(self.header)
        file.write(header)
        for path in tables:
            with path.open("rb") as table:
                table.seek(len(header))
                shutil.copyfileobj(table, file, COPIED_BYTES)


def open_writer(table: Table, classes: Sequence[str]) -> Writer:
    """What writes tables of a model with these classes.

    Raises:
        RecipeError: there are fewer classes than are to be ranked.
        ModuleNotFoundError: pyarrow, which Parquet needs, is not installed.
    """
    check_top(table, classes)
    if table.format == "parquet":
        from convscope.prediction.parquet import ParquetWriter

        return ParquetWriter(table, classes)
    return text_writer(table, classes)


def text_writer(table: Table, classes: Sequence[str]) -> TextWriter:
    """What writes lines of text, in any format but Parquet."""
    check_top(table, classes)
    if table.format == "jsonl":
        return TextWriter("", lambda answer: _json_line(make_row(answer, classes, table), classes, table))
    has_returns = any("\r" in name for name in classes)

    def line(cells: Sequence[str], *paths: str) -> str:
        # Python before 3.13 writes a carriage return without quotes, and then takes it for the end of a line
        return _csv_line(cells, quoted=has_returns or any("\r" in path for path in paths))

    if table.format == "reference":
        header = [*class_columns(classes, table), "id"]
        return TextWriter(line(header), lambda answer: line(_reference_cells(answer, classes), answer.path))
    header = [*text_columns(table), *class_columns(classes, table)]

    def answer_line(answer: Answer) -> str:
        row = make_row(answer, classes, table)
        return line(_csv_cells(row, classes, table), answer.path, *(each.path for each in row.neighbours))

    return TextWriter(line(header), answer_line)


def _csv_line(cells: Sequence[str], *, quoted: bool) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL).writerow(cells)
    return text.getvalue()


def _csv_cells(row: Row, classes: Sequence[str], table: Table) -> list[str]:
    ranks = [cell for label, confidence in row.ranks for cell in (label, _digits(confidence))] or [""] * 2 * table.top
    near = [cell for each in row.neighbours for cell in (each.path, _digits(each.similarity))]
    near = near or [""] * 2 * table.neighbours
    confidence = "" if row.confidence is None else _digits(row.confidence)
    answer, scores = row.answer, _scores(row.answer, classes)
    return [answer.path, row.label or "", confidence, row.status, answer.reason, *ranks, *near, *scores]


def _reference_cells(answer: Answer, classes: Sequence[str]) -> list[str]:
    return [*_scores(answer, classes), Path(answer.path).stem]


def _scores(answer: Answer, classes: Sequence[str]) -> list[str]:
    values = answer.probabilities
    return [""] * len(classes) if values is None else [_digits(value) for value in values.tolist()]


def _json_line(row: Row, classes: Sequence[str], table: Table) -> str:
    values = row.answer.probabilities
    facts: dict[str, Any] = {
        "path": row.answer.path,
        "label": row.label,
        "confidence": None if row.confidence is None else _short(row.confidence),
        "status": row.status,
        "error": row.answer.reason or None,
    }
    if table.top:
        facts["top"] = [{"label": label, "confidence": _short(confidence)} for label, confidence in row.ranks]
    if table.neighbours:
        facts["neighbours"] = [
            {"path": each.path, "label": each.label, "similarity": _short(each.similarity)} for each in row.neighbours
        ]
    facts["probabilities"] = None if values is None else dict(zip(classes, map(_short, values.tolist()), strict=True))
    text = json.dumps(facts, ensure_ascii=False) + "\n"
    return text.encode("utf-8", NOT_UTF_8).decode("utf-8")


def _digits(number: float) -> str:
    """Six digits: what float32 holds for certain."""
    return f"{number:.6g}"


def _short(number: float) -> float:
    return float(_digits(number))


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
