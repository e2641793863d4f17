"""How far a piece of work is, told to whoever asked for it: without a callback nothing is shown.

The command line shows a bar (`convscope.cli.display`); in Python, `with report_progress(callback):`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

UPDATE_SECONDS = 0.2  # at least, between two reports of one piece of work


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one piece of work is.

    Attributes:
        description: what is done, such as `decoding images`.
        done, total: in `unit`; total is None where the end is not known.
        seconds: since it began. seconds_left: until its end at the pace so far; None where that is not known.
        note: more about the moment, such as the loss.
        state: `done` and `failed` come once, last.
    """

    description: str
    done: int
    total: int | None
    unit: str
    seconds: float
    seconds_left: float | None
    note: str
    state: Literal["running", "done", "failed"]


ProgressCallback = Callable[[Progress], None]
_callback: ContextVar[ProgressCallback | None] = ContextVar("convscope_progress", default=None)


@contextmanager
def report_progress(callback: ProgressCallback | None) -> Iterator[None]:
    """Call `callback` with each `Progress` of the work that is done within the block, a few times a second."""
    before = _callback.set(callback)
    try:
        yield
    finally:
        _callback.reset(before)


@dataclass(slots=True, kw_only=True)
class Counter:
    """One running count: call `advance` as work gets done.

    Attributes:
        work: how much work the first n units are, in any measure, where some take longer than others.
    """

    description: str
    total: int | None
    unit: str
    done: int = 0
    work: Callable[[int], float] = float
    note: str = ""
    _first: int = field(init=False)
    _started: float = field(init=False, default_factory=time.monotonic)
    _next_report: float = field(init=False, default=0.0)
    _callback: ProgressCallback | None = field(init=False, default_factory=_callback.get)

    def __post_init__(self) -> None:
        self._first = self.done

    def advance(self, count: int = 1) -> None:
        """Count `count` more as done, and report it when it is time to."""
        self.done += count
        if self.is_due():
            self.report("running")

    def is_due(self) -> bool:
        """Whether the next `advance` will report: asking is cheap, making a `note` may not be."""
        return self._callback is not None and time.monotonic() >= self._next_report

    def seconds_left(self) -> float | None:
        """Seconds until the end at the pace so far; None where the end, or the pace, is not known."""
        if self.total is None or self.done <= self._first:
            return None
        first, now, end = (self.work(count) for count in (self._first, self.done, self.total))
        return (time.monotonic() - self._started) / (now - first) * max(end - now, 0.0)

    def report(self, state: Literal["running", "done", "failed"]) -> None:
        """Tell the callback, if there is one, where the work is."""
        if self._callback is None:
            return
        self._next_report = time.monotonic() + UPDATE_SECONDS
        self._callback(
            Progress(
                description=self.description,
                done=self.done,
                total=self.total,
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
        description: what is done.
        total: how many units there are; None where that is not known.
        unit: what is counted, in the plural.
        done: how many are done already.
        work: how much work the first n units are, where some take longer than others.
    """
    counter = Counter(description=description, total=total, unit=unit, done=done, work=work)
    counter.report("running")
    try:
        yield counter
    except BaseException:
        counter.report("failed")
        raise
    counter.report("done")
