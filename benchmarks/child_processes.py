"""Child processes of the benchmark: start one, read its messages, and end it and everything that it started.

Each has its own imports, thread settings and peak memory; what it prints goes to a log file.
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

from competitors.protocol import Task, peak_bytes

HERE = Path(__file__).resolve().parent
SAMPLE_SECONDS = 1.0  # between two readings of the memory of a child's own children
GRACE_SECONDS = 5.0  # after SIGTERM, before SIGKILL
TAIL_LINES = 12  # of a failed child's log

# each library keeps its default threads; all stay on the CPU, without log output
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}

Message = dict[str, Any]


class ChildFailed(Exception):
    """A child process failed; the text has the end of its log."""


@dataclass(slots=True)
class ChildResult:
    """The messages of a child by kind, in order, and the peak memory of its own children together."""

    messages: dict[str, list[Message]] = field(default_factory=dict)
    children_peak_bytes: int = 0

    @property
    def memory(self) -> dict[str, int]:
        """Peaks of resident memory in bytes, of the child and of its own children."""
        return {**self.first("end"), "children_peak_bytes": self.children_peak_bytes}

    def first(self, kind: str) -> Message:
        """The first message of a kind."""
        return self.messages[kind][0]


def run_child(name: str, task: Task, *, log: Path, on_message: Callable[[Message | None], None]) -> ChildResult:
    """Run `competitors.NAME` on a task.

    Args:
        name: the module.
        task: its input.
        log: the file for what it prints.
        on_message: called with each message as it comes, and with None about once a second without one.

    Raises:
        ChildFailed: its exit code was not 0.
    """
    result = ChildResult()
    with log.open("wb") as output, _running_child(name, task, output) as (process, pipe):
        for message in _read_messages(process, pipe, result):
            on_message(message)
            if message is not None:
                result.messages.setdefault(message.pop("kind"), []).append(message)
    if process.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        raise ChildFailed(f"competitors.{name} ended with {process.returncode}:\n" + "\n".join(tail))
    return result


@contextmanager
def _running_child(name: str, task: Task, output: Any) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A child process and the reading end of its pipe; the process has ended when the block ends."""
    reading, writing = os.pipe()
    task_json = replace(task, started=time.monotonic()).to_json()
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", f"competitors.{name}", task_json, str(writing)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[writing],
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
            process_group=0,  # Ctrl-C reaches the parent only, which ends the child and all that it started
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


def _read_messages(process: subprocess.Popen[bytes], pipe: int, result: ChildResult) -> Iterator[Message | None]:
    """A child's messages as they come, and None after each second without one, until it closes the pipe."""
    rest = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], SAMPLE_SECONDS)
        children_bytes = sum(peak_bytes(child) for child in _list_children(process.pid))
        result.children_peak_bytes = max(result.children_peak_bytes, children_bytes)
        if not ready:
            yield None
            continue
        data = os.read(pipe, 1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from (json.loads(line) for line in lines)


def _list_children(process: int) -> list[int]:
    """The running child processes of a process, of all its threads."""
    try:
        files = list(Path(f"/proc/{process}/task").glob("*/children"))
        return [int(child) for file in files for child in file.read_text(encoding="utf-8").split()]
    except OSError:
        return []


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a child and its process group."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signal_number)
        except ProcessLookupError:
            break
        except PermissionError:  # macOS, of a group that is ending
            break
        try:
            process.wait(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
