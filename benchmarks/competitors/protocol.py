"""The child's side of the benchmark: its task, its messages to the parent, and its stopwatch.

A child gets its task as JSON in its arguments and sends lines of JSON into a pipe; what it prints is not read.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Job = Literal["train", "burst", "cost", "steps", "products"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The input of a child.

    Attributes:
        job: what to measure.
        data: the folder of photos; for training with train/<class>/ and validation/<class>/.
        started: `time.monotonic()` when the process was started.
        out, cache: folders for the run and for decoded images; convscope only.
        steps: training steps; in a burst without those that warm up.
        seconds: the longest time that a baseline trains, or the budget of convscope.
        seed: of the initial weights and the order of images.
        precision: for convscope, "" for its default; for products, the data type.
        sizes: of images in pixels, or of matrices.
        choices: fields of convscope's recipe that differ from their defaults.
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
    """Sends messages to the parent: lines of JSON, each with its kind."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")

    def send(self, kind: str, **values: Any) -> None:
        self._file.write(json.dumps({"kind": kind, **values}) + "\n")

    def send_point(self, *, seconds: float, step: int, images: int, accuracy: float) -> None:
        """Send a point of the learning curve: the accuracy on held-out photos after `seconds` of training."""
        self.send("point", seconds=round(seconds, 3), step=step, images=images, accuracy=accuracy)


class Stopwatch:
    """Seconds of training: starts at the end of the first step, and is paused during evaluations."""

    def __init__(self) -> None:
        self._resumed_at = time.monotonic()
        self._seconds_before = 0.0

    def read(self) -> float:
        return self._seconds_before + time.monotonic() - self._resumed_at

    def pause(self) -> float:
        """Stop counting; returns the seconds so far."""
        self._seconds_before = self.read()
        return self._seconds_before

    def resume(self) -> None:
        self._resumed_at = time.monotonic()


def run_task(jobs: dict[Job, Callable[[Task, Report], None]]) -> None:
    """Run the job that the command line names, then report the peak memory."""
    task = Task(**json.loads(sys.argv[1]))
    report = Report(int(sys.argv[2]))
    jobs[task.job](task, report)
    report.send("end", peak_bytes=peak_bytes("self"))


def peak_bytes(process: int | str) -> int:
    """The peak resident memory of a process; 0 if it has ended or the system does not report it."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def seconds_since(started: float) -> float:
    """Seconds since `started`, a value of `time.monotonic()` in any process of this machine."""
    return round(time.monotonic() - started, 3)
