"""Writers of tables of predictions: CSV, JSON lines, Parquet, or the reference system's CSV.

The bytes of a table depend on its rows alone, not on the parts in which they were written: joining the parts gives the
table that one call of `encode` gives.
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

from convscope.errors import MissingExtra
from convscope.files import NOT_UTF_8
from convscope.prediction.inference import Prediction
from convscope.prediction.rows import Row, Table, check_top, class_columns, make_row, text_columns

COPY_BYTES = 1 << 20


class Writer(Protocol):
    """Writes tables of one format."""

    def encode(self, predictions: Sequence[Prediction]) -> bytes:
        """A complete table with one row for each prediction."""

    def join(self, file: IO[bytes], tables: Iterable[Path]) -> None:
        """Write one table with the rows of many tables, in order; memory stays flat."""


@dataclass(frozen=True, slots=True)
class TextWriter:
    """Writes tables that are text.

    Attributes:
        header: the first line; "" if the format has none.
        line: the line of a prediction.
    """

    header: str
    line: Callable[[Prediction], str]

    def encode(self, predictions: Sequence[Prediction]) -> bytes:
        """A complete table with one row for each prediction."""
        return _to_bytes(self.header + "".join(map(self.line, predictions)))

    def join(self, file: IO[bytes], tables: Iterable[Path]) -> None:
        """Write one table with the rows of many tables, in order; memory stays flat."""
        header = _to_bytes(self.header)
        file.write(header)
        for path in tables:
            with path.open("rb") as table:
                table.seek(len(header))
                shutil.copyfileobj(table, file, COPY_BYTES)


def open_writer(table: Table, classes: Sequence[str]) -> Writer:
    """The writer of a table for a model with these classes.

    Raises:
        RecipeError: each row ranks more classes than there are.
        MissingExtra: pyarrow, which Parquet needs, is not installed.
    """
    if table.format != "parquet":
        return text_writer(table, classes)
    check_top(table, classes)
    try:
        from convscope.prediction.parquet import ParquetWriter
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyarrow":
            raise
        raise MissingExtra(command="`format='parquet'`", module=error.name, extra="parquet") from None
    return ParquetWriter(table, classes)


def text_writer(table: Table, classes: Sequence[str]) -> TextWriter:
    """The writer of a table in any format but Parquet.

    Raises:
        RecipeError: each row ranks more classes than there are.
    """
    check_top(table, classes)
    if table.format == "jsonl":
        return TextWriter("", lambda prediction: _json_line(make_row(prediction, classes, table), classes, table))
    has_carriage_return = any("\r" in name for name in classes)

    def csv_line(cells: Sequence[str], *paths: str) -> str:
        # Python before 3.13 writes a carriage return without quotes, and then reads it as the end of a line
        return _csv_line(cells, quote_all=has_carriage_return or any("\r" in path for path in paths))

    if table.format == "reference":
        header = [*class_columns(classes, table), "id"]
        return TextWriter(
            csv_line(header),
            lambda prediction: csv_line(_reference_cells(prediction, classes), prediction.path),
        )
    header = [*text_columns(table), *class_columns(classes, table)]

    def row_line(prediction: Prediction) -> str:
        row = make_row(prediction, classes, table)
        neighbour_paths = (neighbour.path for neighbour in row.neighbours)
        return csv_line(_csv_cells(row, classes, table), prediction.path, *neighbour_paths)

    return TextWriter(csv_line(header), row_line)


def _csv_line(cells: Sequence[str], *, quote_all: bool) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL).writerow(cells)
    return text.getvalue()


def _csv_cells(row: Row, classes: Sequence[str], table: Table) -> list[str]:
    ranks = [cell for label, confidence in row.ranks for cell in (label, _digits(confidence))]
    neighbours = [cell for item in row.neighbours for cell in (item.path, _digits(item.similarity))]
    return [
        row.prediction.path,
        row.label or "",
        "" if row.confidence is None else _digits(row.confidence),
        row.status,
        row.prediction.reason,
        *(ranks or [""] * 2 * table.top),
        *(neighbours or [""] * 2 * table.neighbours),
        *_probability_cells(row.prediction, classes),
    ]


def _reference_cells(prediction: Prediction, classes: Sequence[str]) -> list[str]:
    return [*_probability_cells(prediction, classes), Path(prediction.path).stem]


def _probability_cells(prediction: Prediction, classes: Sequence[str]) -> list[str]:
    if prediction.probabilities is None:
        return [""] * len(classes)
    return [_digits(probability) for probability in prediction.probabilities.tolist()]


def _json_line(row: Row, classes: Sequence[str], table: Table) -> str:
    probabilities = row.prediction.probabilities
    facts: dict[str, Any] = {
        "path": row.prediction.path,
        "label": row.label,
        "confidence": None if row.confidence is None else _rounded(row.confidence),
        "status": row.status,
        "error": row.prediction.reason or None,
    }
    if table.top:
        facts["top"] = [{"label": label, "confidence": _rounded(confidence)} for label, confidence in row.ranks]
    if table.neighbours:
        facts["neighbours"] = [
            {"path": item.path, "label": item.label, "similarity": _rounded(item.similarity)} for item in row.neighbours
        ]
    facts["probabilities"] = (
        None if probabilities is None else dict(zip(classes, map(_rounded, probabilities.tolist()), strict=True))
    )
    text = json.dumps(facts, ensure_ascii=False) + "\n"
    return text.encode("utf-8", NOT_UTF_8).decode("utf-8")


def _digits(number: float) -> str:
    """Six significant digits: as many as float32 always holds."""
    return f"{number:.6g}"


def _rounded(number: float) -> float:
    return float(_digits(number))


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
