"""How many images does `serve` predict per second, compared with `predict`, and what happens at ten times that rate?

python benchmarks/serving.py RUN         measures with a finished run; writes docs/decisions/serving.json and .md
python benchmarks/serving.py --describe  only writes the page from the JSON

One machine, loopback only, the load from another process (load_generator.py). In turns: `predict` on the photos, and
the service with one photo per request over 64 connections. Then overload at ten times that rate; after each, the time
until it responds quickly again, and its memory.
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
from records import bullets, describe_machine, paragraph, record, table

from convscope.datasets.listing import list_folder
from convscope.environment import describe_environment
from convscope.files import read_json, write_atomic, write_json
from convscope.prediction.inference import open_for_inference, predict_files

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "dogs-vs-cats"
PAGE = ROOT / "docs" / "decisions" / "serving.md"
WARMUP_IMAGES = 256  # of `predict`, which are not timed: its worker processes start
CONNECTIONS, OVERLOAD_CONNECTIONS = 64, 500
OVERLOAD_FACTOR = 10
DEADLINE_SECONDS = 10
RECOVERED_SECONDS = 0.5  # latency of a single request below which the service has recovered
MACHINE_KEYS = ("processor", "cores", "platform", "python", "libraries")

Results = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    process: subprocess.Popen[str]
    port: int

    @property
    def megabytes(self) -> float:
        """Its resident memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024

    def send(self, photo: Path) -> int:
        """Send one photo; returns the status of the response."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/predict", data=photo.read_bytes())
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code


def main() -> None:
    """Measure and write, or only write the page from the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="a run folder")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--times", type=int, default=5, help="turns")
    parser.add_argument("--seconds", type=float, default=8, help="of load in each turn")
    parser.add_argument("--floods", type=int, default=3, help="overload tests")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--describe", action="store_true", help="measure nothing: make the page from the JSON")
    options = parser.parse_args()
    if not (options.describe or options.model):
        parser.error("give a run folder, or --describe")
    file = options.page.with_suffix(".json")
    if not options.describe:
        write_json(file, measure(options))
    page = render_page(read_json(file))
    write_atomic(options.page, page)
    print(page)


def measure(options: argparse.Namespace) -> Results:
    """Measure in turns, then under overload."""
    photos = [options.data / item.path for item in list_folder(options.data).items[: options.images]]
    with running_service(options.model) as service:
        saturate(service, photos, seconds=options.seconds)  # not counted: afterwards the files are in the page cache
        rounds = [measure_round(service, options.model, photos, seconds=options.seconds) for _ in range(options.times)]
        rate = OVERLOAD_FACTOR * statistics.median(turn["serve"] for turn in rounds)
        megabytes_before = service.megabytes
        overloads = [overload(service, photos, rate=rate, seconds=options.seconds) for _ in range(options.floods)]
    return {
        "machine": {key: value for key, value in describe_environment(options.data).items() if key in MACHINE_KEYS},
        "run": describe_run(options.model),
        "images": len(photos),
        "rounds": rounds,
        "megabytes_before": megabytes_before,
        "flood_rate": rate,
        "floods": overloads,
    }


