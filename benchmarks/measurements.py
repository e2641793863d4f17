"""The parts of the benchmark: each runs its child processes and returns its entry of the JSON."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from child_processes import ChildFailed, ChildResult, Message, run_child
from competitors.protocol import Job, Task
from folders import make_copies, make_split
from plan import HOUR_CHOICES, Plan, budget_seconds
from summaries import summarize

from convscope.cli.display import error_console
from convscope.formatting import format_duration
from convscope.statistics.intervals import wilson_interval

PROGRESS_SECONDS = 30.0  # between two lines of progress without news
SPARE_BATCHES = 20  # of a burst's photos beyond the timed steps: no epoch ends in a burst
BURST_VALIDATION_PHOTOS = 64
STEP_SIZES = (64, 96, 128)
GRAPHS = {"graph": "tf1_graph", "graph_onednn": "tf1_graph_onednn"}  # key of the JSON: module of competitors

Results = dict[str, Any]


class Skipped(Exception):
    """A part cannot be measured here; the text has the reason."""


@dataclass(slots=True)
class Bench:
    """What the parts share.

    Attributes:
        data: the folder of photos.
        work: a folder for everything temporary.
        plan: the amounts.
        seed: of the split, and of trainings with one seed.
        results: the JSON so far.
        part: the part that is measured now.
        part_started: `time.monotonic()` of its start.
        expected: its approximate seconds.
        expected_after: those of the parts that follow.
    """

    data: Path
    work: Path
    plan: Plan
    seed: int
    results: Results
    part: str = ""
    part_started: float = 0.0
    expected: float = 0.0
    expected_after: float = 0.0
    _run_numbers: Iterator[int] = field(default_factory=itertools.count)
    _printed_at: float = 0.0

    @property
    def split(self) -> Path:
        return self.work / "split"

    def run(self, name: str, job: Job, *, data: Path | None = None, **changes: Any) -> ChildResult:
        """Run a child process with its own log and run folder, and print its progress."""
        number = next(self._run_numbers)
        out = self.work / f"run-{number}"
        defaults = {"seed": self.seed, "cache": str(self.work / "cache"), "out": str(out)}
        task = Task(job=job, data=str(data or self.split), **{**defaults, **changes})
        try:
            return run_child(name, task, log=self.work / f"{number}-{name}.log", on_message=self.on_message)
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def on_message(self, message: Message | None) -> None:
        """Print the accuracies that a child sends, and from time to time that it is still running."""
        if message is not None and message["kind"] == "point":
            self.print_progress(f"step {message['step']:,}, {message['seconds']:.1f} s: {message['accuracy']:.1%}")
        elif time.monotonic() - self._printed_at > PROGRESS_SECONDS:
            self.print_progress("running")

    def print_progress(self, text: str) -> None:
        """Print a line with the time that is left for the complete benchmark."""
        self._printed_at = time.monotonic()
        seconds_left = self.expected_after + max(0.0, self.expected - (self._printed_at - self.part_started))
        error_console().print(f"{self.part}: {text}; about {format_duration(seconds_left)} left")


def measure_graph(bench: Bench) -> Results:
    """Train with the reference's computation."""
    plan = bench.plan
    child = bench.run(GRAPHS["graph"], "train", steps=plan.graph_steps, seconds=plan.graph_seconds)
    return {"runs": [describe_training(bench, child)]}


def measure_keras(bench: Bench) -> Results:
    """Train the reference network with Keras 3."""
    return {"runs": [describe_training(bench, bench.run("keras_fit", "train", seconds=bench.plan.baseline_seconds))]}


def measure_torch(bench: Bench) -> Results:
    """Train the reference network with PyTorch."""
    if not has_torch():
        raise Skipped("PyTorch is not installed: pip install -e '.[bench]'")
    return {"runs": [describe_training(bench, bench.run("torch_loop", "train", seconds=bench.plan.baseline_seconds))]}


