"""What the user sees in the terminal while a command works: messages, and progress with the time left.

Both go to standard error; standard output belongs to results.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as rich
from rich.console import Console

from convscope.formatting import format_duration, printable_lines
from convscope.progress import Progress, report_progress

LINE_SECONDS = 10.0  # between two lines of one piece of work, where there is no terminal
QUIET_SECONDS = 2.0  # work shorter than this leaves no line


def error_console() -> Console:
    """A console on the current standard error, which prints text unchanged."""
    return Console(file=sys.stderr, highlight=False, emoji=False, markup=False, soft_wrap=True)


def print_message(text: str) -> None:
    """Print a message on standard error; control characters in it are escaped."""
    error_console().print(printable_lines(text))


@contextmanager
def show_messages(rewrite: Callable[[str], str] = str) -> Iterator[None]:
    """Show on standard error what the library logs, and how far its work is, while the block runs.

    Args:
        rewrite: changes the text of each message before it is shown.
    """
    display = Display(error_console())
    logger = logging.getLogger("convscope")
    before = logger.level, logger.propagate
    handler = _MessageHandler(display.console, rewrite)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        with report_progress(display.update):
            yield
    finally:
        display.close()
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


class _MessageHandler(logging.Handler):
    """Prints each message of a logger on lines of its own, above the bar if one is shown."""

    def __init__(self, console: Console, rewrite: Callable[[str], str]) -> None:
        super().__init__()
        self.console = console
        self.rewrite = rewrite

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.console.print(printable_lines(self.rewrite(record.getMessage())))
        except Exception:  # as every handler does: a message that cannot be shown stops no work
            self.handleError(record)


class Display:
    """Shows `Progress`: a bar on a terminal, elsewhere a line now and then; a last line stays after long work."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars: rich.Progress | None = None
        self._tasks: dict[str, rich.TaskID] = {}
        self._next_lines: dict[str, float] = {}

    def update(self, progress: Progress) -> None:
        """Show how far a piece of work is."""
        if progress.state == "running":
            self._show_bar(progress) if self.console.is_terminal else self._show_line(progress)
            return
        self._end(progress)
        if progress.state == "done" and progress.seconds > QUIET_SECONDS:
            duration = format_duration(progress.seconds)
            self.console.print(
                f"{progress.description}: {progress.done - progress.first:,} {progress.unit} in {duration},"
                f" {_rate(progress)}"
            )

    def close(self) -> None:
        """Remove every bar."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        self._tasks.clear()

    def _show_bar(self, progress: Progress) -> None:
        if self._bars is None:
            columns = (
                rich.TextColumn("{task.description}", markup=False),
                rich.BarColumn(),
                rich.MofNCompleteColumn(),
                rich.TextColumn("{task.fields[state]}", markup=False),
            )
            self._bars = rich.Progress(*columns, console=self.console, transient=True, redirect_stdout=False)
            self._bars.start()
        if progress.description not in self._tasks:
            self._tasks[progress.description] = self._bars.add_task(
                progress.description, total=progress.total, state=""
            )
        task = self._tasks[progress.description]
        self._bars.update(task, completed=progress.done, total=progress.total, state=_state(progress))

    def _show_line(self, progress: Progress) -> None:
        now = time.monotonic()
        if now >= self._next_lines.setdefault(progress.description, now + LINE_SECONDS):
            self._next_lines[progress.description] = now + LINE_SECONDS
            total = "" if progress.total is None else f" of {progress.total:,}"
            self.console.print(f"{progress.description}: {progress.done:,}{total}, {_state(progress)}")

    def _end(self, progress: Progress) -> None:
        self._next_lines.pop(progress.description, None)
        task = self._tasks.pop(progress.description, None)
        if self._bars is not None and task is not None:
            self._bars.remove_task(task)
            if not self._tasks:
                self.close()


def _rate(progress: Progress) -> str:
    """How many units a second, e.g. `812 images/s` or `0.4 steps/s`."""
    rate = (progress.done - progress.first) / max(progress.seconds, 1e-9)
    return f"{rate:,.{0 if rate >= 10 else 1}f} {progress.unit}/s"


def _state(progress: Progress) -> str:
    """Note or rate, and the time left where that is known."""
    left = "" if progress.seconds_left is None else f", {format_duration(progress.seconds_left)} left"
    return f"{progress.note or _rate(progress)}{left}"
