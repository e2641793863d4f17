"""The command line, as tests use it: words in; exit code, standard output and standard error out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]
SOURCE = Path(__file__).parents[1] / "src"


def environment(**changes: str) -> dict[str, str]:
    """The environment of a child process, which finds convscope from every folder."""
    return {**os.environ, "PYTHONPATH": str(SOURCE), **changes}


def start(*words: object, **options: Any) -> subprocess.Popen[str]:
    """Start `convscope WORDS...` in a new process, in a new process group, as in a terminal."""
    program = [sys.executable, "-m", "convscope", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(program, text=True, start_new_session=True, env=environment(), **pipes | options)


def finish(child: subprocess.Popen[str]) -> Ended:
    """Wait for a process to end."""
    out, err = child.communicate(timeout=200)
    return Ended(child.returncode, out, err)
