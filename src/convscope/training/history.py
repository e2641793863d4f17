"""The history of a training: one row for each epoch, under the names that Keras gives its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from convscope.files import write_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One row of history.csv, in its columns; losses are mean cross-entropies in nats, accuracies shares from 0 to 1.

    Epoch 0, at step 0, is a head that was fitted before the first step.
    """

    epoch: int
    step: int
    seconds: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float

    def describe(self, num_epochs: int) -> str:
        """The row as a line of text, such as `epoch 2/20: training loss 0.6123, ...`."""
        return (
            f"epoch {self.epoch}/{num_epochs}: training loss {self.loss:.4f}, accuracy {self.accuracy:.1%};"
            f" validation loss {self.val_loss:.4f}, accuracy {self.val_accuracy:.1%}"
        )


def best_epoch(history: Sequence[Epoch]) -> Epoch | None:
    """The first epoch with the lowest validation loss; None before the first."""
    return min(history, key=lambda row: row.val_loss, default=None)


def has_converged(history: Sequence[Epoch], *, patience: int) -> bool:
    """Whether the validation loss has not fallen for `patience` epochs; never with a patience of 0."""
    best = best_epoch(history)
    if not patience or best is None:
        return False
    return sum(row.step > best.step for row in history) >= patience


def write_history(path: Path, history: Sequence[Epoch]) -> None:
    """Write history.csv."""
    write_table(path, [field.name for field in fields(Epoch)], [list(asdict(row).values()) for row in history])
