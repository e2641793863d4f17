"""The child's side of a benchmark: what it is told, how it answers, and its clock.

A child gets its task as JSON, answers with lines of JSON into a pipe, and may print what it likes.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Job = Literal["learn", "burst", "cost", "steps", "products"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a child is told.

    Attributes:
        job: what it is to do.
        data: the folder of photos, train/<class>/ and validation/<class>/ where it learns.
        started: `time.monotonic()` of the moment when its process was started.
        out, cache: folders for a run and for decoded images, of ours only.
        steps: how many to take; of a burst without those that warm up.
        seconds: how long a peer learns at most, or our budget.
        seed: of first weights and order.
        precision: of ours only, "" for its own choice; of products, what they are measured in.
        sizes: of images in pixels, or of matrices.
        choices: of ours only, what its recipe says otherwise than by default.
    """

    job: Job
    data: str = ""
    started: float = 0.0
    out: str = ""
    cache: str = ""
    steps: int = 0
    seconds: float = 0.0
    seed: int = 0
    precision: str = ""
    sizes: Sequence[int] = ()
    choices: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class Report:
    """Lines of JSON to the parent, each with its kind."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")

    def tell(self, kind: str, **facts: Any) -> None:
        self._file.write(json.dumps({"kind": kind, **facts}) + "\n")

    def tell_point(self, *, seconds: float, step: int, images: int, accuracy: float) -> None:
        """How many of the photos held back are answered rightly after so many seconds of training."""
        self.tell("point", seconds=round(seconds, 3), step=step, images=images, accuracy=accuracy)


class Stopwatch:
    """Seconds of training: it begins at the end of the first step, and stands still while a network is judged."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._before = 0.0

    def read(self) -> float:
        return self._before + time.monotonic() - self._since

    def stop(self) -> float:
        """Stand still from now on; returns the seconds so far."""
        self._before = self.read()
        return self._before

    def go_on(self) -> None:
        self._since = time.monotonic()


def answer(jobs: dict[Job, Callable[[Task, Report], None]]) -> None:
    """Do what the command line tells."""
    task = Task(**json.loads(sys.argv[1]))
    report = Report(int(sys.argv[2]))
    jobs[task.job](task, report)
    report.tell("end", peak_bytes=peak_bytes("self"))


def peak_bytes(process: int | str) -> int:
    """The high-water mark of a process's resident memory; 0 where the system does not tell, or it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def summary(values: Sequence[float]) -> dict[str, float]:
    """How many there are, their median, the lowest and the highest."""
    return {"n": len(values), "median": statistics.median(values), "low": min(values), "high": max(values)}


def since(started: float) -> float:
    """Seconds since `started`, a reading of `time.monotonic()` in any process of this machine."""
    return round(time.monotonic() - started, 3)
