"""How much does `serve` carry, beside what `predict` does with the same photos, and what becomes of ten times as much?

python benchmarks/serving.py RUN    a finished run; writes docs/decisions/serving.json and serving.md

One run on one machine, loopback only, the load from a process of its own (load.py). In turns: `predict` over the
photos, and the service asked for one photo at a time over 64 connections. Then floods at ten times that rate; after
each, how soon is it well again, and how much memory has it?
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predicting import describe_run

from convscope.datasets.listing import list_folder
from convscope.environment import describe_environment
from convscope.prediction.inference import open_for_inference, predict_files

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "dogs-vs-cats"
PAGE = ROOT / "docs" / "decisions" / "serving.md"
BEGINNING = 256  # answers of `predict` that are not counted: its children have to start
CONNECTIONS, FLOOD_CONNECTIONS = 64, 500
TIMES_THE_LOAD = 10
DEADLINE_SECONDS = 10
WELL_SECONDS = 0.5  # an answer within it, and the service is well

MACHINE = ("processor", "cores", "platform", "python", "libraries")

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Served:
    """A running service."""

    process: subprocess.Popen[str]
    port: int

    @property
    def megabytes(self) -> float:
        """The memory that it has."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024

    def ask(self, photo: Path) -> int:
        """Send one photo; the status of the answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/predict", data=photo.read_bytes())
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            return refusal.code


def main() -> None:
    """Measure and write."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("model", type=Path, help="a run folder")
    words.add_argument("--data", type=Path, default=DATA)
    words.add_argument("--images", type=int, default=2000)
    words.add_argument("--times", type=int, default=5)
    words.add_argument("--seconds", type=float, default=8)
    words.add_argument("--floods", type=int, default=3)
    words.add_argument("--page", type=Path, default=PAGE)
    chosen = words.parse_args()
    photos = [chosen.data / item.path for item in list_folder(chosen.data).items[: chosen.images]]
    with serving(chosen.model) as served:
        saturate(served, photos, seconds=chosen.seconds)  # the files are in the system's memory now
        rounds = [pace(served, chosen.model, photos, seconds=chosen.seconds) for _ in range(chosen.times)]
        rate = TIMES_THE_LOAD * statistics.median(each["serve"] for each in rounds)
        before = served.megabytes
        floods = [flood(served, photos, rate=rate, seconds=chosen.seconds) for _ in range(chosen.floods)]
    facts = {
        "machine": {key: value for key, value in describe_environment(chosen.data).items() if key in MACHINE},
        "run": describe_run(chosen.model),
        "images": len(photos),
        "rounds": rounds,
        "megabytes_before": before,
        "flood_rate": rate,
        "floods": floods,
    }
    chosen.page.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    chosen.page.write_text(describe(facts), encoding="utf-8")
    print(chosen.page.read_text(encoding="utf-8"))


@contextmanager
def serving(model: Path) -> Iterator[Served]:
    """`convscope serve` in a process of its own."""
    program = [sys.executable, "-m", "convscope", "serve", str(model), "--port", "0"]
    program += ["--deadline", f"{DEADLINE_SECONDS}s"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        if process.stderr is None or not (line := process.stderr.readline()).startswith("serving"):
            raise SystemExit("the service did not start")
        yield Served(process, int(line.rsplit(":", 1)[1]))
    finally:
        process.terminate()
        process.wait()


def pace(served: Served, model: Path, photos: list[Path], *, seconds: float) -> Facts:
    """Images a second: by `predict`, then by the service."""
    bundle = open_for_inference(model)
    started, counted = 0.0, 0
    for place, _ in enumerate(predict_files(bundle, photos)):
        if place == BEGINNING:
            started = time.perf_counter()
        counted += place > BEGINNING
    predicted = counted / (time.perf_counter() - started)
    told = saturate(served, photos, seconds=seconds)
    return {"predict": predicted, "serve": told["statuses"]["200"] / told["seconds"], "told": told}


def saturate(served: Served, photos: list[Path], *, seconds: float) -> Facts:
    """Ask for one photo after the other on each of 64 connections."""
    return load(served, photos, connections=CONNECTIONS, rate=0.0, seconds=seconds)


def flood(served: Served, photos: list[Path], *, rate: float, seconds: float) -> Facts:
    """Ask at a rate that it cannot carry; then see how soon it is well again."""
    told = load(served, photos, connections=FLOOD_CONNECTIONS, rate=rate, seconds=seconds)
    ended = time.perf_counter()
    while True:
        asked = time.perf_counter()
        status, answered = served.ask(photos[0]), time.perf_counter()
        if status == 200 and answered - asked < WELL_SECONDS:
            return {**told, "recovery_seconds": answered - ended, "megabytes": served.megabytes}


def load(served: Served, photos: list[Path], *, connections: int, rate: float, seconds: float) -> Facts:
    """Let load.py do a job."""
    job = {
        "files": list(map(str, photos)),
        "port": served.port,
        "connections": connections,
        "rate": rate,
        "seconds": seconds,
        "patience_seconds": DEADLINE_SECONDS if not rate else 0,  # after a flood its end is what is timed
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(job, file)
        file.flush()
        program = [sys.executable, str(ROOT / "benchmarks" / "load.py"), file.name]
        told: Facts = json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
        return told


def describe(facts: Facts) -> str:
    """The page."""
    predict, serve = ([each[name] for each in facts["rounds"]] for name in ("predict", "serve"))
    ratios = [each["serve"] / each["predict"] for each in facts["rounds"]]
    machine, run, floods = facts["machine"], facts["run"], facts["floods"]
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    memory = ", ".join(f"{each['megabytes']:.0f}" for each in floods)
    lines = [
        "# How much does the service carry?",
        "",
        "Made by `benchmarks/serving.py`; do not edit.",
        "",
        f"{facts['images']:,} JPEG photos of dogs-vs-cats through `{run['network']}` at {run['image_size']} pixels, one"
        f" photo a request, {CONNECTIONS} connections; median and range of {len(ratios)} runs in turns. The load comes"
        " from a process beside it, on the same cores.",
        "",
        "| | images/s |",
        "| --- | ---: |",
        f"| `convscope predict` | {spread(predict)} |",
        f"| `convscope serve`, saturated | {spread(serve)} |",
        f"| ratio | {spread(ratios, '.2f')} |",
        "",
        f"Then {len(floods)} floods of {facts['flood_rate']:,.0f} requests/s, {TIMES_THE_LOAD} times what it carries,"
        f" over {FLOOD_CONNECTIONS} connections, with the usual deadline of {DEADLINE_SECONDS} s:",
        "",
        "| answered | refused with 503 | others | not sent: no connection free | p99 of the answered | well after |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
        *map(flood_row, floods),
        "",
        f"Resident memory: {facts['megabytes_before']:.0f} MB before the floods, {memory} MB after each.",
        "",
        f"Machine: {machine['processor']}, {machine['cores']} cores, Python {machine['python']}, {libraries}.",
        "",
    ]
    return "\n".join(lines)


def flood_row(flood: Facts) -> str:
    """One flood, as a row."""
    statuses = dict(flood["statuses"])
    answered, refused = statuses.pop("200", 0), statuses.pop("503", 0)
    others = ", ".join(f"{count} x {status}" for status, count in statuses.items()) or "none"
    return (
        f"| {answered:,} | {refused:,} | {others} | {flood['unsent']:,} | {flood['p99_seconds']:.2f} s |"
        f" {flood['recovery_seconds']:.2f} s |"
    )


def spread(values: list[float], form: str = ",.0f") -> str:
    """The middle one, and from where to where."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
