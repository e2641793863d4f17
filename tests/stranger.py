"""Somebody whom permissions stop, which root is not: to meet what may not be read or written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534  # the user that owns nothing


@dataclass(frozen=True, slots=True)
class Stranger:
    """`folder` is one that everybody may look into; in `rights()` permissions hold, for root too."""

    folder: Path

    @contextmanager
    def rights(self) -> Iterator[None]:
        """Be the stranger for a while."""
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            if is_root:
                os.seteuid(0)


@contextmanager
def invite_stranger() -> Iterator[Stranger]:
    """A stranger with a folder, which is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="convscope-tests-"))  # pytest's own folders are closed to strangers
    folder.chmod(0o755)
    try:
        yield Stranger(folder)
    finally:
        for inner, _, _ in os.walk(folder):  # from the top, so that each can be opened when it is its turn
            os.chmod(inner, 0o755)
            for entry in os.scandir(inner):
                if entry.is_dir(follow_symlinks=False):
                    os.chmod(entry.path, 0o755)
        shutil.rmtree(folder)
