"""Child processes of tests: the command line and Python code, started in any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1] / "src"
TIMEOUT_SECONDS = 200


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str


Command = Callable[..., CommandResult]


def environment(*, path: Sequence[Path] = (), **variables: str) -> dict[str, str]:
    """The environment of a child process that can import convscope, and before it from the folders `path`."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, SOURCE))), **variables}


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start `convscope ARGUMENTS...` in a new process, in a new process group, as in a terminal."""
    program = [sys.executable, "-m", "convscope", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(program, text=True, start_new_session=True, env=environment(), **pipes | options)


def finish(child: subprocess.Popen[str]) -> CommandResult:
    """Wait for a process to end."""
    out, err = child.communicate(timeout=TIMEOUT_SECONDS)
    return CommandResult(child.returncode, out, err)


def start_python(
    code: str, *arguments: object, path: Sequence[Path] = (), folder: Path | None = None, **variables: str
) -> subprocess.Popen[str]:
    """Start code in a new Python process; the parameters are those of `run_python`."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=environment(path=path, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(
    code: str, *arguments: object, path: Sequence[Path] = (), folder: Path | None = None, **variables: str
) -> CommandResult:
    """Run code in a new Python process, to its end.

    Args:
        code: the program.
        arguments: its `sys.argv[1:]`.
        path: folders from which it can import, before all others.
        folder: its working folder.
        variables: added to its environment.
    """
    return finish(start_python(code, *arguments, path=path, folder=folder, **variables))


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_ended(*pids: int) -> bool:
    """Whether these processes end within 20 seconds."""
    deadline = time.monotonic() + 20
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(is_running, pids))
