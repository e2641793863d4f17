"""Tables of predictions as Parquet files, written by pyarrow, which the extra `parquet` installs.

Text is UTF-8; a byte of a path that is not UTF-8 becomes `\\xff`. Probabilities are float32, as the model gives them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow
from pyarrow import parquet

from convscope.files import NOT_UTF_8
from convscope.prediction.inference import Prediction
from convscope.prediction.rows import Row, Table, class_columns, make_row, text_columns

GROUP_ROWS = 65_536  # a reader holds one row group in memory
GROUP_VALUES = 16_000_000  # with many classes fewer rows: 64 MB of probabilities


class ParquetWriter:
    """Writes tables for a model with the given classes."""

    def __init__(self, table: Table, classes: Sequence[str]) -> None:
        self.table, self.classes = table, tuple(classes)
        self.group_rows = max(1, min(GROUP_ROWS, GROUP_VALUES // len(self.classes)))
        text_types = [
            pyarrow.float32() if name.startswith(("confidence", "similarity")) else pyarrow.string()
            for name in text_columns(table)
        ]
        names = (*text_columns(table), *class_columns(classes, table))
        types = [*text_types, *[pyarrow.float32()] * len(self.classes)]
        self.schema = pyarrow.schema(list(zip(names, types, strict=True)))

    def encode(self, predictions: Sequence[Prediction]) -> bytes:
        """A complete table with one row for each prediction."""
        rows = [_cells(make_row(prediction, self.classes, self.table), self.table) for prediction in predictions]
        is_null = np.array([prediction.probabilities is None for prediction in predictions], bool)
        probabilities = np.zeros((len(predictions), len(self.classes)), np.float32)
        for index, prediction in enumerate(predictions):
            if prediction.probabilities is not None:
                probabilities[index] = prediction.probabilities
        num_texts = len(text_columns(self.table))
        columns = [pyarrow.array([row[index] for row in rows], self.schema.types[index]) for index in range(num_texts)]
        by_class = np.ascontiguousarray(probabilities.T)  # (num_classes, n)
        columns += [pyarrow.array(column, mask=is_null) for column in by_class]
        file = io.BytesIO()
        self._write(file, [pyarrow.table(columns, schema=self.schema)])
        return file.getvalue()

    def join(self, file: IO[bytes], tables: Iterable[Path]) -> None:
        """Write one table with the rows of many tables, in order; one row group is in memory."""
        self._write(file, _read_groups(tables))

    def _write(self, file: IO[bytes], tables: Iterable[pyarrow.Table]) -> None:
        """Write row groups of one size, each as one chunk: the bytes depend on where the rows are divided."""
        with parquet.ParquetWriter(file, self.schema) as writer:
            rest = self.schema.empty_table()
            for table in tables:
                rest = pyarrow.concat_tables([rest, table])
                while rest.num_rows >= self.group_rows:
                    writer.write_table(rest.slice(0, self.group_rows).combine_chunks())
                    rest = rest.slice(self.group_rows)
            if rest.num_rows:
                writer.write_table(rest.combine_chunks())


def _read_groups(tables: Iterable[Path]) -> Iterator[pyarrow.Table]:
    for path in tables:
        with parquet.ParquetFile(path) as table:
            for group in range(table.num_row_groups):
                yield table.read_row_group(group)


def _cells(row: Row, table: Table) -> list[str | float | None]:
    """The cells before those of the classes."""
    ranks = [cell for rank in row.ranks for cell in rank]
    neighbours = [cell for item in row.neighbours for cell in (_text(item.path), item.similarity)]
    return [
        _text(row.prediction.path),
        row.label,
        row.confidence,
        row.status,
        row.prediction.reason or None,
        *(ranks or [None] * 2 * table.top),
        *(neighbours or [None] * 2 * table.neighbours),
    ]


def _text(path: str) -> str:
    return os.fsencode(path).decode("utf-8", NOT_UTF_8)
