"""The state of a training: put back into a learner of the same recipe and data, training continues to the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.errors import RunError
from convscope.networks.catalog import named_weights, read_weights, set_weights
from convscope.training.checkpoint import Checkpoint
from convscope.training.history import Epoch, best_epoch

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS, BEST = "weights/", "best/"  # prefixes of the names in a checkpoint


class TrainingState:
    """Everything that changes while a network is trained.

    Args:
        model: the `keras.Model`; its weights are part of the state.
        variables: the other `tf.Variable`s by name: of the optimiser, the tally, and random layers.

    Attributes:
        step: optimisation steps taken so far.
        seconds: training time so far, evaluations included.
        history: one row for each evaluated epoch.
    """

    def __init__(self, model: Any, variables: Mapping[str, Any]) -> None:
        self.step = 0
        self.seconds = 0.0
        self.history: list[Epoch] = []
        self._model = model
        self._variables = variables
        self._best_weights: dict[str, NDArray[np.generic]] = {}

    def add_epoch(self, row: Epoch) -> None:
        """Add a row to the history; the weights are kept if none before had a lower validation loss."""
        self.history.append(row)
        if best_epoch(self.history) is row:
            self._best_weights = read_weights(self._model)

    def restore_best_weights(self) -> None:
        """Put back the weights of the epoch with the lowest validation loss, if one has ended."""
        if self._best_weights:
            set_weights(self._model, self._best_weights)

    def snapshot(self) -> Checkpoint:
        """A copy of the state."""
        arrays = {WEIGHTS + name: array for name, array in read_weights(self._model).items()}
        arrays |= {BEST + name: array for name, array in self._best_weights.items()}
        arrays |= {name: variable.numpy() for name, variable in self._variables.items()}
        best = best_epoch(self.history)
        facts = {
            "seconds": self.seconds,
            "history": [asdict(row) for row in self.history],
            "best": None if best is None else asdict(best),
        }
        return Checkpoint(self.step, {name: np.asarray(array) for name, array in arrays.items()}, facts)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take on the state in a checkpoint of the same recipe and data.

        Raises:
            RunError: it is of another network or optimiser; nothing was changed.
        """
        arrays: Mapping[str, Any] = checkpoint.arrays
        expected = {WEIGHTS + name for name in named_weights(self._model)} | self._variables.keys()
        if missing := sorted(expected - arrays.keys()):
            raise RunError(
                found=f"a checkpoint without {missing[0]}",
                expected="one of this recipe's network and optimizer",
                fix="restore recipe.toml, or start a new run with another `out`",
            )
        set_weights(self._model, _with_prefix(WEIGHTS, arrays))
        self._best_weights = _with_prefix(BEST, arrays)
        for name, variable in self._variables.items():
            variable.assign(arrays[name])
        self.step = checkpoint.step
        self.seconds = checkpoint.facts["seconds"]
        self.history = [Epoch(**row) for row in checkpoint.facts["history"]]


def _with_prefix(prefix: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
