"""The log of a training for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from convscope.errors import MissingExtra
from convscope.networks.frameworks import tf
from convscope.training.history import Epoch

MODULE = "tensorboard"  # which TensorFlow needs to write such a log
COLUMNS = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")


def check_tensorboard() -> None:
    """Check that a log can be written, before anything is trained.

    Raises:
        MissingExtra: TensorBoard is not installed.
    """
    if find_spec(MODULE) is None:
        raise MissingExtra(command="a log for TensorBoard", module=MODULE, extra="tensorboard")


@contextmanager
def write_scalars(folder: Path | None) -> Iterator[Callable[[Epoch], None]]:
    """A function that logs an epoch's values into `folder`; one that does nothing where it is None."""
    if folder is None:
        yield lambda _: None
        return
    writer = tf.summary.create_file_writer(str(folder))

    def write(row: Epoch) -> None:
        with writer.as_default(step=row.step):
            for name in COLUMNS:
                tf.summary.scalar(name, getattr(row, name))

    with writer.as_default():
        yield write
    writer.close()