def measure_compact(bench: Bench) -> Results:
    """Train `compact` with the budget of the part, once for each seed."""
    budget = budget_seconds(bench.part, bench.plan, bench.results)
    if budget is None:
        raise Skipped("its budget is the time of the part `graph`, which has not been measured")
    choices = HOUR_CHOICES if bench.part == "hour" else {}
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in choices.items())
    plan = bench.plan
    seeds = range(plan.short_seeds) if bench.part == "short" else range(plan.first_seed, plan.first_seed + plan.seeds)
    entry: Results = {"budget": budget, "choices": flags, "runs": []}
    if seeds.start:
        entry["runs"] = [run for run in earlier_runs(bench, entry) if run["seed"] not in seeds]
    for seed in seeds:
        load_before = os.getloadavg()[0]
        try:
            child = bench.run("convscope_runs", "train", seconds=budget, seed=seed, choices=choices)
            conditions = {"day": date.today().isoformat(), "load": [load_before, os.getloadavg()[0]]}
            entry["runs"].append(describe_training(bench, child) | {"seed": seed, **conditions})
        except (ChildFailed, Skipped) as reason:  # the other seeds are still worth measuring
            if isinstance(reason, Skipped) and not entry["runs"]:
                raise
            entry["failed"] = f"seed {seed}: {reason}"
    entry["runs"].sort(key=lambda run: int(run["seed"]))
    return entry


def earlier_runs(bench: Bench, entry: Results) -> list[Results]:
    """The trainings of the same part in the JSON, to which those of more seeds are added."""
    earlier: Results = bench.results["contenders"].get(bench.part, {})
    for name in ("budget", "choices"):
        if earlier.get(name, entry[name]) != entry[name]:
            raise SystemExit(f"{bench.part}: {name} differs from that of the earlier trainings; omit --first-seed")
    runs: list[Results] = earlier.get("runs", [])
    return runs


def describe_training(bench: Bench, child: ChildResult) -> Results:
    """A training as it is kept in the JSON: its start, its learning curve, its last accuracy, its memory."""
    points = child.messages.get("point")
    if not points:
        raise Skipped("it was never evaluated: too little time for this machine")
    evaluation = child.first("evaluated") if "evaluated" in child.messages else {}
    num_images = evaluation.get("judged_images", bench.results["split"]["validation"])
    last = points[-1]
    return {
        "seed": bench.seed,
        **child.first("start"),
        **child.memory,
        **evaluation,
        "accuracy": wilson_interval(round(last["accuracy"] * num_images), num_images).to_json(),
        "images_per_second": last["images"] / last["seconds"],
        "points": points,
    }


def measure_throughput(bench: Bench) -> Results:
    """Images per second of `classic` in convscope and in the TensorFlow 1 graph, in turns, each in a new process."""
    steps = bench.plan.burst_steps
    folder = burst_folder(bench)
    variants = [*GRAPHS, *cpu_precisions()]
    throughputs: dict[str, list[float]] = {variant: [] for variant in variants}
    for _ in range(bench.plan.burst_rounds):
        for variant in variants:
            name, precision = (GRAPHS[variant], "") if variant in GRAPHS else ("convscope_runs", variant)
            burst = bench.run(name, "burst", data=folder, steps=steps, precision=precision).first("burst")
            throughputs[variant].append(burst["images"] / burst["seconds"])
            bench.print_progress(f"{variant} {throughputs[variant][-1]:,.0f} images/s")
    ratios = {
        precision: [
            convscope / graph for convscope, graph in zip(throughputs[precision], throughputs["graph"], strict=True)
        ]
        for precision in cpu_precisions()
    }
    return {
        "images_per_second": {variant: summarize(values) for variant, values in throughputs.items()},
        "ratio": {precision: summarize(values) for precision, values in ratios.items()},
    }


def measure_peak(bench: Bench) -> Results:
    """The machine's matrix peak, and the share of it that a training step of `compact` reaches, in turns.

    A share is that of one turn, whose products and steps are timed within a minute: the machine's speed changes.
    """
    turns = [measure_turn(bench) for _ in range(bench.plan.product_rounds)]
    peaks = [fastest_products(products) for products, _ in turns]
    steps = []
    for same_step in zip(*(steps for _, steps in turns), strict=True):  # one size and precision, from each turn
        speeds = [float(step["gflop_per_second"]["median"]) for step in same_step]
        shares = [speed / peak[same_step[0]["precision"]] for speed, peak in zip(speeds, peaks, strict=True)]
        images = summarize([float(step["images_per_second"]["median"]) for step in same_step])
        measured = {"gflop_per_second": summarize(speeds), "images_per_second": images, "share": summarize(shares)}
        steps.append(same_step[0] | measured)
    return {
        "peak": {precision: summarize([peak[precision] for peak in peaks]) for precision in cpu_precisions()},
        "products": [product for products, _ in turns for product in products],
        "steps": steps,
    }


