"""Child processes of a benchmark: started, followed by their lines of JSON, and ended with it.

Each has its own imports, thread settings and peak of memory; what it prints goes to a file.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from contenders.child import Task, peak_bytes

HERE = Path(__file__).resolve().parent
SAMPLE_SECONDS = 1.0  # between two looks at a child's memory
GRACE_SECONDS = 5.0  # until a child that was asked to end is killed
TAIL_LINES = 12  # of what a failed child printed

# each library is left to its own threads; all stay on the CPU, and quiet
SETTINGS = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}


class ChildFailed(Exception):
    """A child ended badly; says what it printed last."""


@dataclass(slots=True)
class Told:
    """What a child told: its lines by kind, in order; and the most memory that its own children had together."""

    lines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    children_peak_bytes: int = 0

    @property
    def memory(self) -> dict[str, int]:
        """Peaks of resident memory in bytes, of the child and of its own children."""
        return {**self.only("end"), "children_peak_bytes": self.children_peak_bytes}

    def only(self, kind: str) -> dict[str, Any]:
        """The first line of a kind."""
        return self.lines[kind][0]


def run_child(name: str, task: Task, *, log: Path, watch: Callable[[dict[str, Any] | None], None]) -> Told:
    """Run `contenders.NAME` on a task; `watch` gets each line as it comes, and None about once a second.

    Raises:
        ChildFailed: it did not end well.
    """
    told = Told()
    with log.open("wb") as output, _child(name, task, output) as (process, pipe):
        for line in _lines(process, pipe, told):
            watch(line)
            if line is not None:
                told.lines.setdefault(line.pop("kind"), []).append(line)
    if process.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        raise ChildFailed(f"contenders.{name} ended with {process.returncode}:\n" + "\n".join(tail))
    return told


@contextmanager
def _child(name: str, task: Task, output: Any) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A running child and the end of the pipe that it answers into; whatever happens, it does not outlive the block."""
    reading, writing = os.pipe()
    told = replace(task, started=time.monotonic()).to_json()
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", f"contenders.{name}", told, str(writing)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[writing],
            env={**os.environ, **SETTINGS, "PYTHONPATH": path},
            process_group=0,  # Ctrl-C is for the parent, which ends the child and all that it started
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        yield process, reading
        process.wait()
    finally:
        os.close(reading)
        _end(process)


def _lines(process: subprocess.Popen[bytes], pipe: int, told: Told) -> Iterator[dict[str, Any] | None]:
    """A child's lines as they come, and None whenever none came for a while, until it closes the pipe."""
    rest = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], SAMPLE_SECONDS)
        together = sum(peak_bytes(each) for each in _children(process.pid))
        told.children_peak_bytes = max(told.children_peak_bytes, together)
        if not ready:
            yield None
            continue
        data = os.read(pipe, 1 << 16)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        yield from (json.loads(line) for line in whole)


def _children(process: int) -> list[int]:
    """The processes that a process has started and that live, whichever of its threads did it."""
    try:
        files = list(Path(f"/proc/{process}/task").glob("*/children"))
        return [int(each) for file in files for each in file.read_text(encoding="utf-8").split()]
    except OSError:
        return []


def _end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that a child and its process group are gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        except PermissionError:  # macOS, of a group that is ending
            break
        try:
            process.wait(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
