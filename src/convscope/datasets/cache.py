"""Every image decoded once, into one uint8 file with an index beside it, named by what went into it.

Which images are near duplicates of each other is found then too, and stands in the index.

The name is a fingerprint of the files (path, size, times) and of the decoding, so a changed image makes another cache.
A cache appears by one rename when it is whole: a killed build leaves a folder that starts with a dot, which nobody
reads and the next build on the same machine removes.
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

from convscope.datasets.near_duplicates.perceptual_hash import near_groups, perceptual_hashes
from convscope.errors import CacheError, RunError
from convscope.files import hash_file, read_json, read_table, remove_leftovers, staged_folder, write_json, write_table
from convscope.images.decoding import Square, decode_files
from convscope.images.reading import READING
from convscope.progress import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 2  # to be counted up when other images are taken for near duplicates, too
SPARE_BYTES = 256 * 1024**2  # what a build leaves free on the disk
WRITE_BYTES = 4 * 1024**2  # pixels are written in pieces of this size
PIXELS, INDEX, FACTS = "images.uint8", "index.csv", "cache.json"
COLUMNS = ("sha256", "reason", "group")
HASHED_AT_ONCE = 32  # images; one by one takes three times as long


@dataclass(frozen=True, slots=True)
class Cache:
    """Decoded images: row i of `images` is file i, all zeros where `reasons[i]` says why it was refused.

    `images`: (files, size, size, channels) uint8, read-only memory map; `sha256[i]`: the file's content, "" if unread;
    `groups[i]`: 16 digits that it shares with its copies and near duplicates, and with no other image; its own
    SHA-256 begins with them if it has none, or was refused.
    """

    path: Path
    images: NDArray[np.uint8]
    sha256: tuple[str, ...]
    reasons: tuple[str, ...]
    groups: tuple[str, ...]


def cache_folder(chosen: Path | None = None) -> Path:
    """Where caches live: `chosen`, else `CONVSCOPE_CACHE`, else `~/.cache/convscope`."""
    if chosen is not None:
        return chosen
    if told := os.environ.get("CONVSCOPE_CACHE"):
        return Path(told)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "convscope"


def open_cache(root: Path, paths: Sequence[str], square: Square, *, folder: Path | None = None) -> Cache:
    """The decoded images of `root/path` for each path; decoded now, on all cores, if they were not before.

    Raises:
        CacheError: there is no room or no permission for it.
    """
    base = cache_folder(folder)
    place = base / f"images-{fingerprint(root, paths, square)}"
    with _report_disk(base):
        return _open(place, len(paths), square) or _build(place, root, paths, square)


def list_caches(folder: Path | None = None) -> list[tuple[str, int, int]]:
    """The name, the number of images and the bytes on disk of every cache; a damaged one has no images."""
    places = sorted(place for place in cache_folder(folder).glob("images-*") if place.is_dir())
    return [(place.name, _count_images(place), _disk_bytes(place)) for place in places]


def clear_caches(folder: Path | None = None) -> int:
    """Remove every cache and every unfinished build; returns the bytes set free."""
    base = cache_folder(folder)
    places = [*base.glob("images-*"), *base.glob(".images-*.part")]
    freed = sum(_disk_bytes(place) for place in places)
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
    return freed


def fingerprint(root: Path, paths: Sequence[str], square: Square) -> str:
    """20 hexadecimal digits that change when a file or the decoding does."""
    digest = hashlib.sha256(
        f"{FORMAT} {READING} {PIL.__version__} {square} {os.path.realpath(root)}".encode("utf-8", "surrogateescape")
    )
    for path in paths:
        try:
            found = os.stat(os.path.join(root, path))  # a Path for each would take longer than to look
            facts = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
        except (OSError, ValueError):
            facts = "unreadable"
        digest.update(f"\0{path}\0{facts}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:20]


def _build(place: Path, root: Path, paths: Sequence[str], square: Square) -> Cache:
    """Decode beside the place and rename into it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(place.parent)  # they may be what fills the disk
    _check_room(place.parent, len(paths) * square.num_bytes)
    # another process may finish the same cache first; what stands there may also be damaged
    with staged_folder(place, keep_existing=lambda: _open(place, len(paths), square) is not None) as staged:
        rows = _decode_into(staged / PIXELS, root, paths, square)
        groups = _group(_map(staged / PIXELS, len(paths), square), rows)
        write_table(staged / INDEX, COLUMNS, [(*row[:2], group) for row, group in zip(rows, groups, strict=True)])
        facts = {"images": len(paths), "shape": square.shape, "root": str(root), "index": hash_file(staged / INDEX)}
        write_json(staged / FACTS, {"format": FORMAT, **facts})
    cache = _open(place, len(paths), square)
    if cache is None:
        raise OSError(f"{place} was damaged while it was opened")
    return cache


