"""Every image decoded once, into one uint8 file with an index beside it, named by what went into it.

The name is a fingerprint of the files (path, size, times) and of the decoding, so a changed image makes another cache.
A cache appears by one rename when it is whole: a killed build leaves a folder that starts with a dot, which nobody
reads and the next build removes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL

from convscope.data.decoding import Decoded, Square, decode_files
from convscope.data.image import READING
from convscope.errors import CacheError, RunError
from convscope.run import read_json, read_table, sync_folder, write_json, write_table
from convscope.terminal import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
SPARE_BYTES = 256 * 1024**2  # what a build leaves free on the disk
FLUSH_IMAGES = 1024
PIXELS, INDEX, FACTS = "images.uint8", "index.csv", "cache.json"


@dataclass(frozen=True, slots=True)
class Cache:
    """Decoded images: row i of `images` is file i, all zeros where `reasons[i]` says why it was refused.

    `images`: (files, size, size, channels) uint8, read-only memory map; `sha256[i]`: the file's content, "" if unread.
    """

    path: Path
    images: NDArray[np.uint8]
    sha256: tuple[str, ...]
    reasons: tuple[str, ...]


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
    if not (place / FACTS).is_file():
        with _report_disk(base):
            _build(place, root, paths, square)
    try:
        return _open(place, len(paths), square)
    except (RunError, OSError, ValueError, KeyError):  # damaged from outside: it can always be made again
        shutil.rmtree(place, ignore_errors=True)
        with _report_disk(base):
            _build(place, root, paths, square)
        return _open(place, len(paths), square)


def list_caches(folder: Path | None = None) -> list[tuple[str, int, int]]:
    """The name, the number of images and the bytes on disk of every whole cache."""
    found = sorted(cache_folder(folder).glob(f"images-*/{FACTS}"))
    return [(file.parent.name, int(read_json(file)["images"]), _disk_bytes(file.parent)) for file in found]


def clear_caches(folder: Path | None = None) -> int:
    """Remove every cache and every unfinished build; returns the bytes set free."""
    base = cache_folder(folder)
    places = [*base.glob("images-*"), *base.glob(".building-*")]
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
            found = os.stat(root / path)
            facts = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
        except (OSError, ValueError):
            facts = "unreadable"
        digest.update(f"\0{path}\0{facts}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:20]


def _build(place: Path, root: Path, paths: Sequence[str], square: Square) -> None:
    """Decode beside the place and rename into it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    _sweep(place.parent)
    _check_room(place.parent, len(paths) * square.num_bytes)
    part = place.with_name(f".building-{os.getpid()}-{place.name}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        rows = _decode_into(part / PIXELS, root, paths, square)
        write_table(part / INDEX, ("sha256", "reason"), rows)
        write_json(part / FACTS, {"format": FORMAT, "images": len(paths), "shape": square.shape, "root": str(root)})
        try:
            part.rename(place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another process finished the same cache first
                raise
        sync_folder(place.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _decode_into(file: Path, root: Path, paths: Sequence[str], square: Square) -> list[tuple[str, str]]:
    """Write the pixels of every file in order; returns each one's hash and reason."""
    rows: list[tuple[str, str]] = []
    with file.open("wb", buffering=0) as pixels, progress("decoding images", len(paths), unit="images") as bar:
        for batch in _batches(decode_files((root / path for path in paths), square)):
            # plain writes: on a full disk they raise, where a memory map would end the process with SIGBUS
            pixels.write(
                b"".join(bytes(square.num_bytes) if each.image is None else each.image.tobytes() for each in batch)
            )
            rows += [(each.sha256, each.reason) for each in batch]
            bar.advance(len(batch))
        os.fsync(pixels.fileno())
    return rows


def _batches(decoded: Iterator[Decoded]) -> Iterator[list[Decoded]]:
    batch: list[Decoded] = []
    for each in decoded:
        batch.append(each)
        if len(batch) == FLUSH_IMAGES:
            yield batch
            batch = []
    if batch:
        yield batch


def _open(place: Path, num_files: int, square: Square) -> Cache:
    index = read_table(place / INDEX)
    if len(index) != num_files or (place / PIXELS).stat().st_size != num_files * square.num_bytes:
        raise ValueError(f"{place} is damaged")
    images = np.memmap(place / PIXELS, np.uint8, mode="r", shape=(num_files, *square.shape))
    return Cache(place, images, tuple(row["sha256"] for row in index), tuple(row["reason"] for row in index))


def _check_room(base: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(base).free
    if free < num_bytes + SPARE_BYTES:
        raise CacheError(
            found=f"{free / 1e9:.1f} GB free in {base}",
            expected=f"{(num_bytes + SPARE_BYTES) / 1e9:.1f} GB for the decoded images",
            fix="make room, choose another disk with --cache, or a smaller --image-size",
        )


def _sweep(base: Path) -> None:
    """Remove what builds that were killed left behind."""
    for place in base.glob(".building-*"):
        process = place.name.split("-")[1]
        if not process.isdecimal() or not _is_running(int(process)):
            shutil.rmtree(place, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


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
