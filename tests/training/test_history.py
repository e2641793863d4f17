"""training/history.py: a row for each epoch, in the columns of Keras; the best one, and when training stops early."""

from __future__ import annotations

import math
from dataclasses import asdict, fields, replace

from convscope.training.history import Epoch, best_epoch, has_converged

ROW = Epoch(
    epoch=2,
    step=1234,
    seconds=5.0,
    loss=0.61234,
    accuracy=0.6789,
    val_loss=0.54321,
    val_accuracy=0.7123,
    learning_rate=1e-4,
)


def test_history_has_the_columns_of_keras() -> None:
    """An epoch's fields are the columns of history.csv, under the names that Keras uses."""
    assert [field.name for field in fields(Epoch)] == [
        "epoch",
        "step",
        "seconds",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "learning_rate",
    ]


def test_epoch_is_one_line() -> None:
    """The line that the reference prints after an epoch."""
    assert ROW.describe(4) == "epoch 2/4: training loss 0.6123, accuracy 67.9%; validation loss 0.5432, accuracy 71.2%"


def rows(*losses: float) -> list[Epoch]:
    """A history with these validation losses."""
    return [replace(ROW, epoch=number, step=10 * number, val_loss=loss) for number, loss in enumerate(losses, start=1)]


def test_epochs_survive_json() -> None:
    """A row of the history comes back from its dictionary equal, which is how a checkpoint keeps it."""
    assert Epoch(**asdict(ROW)) == ROW


def test_best_epoch_is_the_first_with_the_lowest_validation_loss() -> None:
    """None without an epoch; a loss that is no number is never better than another."""
    assert best_epoch([]) is None
    history = rows(0.5, 0.3, 0.3, 0.4, math.nan)
    assert best_epoch(history) is history[1]


def test_converged_is_patience_epochs_without_a_lower_loss() -> None:
    """After as many epochs as patience says since the best one, not one earlier; patience 0 never converges."""
    history = rows(0.5, 0.4, 0.3, 0.4, 0.5, 0.6, 0.7)
    for count, expected in ((0, False), (3, False), (5, False), (6, True), (7, True)):
        assert has_converged(history[:count], patience=3) is expected
    assert not has_converged(history, patience=0)
