"""How far a piece of work is, reported to a callback; without a callback nothing is shown.

The command line shows a bar (`convscope.cli.display`); in Python, `with report_progress(callback):`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

UPDATE_SECONDS = 0.2  # minimum between two reports of one piece of work


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one piece of work is.

    Attributes:
        description: what is being done, such as `decoding images`.
        done: number of units done.
        total: number of units in all; None if it is not known.
        first: number of units that were done before the work began, such as the steps of a run that is resumed.
        unit: what is counted, in the plural, such as `images`.
        seconds: since the work began.
        seconds_left: until its end at the rate so far; None if it is not known.
        note: about the current moment, such as the loss.
        state: `done` or `failed` in the last report.
    """

    description: str
    done: int
    total: int | None
    first: int
    unit: str
    seconds: float
    seconds_left: float | None
    note: str
    state: Literal["running", "done", "failed"]


ProgressCallback = Callable[[Progress], None]
_callback: ContextVar[ProgressCallback | None] = ContextVar("convscope_progress", default=None)


@contextmanager
def report_progress(callback: ProgressCallback | None) -> Iterator[None]:
    """Call `callback` with a `Progress` a few times a second while work is done in the block; None: call nothing."""
    before = _callback.set(callback)
    try:
        yield
    finally:
        _callback.reset(before)


@dataclass(slots=True, kw_only=True)
class Counter:
    """The count of one piece of work: call `advance` as units get done, and set `note`.

    Attributes:
        work: how much work the first n units are, in any measure, if some take longer than others.
    """

    description: str
    total: int | None
    unit: str
    done: int = 0
    work: Callable[[int], float] = float
    note: str = ""
    _first: int = field(init=False)
    _started: float = field(init=False)
    _next_report: float = field(init=False, default=0.0)
    _callback: ProgressCallback | None = field(init=False, default_factory=_callback.get)

    def __post_init__(self) -> None:
        self._first, self._started = self.done, time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Count `count` more units as done; report it if `is_due`."""
        self.done += count
        if self.is_due():
            self.report("running")

    def is_due(self) -> bool:
        """Whether the next `advance` will report, to make an expensive `note` only then."""
        return self._callback is not None and time.monotonic() >= self._next_report

    def seconds_left(self) -> float | None:
        """Seconds until the end at the rate so far; None if the end or the rate is not known."""
        if self.total is None or self.done <= self._first:
            return None
        first, now, end = (self.work(count) for count in (self._first, self.done, self.total))
        return (time.monotonic() - self._started) / (now - first) * max(end - now, 0.0)

    def report(self, state: Literal["running", "done", "failed"]) -> None:
        """Call the callback, if there is one."""
        if self._callback is None:
            return
        self._next_report = time.monotonic() + UPDATE_SECONDS
        self._callback(
            Progress(
                description=self.description,
                done=self.done,
                total=self.total,
                first=self._first,
                unit=self.unit,
                seconds=time.monotonic() - self._started,
                seconds_left=self.seconds_left(),
                note=self.note,
                state=state,
            )
        )


@contextmanager
def progress(
    description: str, total: int | None, *, unit: str, done: int = 0, work: Callable[[int], float] = float
) -> Iterator[Counter]:
    """Report how far a piece of work is while the block runs.

    Args:
        description: what is being done.
        total: number of units in all; None if it is not known.
        first: number of units that were done before the work began, such as the steps of a run that is resumed.
        unit: what is counted, in the plural.
        done: number of units that were done before.
        work: how much work the first n units are, if some take longer than others.
    """
    counter = Counter(description=description, total=total, unit=unit, done=done, work=work)
    counter.report("running")
    try:
        yield counter
    except BaseException:
        counter.report("failed")
        raise
    counter.report("done")
