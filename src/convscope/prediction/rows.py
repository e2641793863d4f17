"""What a row of a table of predictions says, whatever the table is written as; and the choices that shape it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from convscope.bundle.neighbours import Neighbour
from convscope.errors import RecipeError
from convscope.prediction.inference import Answer

Format = Literal["csv", "jsonl", "parquet", "reference"]
Status = Literal["ok", "unsure", "unreadable"]
COLUMNS = ("path", "label", "confidence", "status", "error")
CLASS = "class:"  # before the name of a class that is the name of another column
TAKEN = re.compile(rf"(?:{'|'.join(COLUMNS)}|(?:label|confidence)\d+|{CLASS}.*)", re.DOTALL)
TAKEN_WITH_NEIGHBOURS = re.compile(rf"(?:{TAKEN.pattern}|(?:neighbour|similarity)\d+)", re.DOTALL)
TAKEN_IN_REFERENCE = re.compile(rf"(?:id|{CLASS}.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The choices that shape a table of predictions.

    Attributes:
        format: `csv`, `jsonl` (JSON lines), `parquet`, or `reference`, the reference system's CSV.
        top: how many of the best classes each row ranks; 0: none.
        min_confidence: below it a row has no label, and the status `unsure`.
        neighbours: how many of the most similar training images each row names; 0: none.
        mirror: whether probabilities are the mean of an image's and of its mirror image's.

    Raises:
        RecipeError: a choice cannot be made.
    """

    format: Format = "csv"
    top: int = 0
    min_confidence: float = 0.0
    neighbours: int = 0
    mirror: bool = False

    def __post_init__(self) -> None:
        if self.format not in get_args(Format):
            raise RecipeError(
                found=f"--format {self.format}",
                expected=", ".join(get_args(Format)),
                fix="choose another --format",
            )
        for name, count in (("top", self.top), ("neighbours", self.neighbours)):
            if count < 0:
                raise RecipeError(found=f"--{name} {count}", expected="0 or more", fix=f"choose another --{name}")
        if not 0 <= self.min_confidence <= 1:
            raise RecipeError(
                found=f"--min-confidence {self.min_confidence:g}",
                expected="a probability, 0 to 1",
                fix="choose another --min-confidence",
            )
        if self.format == "reference":
            self._check_reference()

    @property
    def suffix(self) -> str:
        """What the name of such a file ends in."""
        return "csv" if self.format == "reference" else self.format

    def _check_reference(self) -> None:
        others = {"top": self.top, "min-confidence": self.min_confidence, "neighbours": self.neighbours}
        if chosen := [name for name, value in others.items() if value]:
            raise RecipeError(
                found=f"--{chosen[0]} with --format reference",
                expected="the reference's columns, which hold no label",
                fix=f"choose another format, or leave --{chosen[0]} out",
            )


@dataclass(frozen=True, slots=True)
class Row:
    """One file's row.

    Attributes:
        answer: what the model says of the file.
        status: `ok`; `unsure`, below the least confidence; `unreadable`.
        label: the best class, where the status is ok.
        confidence: its probability, where the file could be read.
        ranks: the best classes with their probabilities, best first, as many as were asked for.
        neighbours: the most similar training images, likewise.
    """

    answer: Answer
    status: Status
    label: str | None
    confidence: float | None
    ranks: tuple[tuple[str, float], ...]
    neighbours: tuple[Neighbour, ...]


def make_row(answer: Answer, classes: Sequence[str], table: Table) -> Row:
    """What a table says of an answer; of classes with the same probability the first is the better one."""
    values = answer.probabilities
    if values is None:
        return Row(answer, "unreadable", None, None, (), ())
    best = int(values.argmax())
    status: Status = "ok" if values[best] >= table.min_confidence else "unsure"
    order = (-values).argsort(kind="stable")[: table.top].tolist() if table.top else ()
    ranks = tuple((classes[each], float(values[each])) for each in order)
    label = classes[best] if status == "ok" else None
    return Row(answer, status, label, float(values[best]), ranks, answer.neighbours[: table.neighbours])


def check_top(table: Table, classes: Sequence[str]) -> None:
    """Make sure that a model has as many classes as are to be ranked.

    Raises:
        RecipeError: it has not.
    """
    if table.top > len(classes):
        raise RecipeError(
            found=f"--top {table.top} of a model with {len(classes)} classes",
            expected=f"at most {len(classes)}",
            fix="choose another --top",
        )


def text_columns(table: Table) -> tuple[str, ...]:
    """The columns before those of the classes.

    With `top` also `label1`, `confidence1`, `label2`, and so on; with `neighbours` then `neighbour1`, `similarity1`.
    """
    ranks = (f"{name}{place}" for place in range(1, table.top + 1) for name in ("label", "confidence"))
    near = (f"{name}{place}" for place in range(1, table.neighbours + 1) for name in ("neighbour", "similarity"))
    return (*COLUMNS, *ranks, *near)


def class_columns(classes: Iterable[str], table: Table) -> tuple[str, ...]:
    """The columns of the classes: their names, with `class:` before one that is, or with another `top` may be, taken.

    No two classes share a column, since a name that begins with `class:` gets one more.
    """
    taken = TAKEN_WITH_NEIGHBOURS if table.neighbours else TAKEN
    if table.format == "reference":
        taken = TAKEN_IN_REFERENCE
    return tuple(CLASS + name if taken.fullmatch(name) else name for name in classes)
