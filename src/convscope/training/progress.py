"""What the person sees while a network learns: the data as a table, a live line on a terminal, one line per epoch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from convscope.datasets.dataset import Dataset, count_samples, near_duplicates
from convscope.datasets.listing import SPLITS, tell_ignored
from convscope.datasets.splits import Sample
from convscope.formatting import format_duration, plural, printable
from convscope.progress import remarks

REFRESH_SECONDS = 0.2
PLAIN_SECONDS = 30.0
CLASSES_SHOWN = 40
REFUSALS_SHOWN = 10
PAIRS_SHOWN = 3


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


def tell_dataset(dataset: Dataset, *, console: Console | None = None) -> None:
    """Print the table of classes, counts, what was refused and why, and how many near duplicates there are."""
    console = console or remarks()
    console.print(_class_table(dataset))
    if dataset.refused:
        console.print(_refusal_table(dataset.refused))
    for folder in dataset.empty:
        console.print(f"no images in folder {printable(folder)}: it is no class", markup=False)
    if passed := tell_ignored(dataset.ignored):
        console.print(f"passed over: {passed}", markup=False)
    for told in _tell_near_duplicates(dataset):
        console.print(told, markup=False)
    counts = count_samples(dataset)
    for name in dataset.classes:
        if not counts[name, "validation"]:
            console.print(f"class {printable(name)} has no image to validate with: too few images", markup=False)


def _tell_near_duplicates(dataset: Dataset) -> Iterator[str]:
    """How many images are nearly equal to another, and which of them have another label."""
    groups = near_duplicates(dataset)
    crowds = [group for group in groups if len({sample.split for sample in group}) > 1]
    kept = [group for group in groups if group not in crowds]
    told = []
    if kept:
        told += [f"{sum(map(len, kept)):,} images in {plural(len(kept), 'group')}, each in one split"]
    if crowds:
        told += [f"{sum(map(len, crowds)):,} images that fill a class: dealt one by one"]
    if told:
        yield f"near duplicates: {'; '.join(told)}"
    pairs = [(group[0], other) for group in kept for other in group[1:] if other.label != group[0].label]
    for one, other in pairs[:PAIRS_SHOWN]:
        yield f"nearly equal, with different labels: {printable(one.path)} and {printable(other.path)}"
    if (more := len(pairs) - PAIRS_SHOWN) > 0:
        yield f"... and {plural(more, 'more pair')}: in data.csv the same group, another class"


def _class_table(dataset: Dataset) -> Table:
    counts = count_samples(dataset)
    columns: list[str] = [split for split in SPLITS if any(counts[name, split] for name in dataset.classes)]
    columns += ["refused"] * bool(dataset.refused)
    table = Table(
        title=Text(f"{plural(len(dataset.samples), 'image')} in {printable(str(dataset.root))}"), title_justify="left"
    )
    table.add_column("class", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    for name in dataset.classes[:CLASSES_SHOWN]:
        table.add_row(Text(printable(name)), *(f"{counts[name, column]:,}" for column in columns))
    if (more := len(dataset.classes) - CLASSES_SHOWN) > 0:
        table.add_row(Text(f"... and {plural(more, 'more class', 'more classes')}"))
    table.add_section()
    totals = Counter[str]()
    for (_, column), count in counts.items():
        totals[column] += count
    table.add_row(Text("all"), *(f"{totals[column]:,}" for column in columns))
    return table


def _refusal_table(refused: tuple[Sample, ...]) -> Table:
    table = Table(title=Text(f"{plural(len(refused), 'image')} refused"), title_justify="left")
    table.add_column("image", overflow="fold")
    table.add_column("reason", overflow="fold")
    for sample in refused[:REFUSALS_SHOWN]:
        table.add_row(Text(printable(sample.path) or "."), Text(printable(sample.reason)))
    if (more := len(refused) - REFUSALS_SHOWN) > 0:
        table.add_row(Text(f"... and {more:,} more, all in data.csv"))
    return table


class Display:
    """The live line and the lines that stay. Use it in a `with`.

    Args:
        total_steps: that there will be. done: that there were already.
        steps_per_epoch, batch_size: of the training.
        work: how much the steps before one take, in any unit; steps on larger images take more.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        steps_per_epoch: int,
        batch_size: int,
        done: int,
        work: Callable[[int], float] = float,
    ) -> None:
        self.work = work
        self.total, self.steps_per_epoch, self.batch_size = total_steps, steps_per_epoch, batch_size
        self.first, self.started, self.shown = done, time.monotonic(), 0.0
        self.console = remarks()
        self.live: Progress | None = None
        self.task = TaskID(0)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}")
            self.live = Progress(*columns, console=self.console, transient=True, redirect_stdout=False)
            self.task = self.live.add_task("learning", total=self.total, completed=self.first, state="compiling")
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def is_due(self) -> bool:
        """Whether it is time to show a step; asking is cheap, reading the losses for it is not."""
        return time.monotonic() - self.shown > (REFRESH_SECONDS if self.live else PLAIN_SECONDS)

    def show(self, step: int, loss: float, accuracy: float) -> None:
        """Show where the training stands."""
        self.shown = time.monotonic()
        state = f"loss {loss:.3f}  accuracy {accuracy:.1%}  {self._pace(step)}"
        if self.live is not None:
            epoch = (step - 1) // self.steps_per_epoch + 1
            self.live.update(
                self.task, completed=step, state=state, description=f"epoch {epoch}, step {step:,}/{self.total:,}"
            )
        elif self.shown - self.started > PLAIN_SECONDS:
            self.console.print(f"step {step:,} of {self.total:,}  {state}", markup=False)

    def keep(self, row: Epoch) -> None:
        """Print the line of an epoch."""
        num_epochs = -(-self.total // self.steps_per_epoch)
        self.console.print(
            f"epoch {row.epoch}/{num_epochs}: training loss {row.loss:.4f}, accuracy {row.accuracy:.1%};"
            f" validation loss {row.val_loss:.4f}, accuracy {row.val_accuracy:.1%};"
            f" {format_duration(self._left(row.step))} left",
            markup=False,
        )

    def _left(self, step: int) -> float:
        """Seconds until the end, at the pace so far."""
        first, now, end = (self.work(each) for each in (self.first, step, self.total))
        return (time.monotonic() - self.started) / max(now - first, 1) * (end - now)

    def _pace(self, step: int) -> str:
        pace = (step - self.first) * self.batch_size / max(time.monotonic() - self.started, 1e-9)
        return f"{pace:,.0f} images/s  {format_duration(self._left(step))} left"
