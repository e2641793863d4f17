"""prediction/rows.py: the row of a prediction, and the columns of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convscope.bundle.neighbours import Neighbour
from convscope.errors import RecipeError
from convscope.prediction.inference import Prediction
from convscope.prediction.rows import COLUMNS, Table, check_top, class_columns, make_row, text_columns

CLASSES = ("cat", "dog", "fox")


def prediction(*probabilities: float) -> Prediction:
    """A prediction with these probabilities."""
    return Prediction("photo.jpg", "", np.array(probabilities, np.float32))


def test_row_has_the_best_class() -> None:
    """Its name and its probability."""
    row = make_row(prediction(0.1, 0.7, 0.2), CLASSES, Table())
    assert (row.status, row.label, row.ranks) == ("ok", "dog", ())
    assert row.confidence == pytest.approx(0.7)


def test_top_ranks_the_best_classes() -> None:
    """Best first, as many as requested; of equal probabilities the first class ranks higher, as for the label."""
    row = make_row(prediction(0.4, 0.2, 0.4), CLASSES, Table(top=2))
    assert [label for label, _ in row.ranks] == ["cat", "fox"]
    assert row.ranks[0] == (row.label, row.confidence)
    assert [label for label, _ in make_row(prediction(0.2, 0.3, 0.5), CLASSES, Table(top=3)).ranks] == [
        "fox",
        "dog",
        "cat",
    ]


@pytest.mark.parametrize(("minimum", "status", "label"), [(0.7, "ok", "dog"), (0.71, "unsure", None), (0, "ok", "dog")])
def test_below_the_minimum_confidence_there_is_no_label(minimum: float, status: str, label: str | None) -> None:
    """Confidence and ranks stay, to inspect such images; at exactly the minimum there is a label."""
    row = make_row(prediction(0.1, 0.7, 0.2), CLASSES, Table(min_confidence=minimum, top=1))
    assert (row.status, row.label) == (status, label)
    assert row.confidence == pytest.approx(0.7)
    assert row.ranks[0][0] == "dog"


def test_unreadable_file_has_no_prediction() -> None:
    """Nothing in its row looks like one."""
    row = make_row(Prediction("photo.jpg", "truncated", None), CLASSES, Table(top=2, min_confidence=0.5))
    assert (row.status, row.label, row.confidence, row.ranks, row.neighbours) == ("unreadable", None, None, (), ())


def test_columns_before_those_of_the_classes() -> None:
    """The five of every table, two for each rank, and then two for each neighbour."""
    assert COLUMNS == ("path", "label", "confidence", "status", "error")
    assert text_columns(Table()) == COLUMNS
    ranks = ("label1", "confidence1", "label2", "confidence2")
    assert text_columns(Table(top=2)) == (*COLUMNS, *ranks)
    assert text_columns(Table(top=2, neighbours=1)) == (*COLUMNS, *ranks, "neighbour1", "similarity1")
    assert text_columns(Table(neighbours=2))[5:] == ("neighbour1", "similarity1", "neighbour2", "similarity2")


def test_class_never_shares_a_column_name() -> None:
    """A class named like a column, or like one that another `top` adds, has the column `class:NAME`; all differ."""
    classes = ("cat", "path", "label", "confidence", "status", "error", "label1", "confidence12", "class:path", "Path")
    columns = class_columns(classes, Table())
    assert columns == class_columns(classes, Table(top=9))
    assert columns == (
        *("cat", "class:path", "class:label", "class:confidence", "class:status", "class:error"),
        *("class:label1", "class:confidence12", "class:class:path", "Path"),
    )
    columns_of_table = (*text_columns(Table(top=9)), *columns)
    assert len(set(columns_of_table)) == len(columns_of_table)


def test_neighbour_columns_are_reserved_only_with_neighbours() -> None:
    """A table without neighbours has the columns of earlier versions; with them no two columns are equal."""
    classes = ("neighbour1", "similarity12", "neighbour", "class:neighbour1", "label1")
    assert class_columns(classes, Table()) == (
        *("neighbour1", "similarity12", "neighbour", "class:class:neighbour1", "class:label1"),
    )
    columns = class_columns(classes, Table(neighbours=1))
    assert columns == (
        *("class:neighbour1", "class:similarity12", "neighbour", "class:class:neighbour1", "class:label1"),
    )
    columns_of_table = (*text_columns(Table(top=2, neighbours=20)), *columns)
    assert len(set(columns_of_table)) == len(columns_of_table)


def test_row_has_as_many_neighbours_as_the_table() -> None:
    """Those of the prediction, in their order."""
    neighbours = tuple(Neighbour(index, f"{index}.png", "cat", 0.9) for index in range(3))
    with_neighbours = Prediction("photo.jpg", "", np.array([0.1, 0.7, 0.2], np.float32), neighbours)
    assert make_row(with_neighbours, CLASSES, Table(neighbours=3)).neighbours == neighbours
    assert make_row(with_neighbours, CLASSES, Table()).neighbours == ()


@pytest.mark.parametrize(
    ("choices", "found"),
    [
        ({"format": "xlsx"}, "`format='xlsx'`"),
        ({"top": -1}, "`top=-1`"),
        ({"neighbours": -2}, "`neighbours=-2`"),
        ({"min_confidence": 1.5}, "`min_confidence=1.5`"),
        ({"min_confidence": float("nan")}, "`min_confidence=nan`"),
        ({"format": "reference", "top": 2}, "`top` with `format='reference'`"),
        ({"format": "reference", "min_confidence": 0.5}, "`min_confidence` with `format='reference'`"),
        ({"format": "reference", "neighbours": 5}, "`neighbours` with `format='reference'`"),
    ],
)
def test_impossible_choices_are_refused(choices: dict[str, Any], found: str) -> None:
    """When the table is made, before anything is read."""
    with pytest.raises(RecipeError) as caught:
        Table(**choices)
    assert found in caught.value.found


def test_more_ranks_than_classes_are_refused() -> None:
    """There is no third best of two."""
    check_top(Table(top=2), ("cat", "dog"))
    with pytest.raises(RecipeError, match="`top=3` for a model with 2 classes"):
        check_top(Table(top=3), ("cat", "dog"))
