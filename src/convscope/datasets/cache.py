"""The cache of decoded images: a uint8 file with an index beside it, in a folder that is named by a fingerprint.

The fingerprint is of the files (path, size, times) and of how they are decoded, so a changed image makes another cache.
The index holds which images are near duplicates too. A cache is written beside its place and renamed into it: a build
that is killed leaves a hidden folder, which is never read, and which the next build on the same machine removes.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL

from convscope.datasets.near_duplicates.perceptual_hash import group_near_duplicates, perceptual_hashes
from convscope.errors import CacheError, RunError
from convscope.files import hash_file, read_json, read_table, remove_leftovers, staged_folder, write_json, write_table
from convscope.images.decoder_pool import InputSpec, decode_files
from convscope.images.image_reader import READING_VERSION
from convscope.progress import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 2  # increase it also when other images are found to be near duplicates
SPARE_BYTES = 256 * 1024**2  # that a build leaves free on the disk
WRITE_BYTES = 4 * 1024**2  # of the buffer that pixels are written through
PIXELS, INDEX, FACTS = "images.uint8", "index.csv", "cache.json"
COLUMNS = ("sha256", "reason", "group")
HASH_BATCH = 32  # images; one by one takes three times as long


@dataclass(frozen=True, slots=True)
class Cache:
    """Decoded images, one row per file.

    Attributes:
        path: the folder of the cache.
        images: (files, size, size, channels) uint8, a read-only memory map; all zeros for a refused file.
        sha256: of each file's content; "" if it could not be read.
        reasons: why each file was refused; "" if it was not.
        groups: 16 hexadecimal digits that an image shares with its copies and near duplicates, and with no other
            image; those that its SHA-256 begins with, where it has none or was refused.
    """

    path: Path
    images: NDArray[np.uint8]
    sha256: tuple[str, ...]
    reasons: tuple[str, ...]
    groups: tuple[str, ...]


def cache_folder(chosen: Path | None = None) -> Path:
    """The folder of all caches: `chosen`, else `CONVSCOPE_CACHE`, else `~/.cache/convscope`."""
    if chosen is not None:
        return chosen
    if configured := os.environ.get("CONVSCOPE_CACHE"):
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "convscope"


def open_cache(root: Path, paths: Sequence[str], spec: InputSpec, *, folder: Path | None = None) -> Cache:
    """The decoded images of `root/path` for each path; decoded now, on all cores, if they are not in a cache yet.

    Args:
        root: the folder of the images.
        paths: relative to `root`.
        spec: what every image is decoded to.
        folder: of all caches, as of `cache_folder`.

    Raises:
        CacheError: the cache cannot be written or read: no space, no permission.
    """
    parent = cache_folder(folder)
    path = parent / f"images-{fingerprint(root, paths, spec)}"
    with explain_os_errors(parent):
        return _read(path, len(paths), spec) or _build(path, root, paths, spec)


def list_caches(folder: Path | None = None) -> list[tuple[str, int, int]]:
    """The name, the number of images and the bytes on disk of every cache; a damaged one has 0 images.

    Raises:
        CacheError: the folder cannot be read.
    """
    parent = cache_folder(folder)
    with explain_os_errors(parent):
        paths = sorted(path for path in parent.glob("images-*") if path.is_dir())
        return [(path.name, _count_images(path), _disk_bytes(path)) for path in paths]


def clear_caches(folder: Path | None = None) -> int:
    """Remove every cache and every unfinished build; returns the bytes freed.

    Raises:
        CacheError: the folder cannot be read.
    """
    parent = cache_folder(folder)
    with explain_os_errors(parent):
        paths = [*parent.glob("images-*"), *parent.glob(".images-*.part")]
        num_bytes = sum(_disk_bytes(path) for path in paths)
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
    return num_bytes


def fingerprint(root: Path, paths: Sequence[str], spec: InputSpec) -> str:
    """20 hexadecimal digits that change when a file changes, or how it is decoded."""
    # `Square` is how the first version of this format wrote an InputSpec: other bytes would lose every cache
    decoding = f"Square(size={spec.size!r}, fit={spec.fit!r}, channels={spec.channels!r})"
    head = f"{FORMAT} {READING_VERSION} {PIL.__version__} {decoding} {os.path.realpath(root)}"
    digest = hashlib.sha256(head.encode("utf-8", "surrogateescape"))
    for path in paths:
        try:
            status = os.stat(os.path.join(root, path))  # making a Path takes longer than this
            state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        except (OSError, ValueError):
            state = "unreadable"
        digest.update(f"\0{path}\0{state}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:20]


@contextmanager
def explain_os_errors(folder: Path) -> Iterator[None]:
    """Raise an `OSError` of the block, which reads and writes in `folder`, as a `CacheError`."""
    try:
        yield
    except OSError as error:
        raise CacheError(
            found=f"the cache in {folder} cannot be read or written: {error.strerror or error}",
            expected="a folder with free space, and the permission to write to it",
            fix="choose another `cache`, or set CONVSCOPE_CACHE",
        ) from None


def _build(path: Path, root: Path, paths: Sequence[str], spec: InputSpec) -> Cache:
    """Decode into a folder beside `path` and rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)  # they may be what fills the disk
    _check_space(path.parent, len(paths) * spec.num_bytes)
    # another process may finish the same cache first; the one that exists may also be damaged
    with staged_folder(path, keep_existing=lambda: _read(path, len(paths), spec) is not None) as staged:
        rows = _decode_into(staged / PIXELS, root, paths, spec)
        groups = _group(_map(staged / PIXELS, len(paths), spec), rows)
        write_table(staged / INDEX, COLUMNS, [(*row[:2], group) for row, group in zip(rows, groups, strict=True)])
        facts = {"images": len(paths), "shape": spec.shape, "root": str(root), "index": hash_file(staged / INDEX)}
        write_json(staged / FACTS, {"format": FORMAT, **facts})
    cache = _read(path, len(paths), spec)
    if cache is None:
        raise OSError(f"{path} was damaged while it was opened")
    return cache


