"""training/tensorboard.py: every epoch is in an event file as soon as it was written."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from convscope.errors import MissingExtra
from convscope.networks.frameworks import tf
from convscope.training.history import Epoch
from convscope.training.tensorboard import COLUMNS, check_tensorboard, write_scalars

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ROWS = [
    Epoch(
        epoch=number,
        step=10 * number,
        seconds=1.0,
        loss=1 / number,
        accuracy=0.5,
        val_loss=2 / number,
        val_accuracy=0.25,
        learning_rate=0.01,
    )
    for number in (1, 2)
]


def read_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: (step, value) by name."""
    scalars: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(folder.iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                scalars.setdefault(value.tag, []).append((event.step, float(tf.make_ndarray(value.tensor))))
    return scalars


def test_the_log_has_each_epoch(tmp_path: Path) -> None:
    """Its losses, accuracies and learning rate, by step."""
    with write_scalars(tmp_path / "log") as write:
        for row in ROWS:
            write(row)
    scalars = read_scalars(tmp_path / "log")
    for name in COLUMNS:
        assert scalars[name] == [(row.step, pytest.approx(getattr(row, name), rel=1e-6)) for row in ROWS]


def test_the_log_survives_a_stop(tmp_path: Path) -> None:
    """The epochs before an error are in the log."""
    with suppress(KeyboardInterrupt), write_scalars(tmp_path / "log") as write:
        write(ROWS[0])
        raise KeyboardInterrupt
    assert len(read_scalars(tmp_path / "log")["loss"]) == 1


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function does nothing then."""
    monkeypatch.chdir(tmp_path)
    with write_scalars(None) as write:
        write(replace(ROWS[0], step=1))
    assert list(tmp_path.iterdir()) == []


def test_missing_tensorboard_is_an_error_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that installs it; nothing has been trained yet."""
    check_tensorboard()
    monkeypatch.setattr("convscope.training.tensorboard.MODULE", "no_such_module")
    with pytest.raises(MissingExtra, match=r"convscope\[tensorboard\]"):
        check_tensorboard()
