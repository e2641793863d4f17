"""The confusion matrix as text for a terminal: a table of up to 12 classes, else a list of the largest confusions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from convscope.formatting import num_columns, plural, shorten

if TYPE_CHECKING:
    from numpy.typing import NDArray

TERMINAL_COLUMNS = 100
NAME_COLUMNS = 24
MIN_NAME_COLUMNS = 4
MAX_TABLE_CLASSES = 12
MAX_LISTED_CONFUSIONS = 20


def format_confusion(confusion: NDArray[np.int64], classes: Sequence[str]) -> str:
    """The confusion matrix as text for a terminal of 100 columns.

    Up to 12 classes are a table, rows true, columns predicted. Of more, or where the counts are too wide for a table,
    the largest confusions are listed.

    Args:
        confusion: (classes, classes), rows true, columns predicted.
        classes: the names of the classes; long ones are shortened, East Asian ones take two columns a letter.
    """
    names = [shorten(name, NAME_COLUMNS) for name in classes]
    table = _format_table(confusion, names) if len(names) <= MAX_TABLE_CLASSES else ""
    return table or _list_confusions(confusion, names)


def _format_table(confusion: NDArray[np.int64], names: Sequence[str]) -> str:
    """The matrix as a table; "" where it is too wide for the terminal even with the names cut short."""
    counts = [[f"{count:,}" for count in row] for row in confusion.tolist()]
    margin = max(map(num_columns, [*names, "true"]))
    widths = _column_widths(names, counts, available=TERMINAL_COLUMNS - margin)
    if not widths:
        return ""
    header = [shorten(name, width) for name, width in zip(names, widths, strict=True)]
    lines = [" " * (margin + 2) + "predicted"]
    for name, row in zip(["true", *names], [header, *counts], strict=True):
        padded = (" " * (width - num_columns(cell)) + cell for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([name + " " * (margin - num_columns(name)), *padded]))
    return "\n".join(lines)


def _column_widths(names: Sequence[str], counts: Sequence[Sequence[str]], *, available: int) -> list[int]:
    """The widths of a table's columns, names cut no further than they must be; empty where they do not fit."""
    count_widths = [max(map(len, column)) for column in zip(*counts, strict=True)]
    for limit in range(NAME_COLUMNS, MIN_NAME_COLUMNS - 1, -1):
        widths = [max(min(num_columns(name), limit), least) for name, least in zip(names, count_widths, strict=True)]
        if sum(widths) + 2 * len(widths) <= available:
            return widths
    return []


def _list_confusions(confusion: NDArray[np.int64], names: Sequence[str]) -> str:
    """The largest confusions, one a line, the largest first; equal ones in the order of the matrix."""
    errors = confusion - np.diag(confusion.diagonal())
    largest = np.argsort(-errors, axis=None, kind="stable")[:MAX_LISTED_CONFUSIONS].tolist()
    pairs = [divmod(cell, len(names)) for cell in largest if errors.flat[cell]]
    lines = [f"{names[true]} predicted as {names[predicted]}: {errors[true, predicted]:,}" for true, predicted in pairs]
    num_left = int(np.count_nonzero(errors)) - len(lines)
    if num_left:
        lines.append(f"and {plural(num_left, 'rarer confusion')}")
    return "\n".join(lines or ["no confusions"])
