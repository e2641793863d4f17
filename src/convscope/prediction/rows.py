"""The rows of a table of predictions, whatever its file format, and the choices that shape them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from convscope.bundle.neighbours import Neighbour
from convscope.errors import RecipeError
from convscope.prediction.inference import Prediction

Format = Literal["csv", "jsonl", "parquet", "reference"]
Status = Literal["ok", "unsure", "unreadable"]
COLUMNS = ("path", "label", "confidence", "status", "error")
CLASS_PREFIX = "class:"  # before the name of a class that is also the name of another column
RESERVED = re.compile(rf"(?:{'|'.join(COLUMNS)}|(?:label|confidence)\d+|{CLASS_PREFIX}.*)", re.DOTALL)
RESERVED_WITH_NEIGHBOURS = re.compile(rf"(?:{RESERVED.pattern}|(?:neighbour|similarity)\d+)", re.DOTALL)
RESERVED_IN_REFERENCE = re.compile(rf"(?:id|{CLASS_PREFIX}.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The choices that shape a table of predictions.

    Attributes:
        format: `csv`, `jsonl` (JSON lines), `parquet`, or `reference`, the reference system's CSV.
        top: how many of the best classes each row ranks; 0: none.
        min_confidence: below this probability a row has no label, and its status is `unsure`.
        neighbours: how many of the most similar training images each row names; 0: none.
        mirror: test-time augmentation: average the probabilities of each image and of its horizontal flip.

    Raises:
        RecipeError: a value is out of range, or two choices exclude each other.
    """

    format: Format = "csv"
    top: int = 0
    min_confidence: float = 0.0
    neighbours: int = 0
    mirror: bool = False

    def __post_init__(self) -> None:
        if self.format not in get_args(Format):
            raise RecipeError(
                found=f"`format={self.format!r}`",
                expected=", ".join(get_args(Format)),
                fix="choose another `format`",
            )
        for name, count in (("top", self.top), ("neighbours", self.neighbours)):
            if count < 0:
                raise RecipeError(found=f"`{name}={count}`", expected="0 or more", fix=f"choose another `{name}`")
        if not 0 <= self.min_confidence <= 1:
            raise RecipeError(
                found=f"`min_confidence={self.min_confidence:g}`",
                expected="a probability, 0 to 1",
                fix="choose another `min_confidence`",
            )
        if self.format == "reference":
            self._check_reference()

    @property
    def suffix(self) -> str:
        """The usual suffix of such a file, without the dot."""
        return "csv" if self.format == "reference" else self.format

    def _check_reference(self) -> None:
        choices = {"top": self.top, "min_confidence": self.min_confidence, "neighbours": self.neighbours}
        if excluded := [name for name, value in choices.items() if value]:
            raise RecipeError(
                found=f"`{excluded[0]}` with `format='reference'`",
                expected="the reference's columns, which have no label",
                fix=f"choose another `format`, or leave `{excluded[0]}` out",
            )


@dataclass(frozen=True, slots=True)
class Row:
    """The row of one file.

    Attributes:
        prediction: the model's prediction for the file.
        status: `ok`; `unsure`, below the minimum confidence; `unreadable`.
        label: the best class, if the status is ok.
        confidence: its probability, if the file is readable.
        ranks: the best classes with their probabilities, best first, as many as the table ranks.
        neighbours: the most similar training images, best first, as many as the table names.
    """

    prediction: Prediction
    status: Status
    label: str | None
    confidence: float | None
    ranks: tuple[tuple[str, float], ...]
    neighbours: tuple[Neighbour, ...]


def make_row(prediction: Prediction, classes: Sequence[str], table: Table) -> Row:
    """The row of a prediction; of classes with equal probability the first ranks higher."""
    probabilities = prediction.probabilities
    if probabilities is None:
        return Row(prediction, "unreadable", None, None, (), ())
    best = int(probabilities.argmax())
    status: Status = "ok" if probabilities[best] >= table.min_confidence else "unsure"
    order = (-probabilities).argsort(kind="stable")[: table.top].tolist() if table.top else ()
    ranks = tuple((classes[index], float(probabilities[index])) for index in order)
    label = classes[best] if status == "ok" else None
    neighbours = prediction.neighbours[: table.neighbours]
    return Row(prediction, status, label, float(probabilities[best]), ranks, neighbours)


def check_top(table: Table, classes: Sequence[str]) -> None:
    """Raise an error if a model has fewer classes than each row ranks.

    Raises:
        RecipeError: it has fewer.
    """
    if table.top > len(classes):
        raise RecipeError(
            found=f"`top={table.top}` for a model with {len(classes)} classes",
            expected=f"at most {len(classes)}",
            fix="choose another `top`",
        )


def text_columns(table: Table) -> tuple[str, ...]:
    """The columns before those of the classes.

    With `top` also `label1`, `confidence1`, `label2`, and so on; with `neighbours` then `neighbour1`, `similarity1`.
    """
    ranks = (f"{name}{rank}" for rank in range(1, table.top + 1) for name in ("label", "confidence"))
    neighbours = (f"{name}{rank}" for rank in range(1, table.neighbours + 1) for name in ("neighbour", "similarity"))
    return (*COLUMNS, *ranks, *neighbours)


def class_columns(classes: Iterable[str], table: Table) -> tuple[str, ...]:
    """The columns of the classes: their names, after `class:` where a name is, or with another `top` may be, reserved.

    No two classes share a column, since a name that begins with `class:` gets the prefix once more.
    """
    reserved = RESERVED_WITH_NEIGHBOURS if table.neighbours else RESERVED
    if table.format == "reference":
        reserved = RESERVED_IN_REFERENCE
    return tuple(CLASS_PREFIX + name if reserved.fullmatch(name) else name for name in classes)
