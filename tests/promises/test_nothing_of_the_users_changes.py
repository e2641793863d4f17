"""The promise: the user's folder of images is only read, never changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from sample_images import draw, refused_files, tagged, write_folder
from unprivileged_user import UnprivilegedUser

from convscope.datasets.dataset import open_dataset, write_samples
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.run import new_run

RECIPE = resolve(Recipe(network="classic", image_size=8, filters=(4,), max_refused=1.0))


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder: type, permissions, owner, links, size, times, and content or target."""
    entries = {}
    for folder, folders, files in os.walk(root):
        for path in (Path(folder), *(Path(folder, name) for name in files + folders)):
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else "" if path.is_dir() else sha256(path)
            times = (status.st_mtime_ns, status.st_ctime_ns)  # reading may change the access time
            entries[str(path)] = (
                status.st_mode,
                status.st_uid,
                status.st_ino,
                status.st_nlink,
                status.st_size,
                times,
                content,
            )
    return entries


def sha256(file: Path) -> str:
    """The hash of a file's bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with all that a program might change: unreadable, rotated, hidden, linked files, empty folders."""
    root = write_folder(tmp_path / "data" / "photos", ("disc", "ring"), per_class=6, size=16)
    for name, (content, _) in refused_files().items():
        (root / "ring" / name).write_bytes(content)
    (root / "disc" / "turned.jpg").write_bytes(tagged(draw("bar", 16, 0), 6))
    (root / "disc" / "wrong.png").write_bytes(tagged(draw("bar", 16, 1), 3))
    (root / "disc" / "copy.png").write_bytes((root / "disc" / "000.png").read_bytes())
    (root / "disc" / "link.png").symlink_to("001.png")
    (root / "disc" / "broken.png").symlink_to("gone.png")
    (root / "disc" / "up").symlink_to("..")
    (root / ".hidden").mkdir()
    (root / "empty").mkdir()
    (root / "Thumbs.db").write_bytes(b"x")
    return root


def test_reading_a_folder_changes_nothing_in_it(data: Path, tmp_path: Path) -> None:
    """Listing, decoding, splitting and writing the result change no name, byte, permission or time."""
    before = snapshot(data.parent)
    dataset = open_dataset(data, RECIPE, cache=tmp_path / "cache")
    open_dataset(data, RECIPE, cache=tmp_path / "cache")
    run = new_run(tmp_path / "run", recipe=RECIPE, data=data)
    write_samples(run.data_file, dataset.samples)
    assert len(dataset.refused) == len(refused_files()) + 1
    assert snapshot(data.parent) == before


def test_reading_a_manifest_changes_nothing_beside_it(data: Path, tmp_path: Path) -> None:
    """The folder of a CSV manifest is only read, too."""
    lines = ["path,label", *(f"photos/{label}/{n:03d}.png,{label}" for label in ("disc", "ring") for n in range(6))]
    (data.parent / "images.csv").write_text("\n".join(lines), encoding="utf-8")
    before = snapshot(data.parent)
    assert len(open_dataset(data.parent / "images.csv", RECIPE, cache=tmp_path / "cache").samples) == 12
    assert snapshot(data.parent) == before


def test_read_only_folder_is_enough(unprivileged_user: UnprivilegedUser) -> None:
    """Images that may be read and not written, as on a read-only disk, are read like all others."""
    data, cache = (
        write_folder(unprivileged_user.folder / "photos", per_class=4, size=8),
        unprivileged_user.folder / "cache",
    )
    cache.mkdir()
    cache.chmod(0o777)
    for folder in (*data.iterdir(), data):
        folder.chmod(0o555)
    with unprivileged_user.impersonate():
        with pytest.raises(PermissionError):
            (data / "disc" / "new.png").touch()
        assert len(open_dataset(data, RECIPE, cache=cache).rows("train")) > 5
