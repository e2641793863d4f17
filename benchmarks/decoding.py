"""How fast are photos decoded: in one thread, in threads, in a process pool without the pixels, and by convscope?

Writes docs/decisions/decoding.md. Each method decodes the same photos three times, in turns; a few minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from records import bullets, paragraph, record, table

from convscope.datasets.listing import list_folder
from convscope.environment import available_cores, describe_environment
from convscope.files import write_atomic
from convscope.images.decoder_pool import InputSpec, decode_file, decode_files

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "dogs-vs-cats"
PAGE = ROOT / "docs" / "decisions" / "decoding.md"
CHUNK_SIZE = 32
IMAGE_SIZE = 128


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--times", type=int, default=3, help="turns")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    paths = [options.data / item.path for item in list_folder(options.data).items[: options.images]]
    cores = available_cores()
    methods: dict[str, Callable[[list[Path]], int]] = {
        "one thread": decode_serially,
        f"{cores} threads": partial(decode_in_pool, ThreadPoolExecutor, cores),
        f"{cores} processes of `concurrent.futures`, pixels discarded": partial(
            decode_in_pool, ProcessPoolExecutor, cores
        ),
        f"**convscope: {cores} worker processes, pixels returned through pipes** (kept)": decode_by_convscope,
    }
    decode_serially(paths)  # not counted: afterwards the files are in the page cache
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(options.times):
        for name, decode in methods.items():
            started = time.perf_counter()
            decode(paths)
            seconds[name].append(time.perf_counter() - started)
    page = render_page(seconds, len(paths), options.data)
    write_atomic(options.page, page)
    print(page)


def decode_serially(paths: list[Path]) -> int:
    """Decode one after the other; returns the number of images that were decoded."""
    return sum(decode_file(path, InputSpec(IMAGE_SIZE)).image is not None for path in paths)


def decode_in_pool(pool_type: type[ThreadPoolExecutor | ProcessPoolExecutor], workers: int, paths: list[Path]) -> int:
    """Decode in a pool, in chunks; its start is timed too."""
    chunks = (paths[first : first + CHUNK_SIZE] for first in range(0, len(paths), CHUNK_SIZE))
    with pool_type(workers) as pool:
        return sum(pool.map(decode_serially, chunks))


def decode_by_convscope(paths: list[Path]) -> int:
    """Decode as building a cache does; the start of the worker processes is timed too."""
    return sum(decoded.image is not None for decoded in decode_files(paths, InputSpec(IMAGE_SIZE)))


# ---- the page

REASONS = (
    "**A crash costs one file.** A decoder that crashes on a hostile file ends a worker process and costs that file"
    " only; in a thread it would end the program. On two cores processes are little faster than threads, and returning"
    " the pixels through pipes costs a quarter.",
    "**Not `concurrent.futures` or `multiprocessing`.** They import the caller's script again, and a crash breaks the"
    " complete pool.",
)


def render_page(seconds: dict[str, list[float]], count: int, data: Path) -> str:
    """The decision record in Markdown."""
    machine = describe_environment(data)
    rows = []
    for name, times in seconds.items():
        slowest, middle, fastest = count / max(times), count / statistics.median(times), count / min(times)
        rows.append((name, f"{middle:,.0f}", f"{slowest:,.0f} to {fastest:,.0f}"))
    num_turns = len(next(iter(seconds.values())))
    return record(
        "Where are images decoded?",
        source="`benchmarks/decoding.py`",
        question=(
            "In threads, in a pool of processes or in processes that convscope starts: which is fast, and survives a"
            " file that crashes the decoder?"
        ),
        kept="Worker processes that convscope starts, which return pixels through pipes.",
        machine=(
            f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, Pillow"
            f" {machine['libraries']['pillow']}."
        ),
        sections=(
            "## What was tried",
            paragraph(
                f"{count:,} JPEG photos of {data.name} (180 px) to {IMAGE_SIZE} x {IMAGE_SIZE}, read, hashed and"
                f" decoded; images/s, median and range of n = {num_turns}, in turns."
            ),
            table("method | images/s: | range:", rows),
            "## Why",
            bullets(REASONS),
        ),
    )


if __name__ == "__main__":
    main()
