"""A Python process for what can be seen only in a fresh one: imports, and settings of the whole process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"


def run_python(code: str, *path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code with folders `path` first on Python's path, and with variables added to the environment."""
    python_path = os.pathsep.join(map(str, (*path, SOURCE)))
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": python_path, **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
