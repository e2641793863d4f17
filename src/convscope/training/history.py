"""The history of a training: one row for each epoch, under the names that Keras gives its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from convscope.files import write_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One row of history.csv, in its columns; losses are mean cross-entropies in nats, accuracies shares."""

    epoch: int
    step: int
    seconds: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float

    def describe(self, num_epochs: int) -> str:
        """The row as a line for people, such as `epoch 2/20: training loss 0.6123, ...`."""
        return (
            f"epoch {self.epoch}/{num_epochs}: training loss {self.loss:.4f}, accuracy {self.accuracy:.1%};"
            f" validation loss {self.val_loss:.4f}, accuracy {self.val_accuracy:.1%}"
        )


def write_history(path: Path, history: Sequence[Epoch]) -> None:
    """Write history.csv."""
    write_table(path, [field.name for field in fields(Epoch)], [list(asdict(row).values()) for row in history])
