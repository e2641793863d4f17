"""Tables of predictions as Parquet files, through pyarrow, which comes with the extra `parquet`.

Text is UTF-8; a byte of a path that is not becomes `\\xff`. Probabilities are float32, as the model gives them.
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
from convscope.prediction.inference import Answer
from convscope.prediction.rows import Row, Table, class_columns, make_row, text_columns

GROUP_ROWS = 65_536  # whoever reads the file holds one group of rows in memory
GROUP_VALUES = 16_000_000  # with many classes fewer rows: 64 MB of probabilities


class ParquetWriter:
    """Writes tables of a model with the given classes."""

    def __init__(self, table: Table, classes: Sequence[str]) -> None:
        self.table, self.classes = table, tuple(classes)
        self.group_rows = max(1, min(GROUP_ROWS, GROUP_VALUES // len(self.classes)))
        names = (*text_columns(table), *class_columns(classes, table))
        texts = [
            pyarrow.float32() if name.startswith(("confidence", "similarity")) else pyarrow.string()
            for name in text_columns(table)
        ]
        kinds = [*texts, *[pyarrow.float32()] * len(self.classes)]
        self.schema = pyarrow.schema(list(zip(names, kinds, strict=True)))

    def encode(self, answers: Sequence[Answer]) -> bytes:
        """A whole table with a row for each answer."""
        rows = [_cells(make_row(answer, self.classes, self.table), self.table) for answer in answers]
        absent = np.array([answer.probabilities is None for answer in answers], bool)
        values = np.zeros((len(answers), len(self.classes)), np.float32)
        for place, answer in enumerate(answers):
            if answer.probabilities is not None:
                values[place] = answer.probabilities
        num_texts = len(text_columns(self.table))
        columns = [pyarrow.array([row[place] for row in rows], self.schema.types[place]) for place in range(num_texts)]
        columns += [pyarrow.array(column, mask=absent) for column in np.ascontiguousarray(values.T)]  # (classes, n)
        file = io.BytesIO()
        self._write(file, [pyarrow.table(columns, schema=self.schema)])
        return file.getvalue()

    def join(self, file: IO[bytes], tables: Iterable[Path]) -> None:
        """Write one table with the rows of many, in order; a group of rows is in memory."""
        self._write(file, _read_groups(tables))

    def _write(self, file: IO[bytes], tables: Iterable[pyarrow.Table]) -> None:
        """Write rows in groups of one size, each in one piece: where they are cut decides the bytes."""
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
    """What stands before the classes' columns."""
    ranks = [cell for rank in row.ranks for cell in rank] or [None] * 2 * table.top
    near = [cell for each in row.neighbours for cell in (_text(each.path), each.similarity)]
    others = [*ranks, *(near or [None] * 2 * table.neighbours)]
    return [_text(row.answer.path), row.label, row.confidence, row.status, row.answer.reason or None, *others]


def _text(path: str) -> str:
    return os.fsencode(path).decode("utf-8", NOT_UTF_8)