def measure_turn(bench: Bench) -> tuple[list[Results], list[Results]]:
    """Large products, and training steps at each size, in each precision."""
    products, steps = list[Results](), list[Results]()
    folder = burst_folder(bench)
    for precision in cpu_precisions():
        for name in ("matrix_peak", "torch_loop")[: 1 + has_torch()]:
            child = bench.run(name, "products", precision=precision, sizes=bench.plan.matrix_sizes)
            products += child.messages["product"]
        task = {"precision": precision, "sizes": STEP_SIZES, "steps": bench.plan.timed_steps}
        steps += bench.run("convscope_runs", "steps", data=folder, **task).messages["step"]
    bench.print_progress("large products and steps timed")
    return products, steps


def fastest_products(products: list[Results]) -> dict[str, float]:
    """The highest median GFLOP/s of the products, by precision."""
    fastest: dict[str, float] = {}
    for product in products:
        precision, speed = product["precision"], float(product["gflop_per_second"]["median"])
        fastest[precision] = max(speed, fastest.get(precision, 0.0))
    return fastest


def measure_start(bench: Bench) -> Results:
    """Seconds from `train` to the end of the first step on all photos: with an empty cache, and with a filled one.

    At full scale on the original folder: the benchmark's split of links takes two seconds longer.
    """
    data = bench.split if bench.plan.max_photos else bench.data
    seconds: dict[str, list[float]] = {"first": [], "second": []}
    cache = bench.work / "start-cache"
    for kind, repetitions in (("first", bench.plan.first_starts), ("second", bench.plan.second_starts)):
        for _ in range(repetitions):
            if kind == "first":
                shutil.rmtree(cache, ignore_errors=True)
            child = bench.run("convscope_runs", "cost", data=data, cache=str(cache), steps=1)
            seconds[kind].append(child.first("start")["first_step_seconds"])
            bench.print_progress(f"{kind} start {seconds[kind][-1]:.1f} s")
    shutil.rmtree(cache)
    num_images = sum(bench.results["split"].values())
    return {"images": num_images, **{kind: summarize(values) for kind, values in seconds.items()}}


def measure_cost(bench: Bench) -> Results:
    """Seconds and memory of a short training, by the number of photos."""
    rows = []
    for count in bench.plan.cost_counts:
        folder, cache = bench.work / f"copies-{count}", bench.work / "cost-cache"
        make_copies(bench.data, folder, count=count, seed=bench.seed)
        child = bench.run("convscope_runs", "cost", data=folder, cache=str(cache), steps=bench.plan.cost_steps)
        shutil.rmtree(folder)
        shutil.rmtree(cache)
        first_step_seconds = child.first("start")["first_step_seconds"]
        row = {"images": count, **child.first("cost"), "first_step_seconds": first_step_seconds, **child.memory}
        bench.print_progress(f"{count:,} images {format_duration(row['seconds'])}, {row['peak_bytes'] / 1e9:.2f} GB")
        rows.append(row)
    return {"steps": bench.plan.cost_steps, "n": 1, "rows": rows}


def burst_folder(bench: Bench) -> Path:
    """A few photos for timing steps, more than the steps take: no epoch ends; made once."""
    folder = bench.work / "burst"
    if not folder.exists():
        num_train = (bench.plan.burst_steps + SPARE_BATCHES) * 32
        max_photos = num_train + BURST_VALIDATION_PHOTOS
        make_split(bench.data, folder, num_validation=BURST_VALIDATION_PHOTOS, max_photos=max_photos, seed=bench.seed)
    return folder


def has_torch() -> bool:
    """Whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def cpu_precisions() -> list[str]:
    """The precisions that this processor computes in: bfloat16 only where it has instructions for it."""
    try:
        cpu_info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        cpu_info = ""
    has_bfloat16 = any(flag in cpu_info for flag in ("avx512_bf16", "amx_bf16", " bf16"))
    return ["float32", "bfloat16"] if has_bfloat16 else ["float32"]


# the parts by their keys in the JSON: "contenders" are the trainings that are compared
TRAININGS: dict[str, Callable[[Bench], Results]] = {
    "graph": measure_graph,
    "keras": measure_keras,
    "torch": measure_torch,
    "short": measure_compact,
    "ours": measure_compact,
    "hour": measure_compact,
}
MEASURES: dict[str, Callable[[Bench], Results]] = {
    "throughput": measure_throughput,
    "peak": measure_peak,
    "start": measure_start,
    "cost": measure_cost,
}
