"""The parts of the benchmark: each runs its children and returns what stands in the JSON."""

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

from children import ChildFailed, Told, run_child
from contenders.child import Job, Task, summary
from folders import make_copies, make_split
from plan import HOUR_CHOICES, Plan, budget

from convscope.cli.display import error_console
from convscope.formatting import format_duration
from convscope.statistics.intervals import wilson_interval

PLAIN_SECONDS = 30.0  # between two lines that only say that it goes on
BURST_TRAIN_SPARE = 20  # batches of the burst's photos beyond the steps that are timed: no epoch ends in a burst
BURST_HELD_OUT = 64
STEP_SIZES = (64, 96, 128)
GRAPHS = ("graph", "graph_onednn")

Facts = dict[str, Any]


class Skipped(Exception):
    """A part cannot be measured here; says why."""


@dataclass(slots=True)
class Bench:
    """What the parts share: the photos, a folder for everything temporary, and the facts so far."""

    data: Path
    work: Path
    plan: Plan
    seed: int
    facts: Facts
    part: str = ""
    since: float = 0.0
    expected: float = 0.0  # seconds of this part
    after: float = 0.0  # seconds of the parts that follow
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _told: float = 0.0

    @property
    def split(self) -> Path:
        return self.work / "split"

    def run(self, name: str, job: Job, *, data: Path | None = None, **changes: Any) -> Told:
        """Run a child with its own log and run folder, and say how it goes."""
        number = next(self._numbers)
        out = self.work / f"run-{number}"
        words = {"seed": self.seed, "cache": str(self.work / "cache"), "out": str(out)}
        task = Task(job=job, data=str(data or self.split), **{**words, **changes})
        try:
            return run_child(name, task, log=self.work / f"{number}-{name}.log", watch=self.watch)
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def watch(self, line: Facts | None) -> None:
        """Say what a child tells, and once in a while that it goes on."""
        if line is not None and line["kind"] == "point":
            pace = f"step {line['step']:,}, {line['seconds']:.1f} s: {line['accuracy']:.1%}"
            self.say(pace)
        elif time.monotonic() - self._told > PLAIN_SECONDS:
            self.say("goes on")

    def say(self, text: str) -> None:
        """A line with the time that the whole benchmark has left."""
        self._told = time.monotonic()
        left = self.after + max(0.0, self.expected - (self._told - self.since))
        error_console().print(f"{self.part}: {text}; about {format_duration(left)} left in all")


def measure_graph(bench: Bench) -> Facts:
    """The reference's computation."""
    return {
        "runs": [
            tell_run(bench, bench.run("graph", "learn", steps=bench.plan.graph_steps, seconds=bench.plan.graph_seconds))
        ]
    }


def measure_keras(bench: Bench) -> Facts:
    """The same network with Keras's own means."""
    return {"runs": [tell_run(bench, bench.run("keras_fit", "learn", seconds=bench.plan.peer_seconds))]}


def measure_torch(bench: Bench) -> Facts:
    """The same network with PyTorch's own means."""
    if not has_torch():
        raise Skipped("PyTorch is not installed; pip install -e '.[bench]' brings it")
    return {"runs": [tell_run(bench, bench.run("torch_loop", "learn", seconds=bench.plan.peer_seconds))]}


def measure_ours(bench: Bench) -> Facts:
    """`compact` with one of our budgets, once for each seed."""
    seconds = budget(bench.part, bench.plan, bench.facts)
    if seconds is None:
        raise Skipped("its budget is the time of the part `graph`, which has not been measured")
    choices = HOUR_CHOICES if bench.part == "hour" else {}
    said = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in choices.items())
    plan = bench.plan
    seeds = range(plan.short_seeds) if bench.part == "short" else range(plan.first_seed, plan.first_seed + plan.seeds)
    found: Facts = {"budget": seconds, "choices": said, "runs": []}
    if seeds.start:
        found["runs"] = [run for run in measured_before(bench, found) if run["seed"] not in seeds]
    for seed in seeds:
        before = os.getloadavg()[0]
        try:
            told = bench.run("ours", "learn", seconds=seconds, seed=seed, choices=choices)
            when = {"day": date.today().isoformat(), "load": [before, os.getloadavg()[0]]}
            found["runs"].append(tell_run(bench, told) | {"seed": seed, **when})
        except (ChildFailed, Skipped) as reason:  # the other seeds are worth having
            if isinstance(reason, Skipped) and not found["runs"]:
                raise
            found["failed"] = f"seed {seed}: {reason}"
    found["runs"].sort(key=lambda run: int(run["seed"]))
    return found


