"""training/history.py: a row for each epoch, in the columns of Keras."""

from __future__ import annotations

from dataclasses import fields

from convscope.training.history import Epoch

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
    """What the reference prints after an epoch."""
    said = ROW.describe(4)
    assert said == "epoch 2/4: training loss 0.6123, accuracy 67.9%; validation loss 0.5432, accuracy 71.2%"