def _decode_into(file: Path, root: Path, paths: Sequence[str], spec: InputSpec) -> list[tuple[str, str, np.uint64]]:
    """Write the pixels of every file in order; returns each one's SHA-256, reason, and perceptual hash."""
    rows: list[tuple[str, str, np.uint64]] = []
    zeros = np.zeros(spec.shape, np.uint8)
    with file.open("wb", WRITE_BYTES) as pixels, progress("decoding images", len(paths), unit="images") as bar:
        decoded = decode_files((root / path for path in paths), spec)
        while batch := list(itertools.islice(decoded, HASH_BATCH)):
            images = np.stack([zeros if file.image is None else file.image for file in batch])
            # plain writes: on a full disk they raise, where a memory map would end the process with SIGBUS
            pixels.write(images.data)
            hashes = perceptual_hashes(images)
            rows += [(file.sha256, file.reason, hash) for file, hash in zip(batch, hashes, strict=True)]
            bar.advance(len(batch))
        pixels.flush()
        os.fsync(pixels.fileno())
    return rows


def _group(images: NDArray[np.uint8], rows: Sequence[tuple[str, str, np.uint64]]) -> list[str]:
    """The group of every image; a refused one is alone in its group."""
    names = ["" if reason else sha256[:16] for sha256, reason, _ in rows]
    groups = group_near_duplicates(images, np.array([hash for *_, hash in rows], np.uint64), names)
    return [group or sha256[:16] for group, (sha256, *_) in zip(groups, rows, strict=True)]


def _map(file: Path, num_files: int, spec: InputSpec) -> NDArray[np.uint8]:
    return np.memmap(file, np.uint8, mode="r", shape=(num_files, *spec.shape))


def _read(path: Path, num_files: int, spec: InputSpec) -> Cache | None:
    """The cache in `path`; None where there is none, or it is damaged."""
    try:
        if read_json(path / FACTS, format=FORMAT)["index"] != hash_file(path / INDEX):
            return None
        if (path / PIXELS).stat().st_size != num_files * spec.num_bytes:
            return None
        index = read_table(path / INDEX)
        sha256, reasons, groups = (tuple(row[column] for row in index) for column in COLUMNS)
        images = _map(path / PIXELS, num_files, spec)
    except (RunError, OSError, KeyError):
        return None
    return Cache(path, images, sha256, reasons, groups)


def _check_space(folder: Path, num_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < num_bytes + SPARE_BYTES:
        raise CacheError(
            found=f"{free_bytes / 1e9:.1f} GB free in {folder}",
            expected=f"{(num_bytes + SPARE_BYTES) / 1e9:.1f} GB for the decoded images",
            fix="free disk space, choose another `cache`, or a smaller `image_size`",
        )


def _count_images(path: Path) -> int:
    try:
        return int(read_json(path / FACTS, format=FORMAT)["images"])
    except (RunError, KeyError, TypeError, ValueError):
        return 0


def _disk_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
