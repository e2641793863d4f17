"""The promise: what an earlier layout of convscope wrote still opens, predicts and resumes.

`tests/old` was written by the version before the rooms were moved: a finished run, a run that was stopped after 2 of 20
steps and whose recipe does not say its length, a table of predictions, and a cache (`tests/datasets/test_cache.py`).
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from convscope.bundle.bundle import open_bundle
from convscope.bundle.verification import verify
from convscope.files import read_table
from convscope.prediction.prediction import predict
from convscope.run import open_run

OLD = Path(__file__).parents[1] / "old"


def test_old_run_has_a_complete_recipe() -> None:
    """What was saved stays; a length that was not saved is the default of its time."""
    finished, unfinished = open_run(OLD / "finished"), open_run(OLD / "unfinished")
    assert (finished.recipe.network, finished.recipe.image_size, finished.recipe.filters) == ("classic", 16, (4, 4))
    assert (finished.recipe.length.unit, finished.recipe.length.amount) == ("epochs", 3)
    assert (unfinished.recipe.length.unit, unfinished.recipe.length.amount) == ("epochs", 20)
    assert finished.is_finished
    assert not unfinished.is_finished


def test_old_model_predicts_as_it_did(tmp_path: Path) -> None:
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


@pytest.mark.tensorflow
@pytest.mark.slow
def test_old_stopped_run_resumes(tmp_path: Path) -> None:
    """From its checkpoint at step 2 to the end of the 20 epochs that were the default when it began."""
    from convscope.training.training import train

    run = open_run(shutil.copytree(OLD / "unfinished", tmp_path / "run"))
    before = read_table(run.history_file)
    train(OLD / "photos", out=run.path, resume=True)
    assert run.is_finished
    history = read_table(run.history_file)
    assert [row["epoch"] for row in history] == [str(epoch) for epoch in range(1, len(history) + 1)]
    assert history[: len(before)] == before
    assert history[-1]["step"] == "20" or "converged" in run.log_file.read_text()
    assert run.recipe.length.amount == 20
