"""files.py: what keeps the user from writing is an error of convscope; every other OSError stays as it is."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from unprivileged_user import UnprivilegedUser

from convscope.errors import BundleError, ExportError
from convscope.files import explain_write_errors, staged_folder, write_atomic


def write(folder: Path, error_class: type[BundleError] | type[ExportError]) -> None:
    """Write 5,000 bytes as `write_bundle` and `export` write their files."""
    with explain_write_errors(folder, error_class), staged_folder(folder) as staged:
        write_atomic(staged / "file", bytes(5000))


@pytest.mark.parametrize("error_class", [BundleError, ExportError])
def test_folder_without_permission(
    unprivileged_user: UnprivilegedUser, error_class: type[BundleError] | type[ExportError]
) -> None:
    """The error names the folder and the reason of the system."""
    folder = unprivileged_user.folder / "model"
    with unprivileged_user.impersonate(), pytest.raises(error_class) as caught:
        write(folder, error_class)
    assert caught.value.found == f"{folder} cannot be written: Permission denied"


def test_file_in_place_of_a_folder(tmp_path: Path) -> None:
    """A path below a file is an error, not a bug."""
    (tmp_path / "file").write_text("mine")
    folder = tmp_path / "file" / "model"
    with pytest.raises(ExportError, match="Not a directory"):
        write(folder, ExportError)


def test_full_disk(tmp_path: Path) -> None:
    """A file larger than the system allows, in place of a full disk: an error; no file is left."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, unlimited[1]))
    try:
        with pytest.raises(BundleError, match="cannot be written: File too large"):
            write(tmp_path / "model", BundleError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert list(tmp_path.iterdir()) == []


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    """A file that convscope forgot to write is a bug, and shows as one."""
    with pytest.raises(FileNotFoundError), explain_write_errors(tmp_path, ExportError):
        (tmp_path / "missing").read_bytes()
