"""plotting/history.py: learning curves."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.plotting.history import plot_history

pytestmark = pytest.mark.slow  # every figure takes a third of a second

HISTORY: dict[str, list[float | None]] = {
    "epoch": [1, 2, 3, 4],
    "loss": [0.9, 0.6, 0.4, 0.3],
    "accuracy": [0.5, 0.7, 0.8, 0.9],
    "val_loss": [0.8, 0.6, 0.5, 0.7],
    "val_accuracy": [0.5, None, float("nan"), 0.8],
    "learning_rate": [1e-4, 1e-4, 1e-4, 1e-4],
}


def test_history_has_two_panels_and_marks_the_best_epoch() -> None:
    """Loss and accuracy, training and validation; missing values are left out, and so is the learning rate."""
    loss, accuracy = plot_history(HISTORY).axes
    assert (loss.get_title(), accuracy.get_title()) == ("loss", "accuracy")
    curves = {str(line.get_label()): line for line in accuracy.lines}
    assert list(curves) == ["training", "validation", "lowest validation loss"]
    assert curves["validation"].get_xydata().tolist() == [[1, 0.5], [4, 0.8]]  # type: ignore[union-attr]
    assert np.array(curves["lowest validation loss"].get_xdata()).tolist() == [3, 3]


def test_accuracy_axis_ends_at_100_percent() -> None:
    """A single row with an accuracy of 1, such as that of a fitted head, makes no axis up to 104 %."""
    _, accuracy = plot_history({"epoch": [0], "loss": [0.1], "accuracy": [1.0], "val_accuracy": [1.0]}).axes
    assert 1 < accuracy.get_ylim()[1] < 1.02


def test_history_of_one_epoch_without_validation_is_drawn() -> None:
    """One point, at an integer epoch, and no line without values."""
    loss, _ = plot_history({"epoch": [1], "loss": [0.7], "accuracy": [0.5], "val_loss": [None]}).axes
    assert [line.get_label() for line in loss.lines] == ["training"]
    assert all(tick == round(tick) for tick in loss.get_xticks())