def measured_before(bench: Bench, found: Facts) -> list[Facts]:
    """The trainings of the same part that those of more seeds join."""
    before: Facts = bench.facts["contenders"].get(bench.part, {})
    for name in ("budget", "choices"):
        if before.get(name, found[name]) != found[name]:
            raise SystemExit(f"{bench.part}: another {name} than was measured before; leave --first-seed out")
    runs: list[Facts] = before.get("runs", [])
    return runs


def tell_run(bench: Bench, told: Told) -> Facts:
    """One training: its start, its accuracies, its memory."""
    points = told.lines.get("point")
    if not points:
        raise Skipped("it was never judged: too little time for this machine")
    judged = told.only("judged") if "judged" in told.lines else {}
    count = judged.get("judged_images", bench.facts["split"]["validation"])
    accuracy = wilson_interval(round(points[-1]["accuracy"] * count), count)
    last = points[-1]
    return {
        "seed": bench.seed,
        **told.only("start"),
        **told.memory,
        **judged,
        "accuracy": accuracy.to_json(),
        "images_per_second": last["images"] / last["seconds"],
        "points": points,
    }


def measure_throughput(bench: Bench) -> Facts:
    """Images per second of `classic`: the graph's, also with oneDNN, and ours, in turns, each time in a fresh child."""
    steps = bench.plan.burst_steps
    folder = burst_folder(bench)
    ways = [*GRAPHS, *cpu_precisions()]
    paces: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(bench.plan.burst_rounds):
        for way in ways:
            name, precision = (way, "") if way in GRAPHS else ("ours", way)
            timed = bench.run(name, "burst", data=folder, steps=steps, precision=precision).only("burst")
            paces[way].append(timed["images"] / timed["seconds"])
            bench.say(f"{way} {paces[way][-1]:,.0f} images/s")
    ratios = {
        way: summary([ours / theirs for ours, theirs in zip(paces[way], paces["graph"], strict=True)])
        for way in cpu_precisions()
    }
    return {"images_per_second": {way: summary(each) for way, each in paces.items()}, "ratio": ratios}


def measure_peak(bench: Bench) -> Facts:
    """The machine's matrix peak, and the share of it that `compact`'s training step reaches, in turns.

    A share is that of one turn, whose products and steps are timed within a minute: the machine's pace changes.
    """
    turns = [measure_turn(bench) for _ in range(bench.plan.product_rounds)]
    peaks = [best_of(products) for products, _ in turns]
    steps = []
    for same in zip(*(steps for _, steps in turns), strict=True):  # one kind of step, each turn's
        paces = [float(step["gflop_per_second"]["median"]) for step in same]
        shares = [pace / peak[same[0]["precision"]] for pace, peak in zip(paces, peaks, strict=True)]
        images = summary([float(step["images_per_second"]["median"]) for step in same])
        measured = {"gflop_per_second": summary(paces), "images_per_second": images, "share": summary(shares)}
        steps.append(same[0] | measured)
    return {
        "peak": {precision: summary([peak[precision] for peak in peaks]) for precision in cpu_precisions()},
        "products": [product for products, _ in turns for product in products],
        "steps": steps,
    }


