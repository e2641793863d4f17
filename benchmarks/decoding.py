"""How fast are photos decoded: in one thread, in threads, in child processes that only count, and as convscope does.

Writes docs/decisions/decoding.md. Each way decodes the same photos three times, in turns; a few minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from convscope.datasets.listing import list_folder
from convscope.environment import available_cores, describe_environment
from convscope.images.decoder_pool import InputSpec, decode_file, decode_files

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "dogs-vs-cats"
PAGE = ROOT / "docs" / "decisions" / "decoding.md"
CHUNK = 32


def main() -> None:
    """Measure and write."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--data", type=Path, default=DATA)
    words.add_argument("--images", type=int, default=3000)
    words.add_argument("--times", type=int, default=3)
    chosen = words.parse_args()
    paths = [chosen.data / item.path for item in list_folder(chosen.data).items[: chosen.images]]
    cores = available_cores()
    ways: dict[str, Callable[[list[Path]], int]] = {
        "one thread": decode_here,
        f"{cores} threads": partial(decode_in_pool, ThreadPoolExecutor, cores),
        f"{cores} processes of `concurrent.futures`, pixels thrown away": partial(
            decode_in_pool, ProcessPoolExecutor, cores
        ),
        f"convscope: {cores} child processes, pixels brought back through pipes": decode_ours,
    }
    decode_here(paths)  # the files are in the system's memory now
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(chosen.times):
        for name, way in ways.items():
            started = time.perf_counter()
            way(paths)
            seconds[name].append(time.perf_counter() - started)
    PAGE.write_text(describe(seconds, len(paths), chosen.data), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


def decode_here(paths: list[Path]) -> int:
    """Decode one after the other; returns how many were read."""
    return sum(decode_file(path, InputSpec(128)).image is not None for path in paths)


def decode_in_pool(pool: type[ThreadPoolExecutor | ProcessPoolExecutor], workers: int, paths: list[Path]) -> int:
    """Decode in a pool, in chunks; its start counts."""
    chunks = (paths[first : first + CHUNK] for first in range(0, len(paths), CHUNK))
    with pool(workers) as crew:
        return sum(crew.map(decode_here, chunks))


def decode_ours(paths: list[Path]) -> int:
    """Decode as building a cache does; the start of the children counts."""
    return sum(each.image is not None for each in decode_files(paths, InputSpec(128)))


def describe(seconds: dict[str, list[float]], count: int, data: Path) -> str:
    """The decision page."""
    machine = describe_environment(data)
    rows = []
    for name, each in seconds.items():
        slowest, middle, fastest = count / max(each), count / statistics.median(each), count / min(each)
        rows.append(f"| {name} | {middle:,.0f} | {slowest:,.0f} to {fastest:,.0f} |")
    return "\n".join(
        [
            "# In what are images decoded?",
            "",
            "Made by `benchmarks/decoding.py`; do not edit.",
            "",
            f"{count:,} JPEG photos of {data.name} (180 pixels) to 128 x 128, read, hashed and decoded; images/s,",
            f"median and range of {len(next(iter(seconds.values())))} runs in turns.",
            "",
            "| way | images/s | range |",
            "| --- | ---: | ---: |",
            *rows,
            "",
            "Kept: child processes of our own. On two cores they are little faster than threads, and the pipes cost a",
            "quarter; but a decoder that crashes on a hostile file costs that file only, where a thread takes the",
            "whole program with it. `concurrent.futures` and `multiprocessing` import the caller's script again, and a",
            "crash breaks the whole pool.",
            "",
            f"Machine: {machine['processor']}, {machine['cores']} cores, Python {machine['python']}, Pillow"
            f" {machine['libraries']['pillow']}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
