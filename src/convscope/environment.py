"""The environment of a run: available cores, versions of libraries, machine, and how the program is called."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

FORMAT = 1
LIBRARIES = ("convscope", "numpy", "pillow", "onnxruntime", "keras", "tensorflow", "tensorflow-cpu", "tf2onnx", "onnx")


def describe_environment(data: Path) -> dict[str, Any]:
    """What a run depends on besides its recipe, for environment.json.

    Args:
        data: the folder of the images.
    """
    return {
        "format": FORMAT,
        "data": str(data.absolute()),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": available_cores(),
        "libraries": library_versions(),
    }


def program_name() -> str:
    """What a user types here for `convscope`, quoted for a shell: its path, if the shell does not find its name."""
    program = sys.argv[0]
    return "convscope" if shutil.which("convscope") or Path(program).name != "convscope" else shlex.quote(program)


def available_cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def library_versions() -> dict[str, str]:
    """The versions of the installed libraries that a model's output depends on, by name."""
    return dict(_versions())


def _versions() -> Iterator[tuple[str, str]]:
    for name in LIBRARIES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
