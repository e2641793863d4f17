"""The promise: what an earlier layout of convscope wrote still opens, predicts and resumes.

`tests/old` was written by the version before the rooms were moved: a finished run, a run that was stopped after 2 of 20
steps and whose recipe does not say its length (`test_resume_is_exact.py` resumes it), a table of predictions, and a
cache (`tests/datasets/test_cache.py` opens it).
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from convscope.bundle.bundle import open_bundle
from convscope.bundle.verification import verify
from convscope.prediction.prediction import predict
from convscope.run import open_run

OLD = Path(__file__).parents[1] / "old"


def test_old_run_has_a_complete_recipe() -> None:
    """Saved values stay; a length that was not saved is the default of that version."""
    finished, unfinished = open_run(OLD / "finished"), open_run(OLD / "unfinished")
    assert (finished.recipe.network, finished.recipe.image_size, finished.recipe.filters) == ("classic", 16, (4, 4))
    assert (finished.recipe.length.unit, finished.recipe.length.amount) == ("epochs", 3)
    assert (unfinished.recipe.length.unit, unfinished.recipe.length.amount) == ("epochs", 20)
    assert finished.is_finished
    assert not unfinished.is_finished


def test_old_model_predicts_the_same(tmp_path: Path) -> None:
    """Same rows and columns, same probabilities within the tolerance of `verify`; its golden images agree."""
    verify(OLD / "finished").check()
    assert open_bundle(OLD / "finished").classes == ("bar", "disc", "ring")
    out = tmp_path / "predictions.csv"
    predict(OLD / "finished", [str(OLD / "photos")], out=out)
    with (OLD / "predictions.csv").open(newline="") as old, out.open(newline="") as new:
        expected, rows = list(csv.DictReader(old)), list(csv.DictReader(new))
    assert [row.keys() for row in rows] == [row.keys() for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert row["path"].endswith(other["path"])
        assert (row["status"], row["error"]) == (other["status"], other["error"])
        for name in ("bar", "disc", "ring"):
            assert float(row[name]) == pytest.approx(float(other[name]), abs=1e-4)
