"""An unprivileged user, for tests of permissions: root, who often runs tests, may read and write everything."""

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
class UnprivilegedUser:
    """`folder` is one that everybody may list; within `impersonate()` permissions are checked, for root too."""

    folder: Path

    @contextmanager
    def impersonate(self) -> Iterator[None]:
        """Run the block as the unprivileged user."""
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            if is_root:
                os.seteuid(0)


@contextmanager
def create_unprivileged_user() -> Iterator[UnprivilegedUser]:
    """An unprivileged user with a folder, which is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="convscope-tests-"))  # pytest's folders are closed to other users
    folder.chmod(0o755)
    try:
        yield UnprivilegedUser(folder)
    finally:
        for inner, _, _ in os.walk(folder):  # from the top, so that each folder is readable before it is listed
            os.chmod(inner, 0o755)
            for entry in os.scandir(inner):
                if entry.is_dir(follow_symlinks=False):
                    os.chmod(entry.path, 0o755)
        shutil.rmtree(folder)