def _decode_into(file: Path, root: Path, paths: Sequence[str], square: Square) -> list[tuple[str, str, np.uint64]]:
    """Write the pixels of every file in order; returns each one's SHA-256, reason, and perceptual hash."""
    rows: list[tuple[str, str, np.uint64]] = []
    nothing = np.zeros(square.shape, np.uint8)
    with file.open("wb", WRITE_BYTES) as pixels, progress("decoding images", len(paths), unit="images") as bar:
        decoded = decode_files((root / path for path in paths), square)
        while some := list(itertools.islice(decoded, HASHED_AT_ONCE)):
            images = np.stack([nothing if each.image is None else each.image for each in some])
            # plain writes: on a full disk they raise, where a memory map would end the process with SIGBUS
            pixels.write(images.data)
            hashes = perceptual_hashes(images)
            rows += [(each.sha256, each.reason, hash) for each, hash in zip(some, hashes, strict=True)]
            bar.advance(len(some))
        pixels.flush()
        os.fsync(pixels.fileno())
    return rows


def _group(images: NDArray[np.uint8], rows: Sequence[tuple[str, str, np.uint64]]) -> list[str]:
    """The group of every image; a refused one is in none but its own."""
    names = ["" if reason else sha256[:16] for sha256, reason, _ in rows]
    found = near_groups(images, np.array([hash for *_, hash in rows], np.uint64), names)
    return [group or sha256[:16] for group, (sha256, *_) in zip(found, rows, strict=True)]


def _map(file: Path, num_files: int, square: Square) -> NDArray[np.uint8]:
    return np.memmap(file, np.uint8, mode="r", shape=(num_files, *square.shape))


def _open(place: Path, num_files: int, square: Square) -> Cache | None:
    """The cache in `place`; None where there is none, or not a whole one."""
    try:
        if read_json(place / FACTS, format=FORMAT)["index"] != hash_file(place / INDEX):
            return None
        if (place / PIXELS).stat().st_size != num_files * square.num_bytes:
            return None
        index = read_table(place / INDEX)
        sha256, reasons, groups = (tuple(row[column] for row in index) for column in COLUMNS)
        images = _map(place / PIXELS, num_files, square)
    except (RunError, OSError, KeyError):
        return None
    return Cache(place, images, sha256, reasons, groups)


def _check_room(base: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(base).free
    if free < num_bytes + SPARE_BYTES:
        raise CacheError(
            found=f"{free / 1e9:.1f} GB free in {base}",
            expected=f"{(num_bytes + SPARE_BYTES) / 1e9:.1f} GB for the decoded images",
            fix="make room, choose another disk with --cache, or a smaller --image-size",
        )


def _count_images(place: Path) -> int:
    try:
        return int(read_json(place / FACTS, format=FORMAT)["images"])
    except (RunError, KeyError, TypeError, ValueError):
        return 0


def _disk_bytes(place: Path) -> int:
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())


@contextmanager
def _report_disk(base: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CacheError(
            found=f"the cache in {base} cannot be written: {error.strerror or error}",
            expected="a folder with room that convscope may write to",
            fix="choose another with --cache, or set CONVSCOPE_CACHE",
        ) from None
