"""Why a model or an export cannot be written: causes on the user's side, as errors of convscope."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convscope.errors import BundleError, ExportError

WRITE_ERRORS = {
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS"),  # no permission
        *("ENOSPC", "EDQUOT", "EFBIG"),  # no space
        *("ENOTDIR", "EISDIR", "ENAMETOOLONG", "ELOOP"),  # no such place
    )
    if hasattr(errno, name)
}


@contextmanager
def known_write_errors(folder: Path, error_class: type[BundleError] | type[ExportError]) -> Iterator[None]:
    """Raise what keeps the block from writing to `folder` as an `error_class`.

    Raises:
        BundleError, ExportError: there is no permission, no space, or no such place.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in WRITE_ERRORS:
            raise
        raise error_class(
            found=f"{folder} cannot be written: {error.strerror}",
            expected="a folder that convscope may write to, on a disk with free space",
            fix="free disk space, or choose another folder",
        ) from None
