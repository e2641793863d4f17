"""Failed writes as errors that the user can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convscope.errors import RunError


@contextmanager
def explain_write_errors(
    path: Path | str, *, fix: str = "check the permissions and the free space, or choose another `out`"
) -> Iterator[None]:
    """Turn an OSError of the block into a RunError; a closed pipe (BrokenPipeError) passes.

    Args:
        path: what the block writes, named if the system does not say which file failed.
        fix: what the user can do.

    Raises:
        RunError: no permission, no space, a read-only file system, a path that cannot exist.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunError(
            found=f"{error.filename or path} cannot be written: {error.strerror or error}",
            expected="a path with permission and space to write",
            fix=fix,
        ) from None
