"""What a person sees while they wait: progress with the time left on a terminal, plain lines elsewhere.

Progress and remarks go to standard error; standard output belongs to results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from convscope.formatting import format_duration

PLAIN_LINE_SECONDS = 10.0
QUIET_SECONDS = 2.0  # work shorter than this needs no progress line of its own


def remarks() -> Console:
    """The console for everything that is not a result; made anew so that it follows a redirected stderr."""
    return Console(file=sys.stderr, highlight=False, emoji=False, soft_wrap=True)


@dataclass(slots=True)
class Bar:
    """One running count: call `advance` as work gets done."""

    description: str
    total: int | None
    unit: str
    done: int = 0
    display: Progress | None = None
    task: TaskID = TaskID(0)
    started: float = field(default_factory=time.monotonic)
    next_line: float = field(default_factory=lambda: time.monotonic() + PLAIN_LINE_SECONDS)

    def advance(self, count: int = 1) -> None:
        """Count `count` more as done, and show it when it is time to."""
        self.done += count
        if self.display is not None:
            self.display.update(self.task, completed=self.done, pace=self.pace())
        elif time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + PLAIN_LINE_SECONDS
            remarks().print(f"{self.description}: {self.state()}", markup=False)

    def pace(self) -> str:
        """How fast it goes, e.g. `812 images/s`."""
        return f"{self.done / max(time.monotonic() - self.started, 1e-9):,.0f} {self.unit}/s"

    def state(self) -> str:
        """Where it stands, with the time left where the end is known."""
        if self.total is None:
            return f"{self.done:,}, {self.pace()}"
        seconds = time.monotonic() - self.started
        left = seconds / max(self.done, 1) * (self.total - self.done)
        return f"{self.done:,} of {self.total:,}, {self.pace()}, {format_duration(left)} left"


@contextmanager
def progress(description: str, total: int | None, *, unit: str) -> Iterator[Bar]:
    """Show how far a piece of work is; a closing line stays where the work took more than two seconds."""
    console = remarks()
    bar = Bar(description, total, unit)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar.display:
            bar.task = bar.display.add_task(description, total=total, pace="")
            yield bar
    else:
        yield bar
    seconds = time.monotonic() - bar.started
    if seconds > QUIET_SECONDS:
        console.print(f"{description}: {bar.done:,} {unit} in {format_duration(seconds)}, {bar.pace()}", markup=False)