def measure_turn(bench: Bench) -> tuple[list[Facts], list[Facts]]:
    """Large products, and training steps at each size, in each precision."""
    products, steps = list[Facts](), list[Facts]()
    folder = burst_folder(bench)
    for precision in cpu_precisions():
        for name in ("products", "torch_loop")[: 1 + has_torch()]:
            told = bench.run(name, "products", precision=precision, sizes=bench.plan.matrix_sizes)
            products += told.lines["product"]
        task = {"precision": precision, "sizes": STEP_SIZES, "steps": bench.plan.timed_steps}
        steps += bench.run("ours", "steps", data=folder, **task).lines["step"]
    bench.say("large products and steps timed")
    return products, steps


def best_of(products: list[Facts]) -> dict[str, float]:
    """The highest median among products, by precision."""
    found: dict[str, float] = {}
    for each in products:
        precision, pace = each["precision"], float(each["gflop_per_second"]["median"])
        found[precision] = max(pace, found.get(precision, 0.0))
    return found


def measure_start(bench: Bench) -> Facts:
    """Seconds until a `train` has taken its first step on all photos, with nothing decoded and with all decoded.

    At full scale of the folder as a person has it: the race's own is links in two splits, which costs two seconds.
    """
    data = bench.split if bench.plan.most_photos else bench.data
    seconds: dict[str, list[float]] = {"first": [], "second": []}
    cache = bench.work / "start-cache"
    for kind, times in (("first", bench.plan.first_starts), ("second", bench.plan.second_starts)):
        for _ in range(times):
            if kind == "first":
                shutil.rmtree(cache, ignore_errors=True)
            told = bench.run("ours", "cost", data=data, cache=str(cache), steps=1)
            seconds[kind].append(told.only("start")["first_step_seconds"])
            bench.say(f"{kind} start {seconds[kind][-1]:.1f} s")
    shutil.rmtree(cache)
    images = sum(bench.facts["split"].values())
    return {"images": images, **{kind: summary(each) for kind, each in seconds.items()}}


def measure_cost(bench: Bench) -> Facts:
    """Seconds and memory of a short training on ever more photos."""
    rows = []
    for count in bench.plan.cost_counts:
        folder, cache = bench.work / f"copies-{count}", bench.work / "cost-cache"
        make_copies(bench.data, folder, count=count, seed=bench.seed)
        told = bench.run("ours", "cost", data=folder, cache=str(cache), steps=bench.plan.cost_steps)
        shutil.rmtree(folder)
        shutil.rmtree(cache)
        started = told.only("start")["first_step_seconds"]
        rows.append({"images": count, **told.only("cost"), "first_step_seconds": started, **told.memory})
        bench.say(f"{count:,} images {format_duration(rows[-1]['seconds'])}, {rows[-1]['peak_bytes'] / 1e9:.2f} GB")
    return {"steps": bench.plan.cost_steps, "n": 1, "rows": rows}


def burst_folder(bench: Bench) -> Path:
    """A few photos, all of one epoch, for timing steps; made once."""
    folder = bench.work / "burst"
    if not folder.exists():
        train = (bench.plan.burst_steps + BURST_TRAIN_SPARE) * 32
        most = train + BURST_HELD_OUT
        make_split(bench.data, folder, held_out=BURST_HELD_OUT, most=most, seed=bench.seed)
    return folder


def has_torch() -> bool:
    """Whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def cpu_precisions() -> list[str]:
    """What this machine computes in: bfloat16 only where the processor has it."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        flags = ""
    return (
        ["float32", "bfloat16"] if any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16")) else ["float32"]
    )


CONTENDERS: dict[str, Callable[[Bench], Facts]] = {
    "graph": measure_graph,
    "keras": measure_keras,
    "torch": measure_torch,
    "short": measure_ours,
    "ours": measure_ours,
    "hour": measure_ours,
}
MEASURES: dict[str, Callable[[Bench], Facts]] = {
    "throughput": measure_throughput,
    "peak": measure_peak,
    "start": measure_start,
    "cost": measure_cost,
}