@contextmanager
def running_service(model: Path) -> Iterator[Service]:
    """`convscope serve` in another process."""
    command = [sys.executable, "-m", "convscope", "serve", str(model), "--port", "0"]
    command += ["--deadline", f"{DEADLINE_SECONDS}s"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        if process.stderr is None or not (line := process.stderr.readline()).startswith("serving"):
            raise SystemExit("the service did not start")
        yield Service(process, int(line.rsplit(":", 1)[1]))
    finally:
        process.terminate()
        process.wait()


def measure_round(service: Service, model: Path, photos: list[Path], *, seconds: float) -> Results:
    """Images per second of `predict`, then of the service."""
    bundle = open_for_inference(model)
    started, num_timed = 0.0, 0
    for index, _ in enumerate(predict_files(bundle, photos)):
        if index == WARMUP_IMAGES:
            started = time.perf_counter()
        num_timed += index > WARMUP_IMAGES
    predict = num_timed / (time.perf_counter() - started)
    tally = saturate(service, photos, seconds=seconds)
    return {"predict": predict, "serve": tally["statuses"]["200"] / tally["seconds"], "told": tally}  # keys of the JSON


def saturate(service: Service, photos: list[Path], *, seconds: float) -> Results:
    """Send one photo after the other over each of 64 connections."""
    return run_load(service, photos, connections=CONNECTIONS, rate=0.0, seconds=seconds)


def overload(service: Service, photos: list[Path], *, rate: float, seconds: float) -> Results:
    """Send requests at a rate above the service's throughput; then time its recovery."""
    tally = run_load(service, photos, connections=OVERLOAD_CONNECTIONS, rate=rate, seconds=seconds)
    ended = time.perf_counter()
    while True:
        sent_at = time.perf_counter()
        status, received_at = service.send(photos[0]), time.perf_counter()
        if status == 200 and received_at - sent_at < RECOVERED_SECONDS:
            return {**tally, "recovery_seconds": received_at - ended, "megabytes": service.megabytes}


def run_load(service: Service, photos: list[Path], *, connections: int, rate: float, seconds: float) -> Results:
    """Run the load generator."""
    job = {
        "files": list(map(str, photos)),
        "port": service.port,
        "connections": connections,
        "rate": rate,
        "seconds": seconds,
        # after an overload nothing is waited for: the recovery is timed from its end
        "response_timeout_seconds": DEADLINE_SECONDS if not rate else 0,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(job, file)
        file.flush()
        command = [sys.executable, str(ROOT / "benchmarks" / "load_generator.py"), file.name]
        tally: Results = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return tally


# ---- the page

REASONS = (
    "**Load shedding.** From the speed of the last batches the service estimates how long a request would take, and"
    " rejects it at once with 503 if it would miss its deadline. So accepted requests meet their deadline, and"
    " the service recovers soon after the overload.",
    "**The ratio to `predict`** includes HTTP and the load generator, which shares the cores; what each of them costs"
    " was not measured.",
)


def render_page(results: Results) -> str:
    """The decision record in Markdown."""
    run, overloads = results["run"], results["floods"]
    predict, serve = ([turn[name] for turn in results["rounds"]] for name in ("predict", "serve"))
    ratios = [turn["serve"] / turn["predict"] for turn in results["rounds"]]
    throughput_rows = [
        ("`convscope predict`", format_spread(predict)),
        ("`convscope serve`, saturated", format_spread(serve)),
        ("ratio", format_spread(ratios, ".2f")),
    ]
    memory = ", ".join(f"{overload['megabytes']:.0f}" for overload in overloads)
    return record(
        "What does `serve` do under load?",
        source="`benchmarks/serving.py`",
        question=(
            "How many images per second does `serve` predict, compared with `predict` on the same photos, and what"
            f" happens at {OVERLOAD_FACTOR} times that rate?"
        ),
        kept="Batches across requests, a bounded queue, and 503 for requests that would miss their deadline.",
        machine=describe_machine(results["machine"]),
        sections=(
            "## Result",
            paragraph(
                f"{results['images']:,} JPEG photos of dogs-vs-cats, `{run['network']}` at {run['image_size']} px, one"
                f" photo per request, {CONNECTIONS} connections; median and range of n = {len(ratios)}, in turns. The"
                " load comes from another process on the same cores ([JSON](serving.json))."
            ),
            table(" | images/s:", throughput_rows),
            "## What was tried: overload",
            paragraph(
                f"{results['flood_rate']:,.0f} requests/s, {OVERLOAD_FACTOR} times the throughput above, over"
                f" {OVERLOAD_CONNECTIONS} connections, with the default deadline of {DEADLINE_SECONDS} s;"
                f" n = {len(overloads)}."
            ),
            table(
                "status 200: | status 503: | others: | not sent, no connection free: | p99 latency of status 200: |"
                " recovered after:",
                map(overload_row, overloads),
            ),
            bullets(
                (
                    f"Recovered: a single request gets its prediction within {RECOVERED_SECONDS} s.",
                    f"Resident memory: {results['megabytes_before']:.0f} MB before, {memory} MB after each.",
                )
            ),
            "## Why",
            bullets(REASONS),
        ),
    )


def overload_row(overload: Results) -> tuple[str, ...]:
    """The cells of one overload test."""
    statuses = dict(overload["statuses"])
    num_accepted, num_rejected = statuses.pop("200", 0), statuses.pop("503", 0)
    others = ", ".join(f"{count} x {status}" for status, count in statuses.items()) or "none"
    return (
        f"{num_accepted:,}",
        f"{num_rejected:,}",
        others,
        f"{overload['unsent']:,}",
        f"{overload['p99_seconds']:.2f} s",
        f"{overload['recovery_seconds']:.2f} s",
    )


def format_spread(values: list[float], spec: str = ",.0f") -> str:
    """The median and the range."""
    return f"{statistics.median(values):{spec}} ({min(values):{spec}} to {max(values):{spec}})"


if __name__ == "__main__":
    main()
