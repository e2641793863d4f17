"""What convscope must reach in the benchmark, beside what was measured; whether it did follows from the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from plan import REFERENCE_STEPS, reference_seconds

ALL_PHOTOS = 20_998
GIGABYTE = 1e9
Facts = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One figure: what it is, what it must be, what it is measured to be, and its spread in words."""

    name: str
    least: float | None = None
    most: float | None = None
    shown: Callable[[float], str]
    value: float | None
    spread: str = ""

    @property
    def must(self) -> str:
        return f"≥ {self.shown(self.least)}" if self.least is not None else f"≤ {self.shown(self.most or 0.0)}"

    @property
    def measured(self) -> str:
        return "not measured" if self.value is None else self.shown(self.value)

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "–"
        is_met = self.value >= self.least if self.least is not None else self.value <= (self.most or 0.0)
        return "met" if is_met else "**missed**"


def targets(facts: Facts) -> Iterator[Target]:
    """Every row of the table of targets."""
    measures = facts["measures"]
    yield from throughput_targets(measures.get("throughput", {}))
    yield share_target(measures.get("peak", {}))
    yield from accuracy_targets(facts)
    yield from memory_targets(facts)
    for kind, most in (("first", 35.0), ("second", 8.0)):
        start = measures.get("start", {})
        times = start.get(kind, {})
        images = f" on {start['images']:,} photos" if start.get("images") else ""
        yield Target(
            name=f"{kind} start{images} to the first step",
            most=most,
            shown=lambda seconds: f"{seconds:.1f} s",
            value=times.get("median"),
            spread=spread(times, lambda seconds: f"{seconds:.1f}"),
        )


def throughput_targets(throughput: Facts) -> Iterator[Target]:
    """The pace of `classic` over the graph's."""
    for precision, least in (("bfloat16", 1.8), ("float32", 1.0)):
        ratio = throughput.get("ratio", {}).get(precision, {})
        yield Target(
            name=f"training throughput of `classic` in {precision} over the TensorFlow 1 graph's (float32)",
            least=least,
            shown=two,
            value=ratio.get("median"),
            spread=spread(ratio, two),
        )


def share_target(peak: Facts) -> Target:
    """The share of the matrix peak that `compact`'s step reaches: bfloat16 where there is one, else float32."""
    peaks = peak.get("peak", {})
    of = "bfloat16" if "bfloat16" in peaks or not peaks else "float32"
    steps = [step for step in peak.get("steps", []) if step["size"] == 128]
    best = next((step for step in steps if step["precision"] == of), steps[0] if steps else None)
    share = best["share"] if best else {}
    precision = f", computed in {best['precision']}" if best else ""
    none = "" if of == "bfloat16" else " (the processor has no bfloat16)"
    return Target(
        name=f"share of the {of} matrix peak in a training step of `compact` at 128 px{precision}{none}",
        least=0.65,
        shown=two,
        value=share.get("median"),
        spread=spread(share, two),
    )


def accuracy_targets(facts: Facts) -> Iterator[Target]:
    """How well `compact` answers after the reference's time and after an hour, and how soon it is as good as it."""
    reference = reference_seconds(facts)
    for runs, least, words in (
        (longest_until(reference, facts), 0.965, "when the reference's time is over"),
        (runs_of("hour", facts), 0.975, "after an hour"),
    ):
        ratio = f" (time ratio {max(map(last_seconds, runs)) / reference:.2f})" if runs and reference else ""
        accuracies = [run["accuracy"]["value"] for run in runs]
        yield Target(
            name=f"accuracy of `compact` {words}{ratio}",
            least=least,
            shown=percent,
            value=median(accuracies) if accuracies else None,
            spread="; ".join(filter(None, (spread_of(accuracies, percent), told_mirrored(runs)))),
        )
    times = [seconds_to(run, 0.795) for run in runs_of("short", facts)]
    reached = [seconds / reference for seconds in times if seconds is not None and reference]
    is_every = bool(times) and len(reached) == len(times)
    yield Target(
        name=f"time to 79.5 % accuracy over the graph's for {REFERENCE_STEPS:,} steps, short budget",
        most=0.04,
        shown=lambda value: "never reached" if value == math.inf else three(value),
        value=(median(reached) if is_every else math.inf) if times and reference else None,
        spread="; ".join(
            filter(None, (spread_of(reached, three), f"reached by {len(reached)} of {len(times)}" * bool(times)))
        ),
    )


def told_mirrored(runs: list[Facts]) -> str:
    """The accuracy where answers are averaged with those to mirror images."""
    values = [run["mirrored"]["value"] for run in runs if "mirrored" in run]
    return f"{percent(median(values))} with mirror images" if values else ""


def memory_targets(facts: Facts) -> Iterator[Target]:
    """The peaks of the training process at 128 px: a long training on all photos, and the cost curve's."""
    rows = {row["images"]: row["peak_bytes"] for row in facts["measures"].get("cost", {}).get("rows", [])}
    peaks: dict[str, list[float]] = {
        "in the long training": [run["peak_bytes"] for run in runs_of("ours", facts)],
    }
    for count in (ALL_PHOTOS, 4 * ALL_PHOTOS):
        peaks[f"on {count:,} photos, short training"] = [rows[count]] if count in rows else []
    for words, found in peaks.items():
        yield Target(
            name=f"peak resident memory {words}",
            most=2.0,
            shown=lambda gigabytes: f"{gigabytes:.2f} GB",
            value=max(found) / GIGABYTE if found else None,
            spread=f"n = {len(found)}" if found else "",
        )


def longest_until(reference: float | None, facts: Facts) -> list[Facts]:
    """Our longest trainings as they stand when the reference's computation ends: over, or on their way."""
    if reference is not None:
        for name in ("hour", "ours"):
            runs = [stand for run in runs_of(name, facts) if (stand := stand_at(run, reference)) is not None]
            if runs:
                return runs
    return []


def stand_at(run: Facts, seconds: float) -> Facts | None:
    """A training as it stands after some seconds; None where it has not been judged by then."""
    points = [point for point in run["points"] if point["seconds"] <= seconds]
    if len(points) == len(run["points"]):
        return run
    return {"points": points, "accuracy": {"value": points[-1]["accuracy"]}} if points else None


def runs_of(name: str, facts: Facts) -> list[Facts]:
    """The trainings of a contender; none where it did not come to any."""
    runs: list[Facts] = facts["contenders"].get(name, {}).get("runs", [])
    return runs


def seconds_to(run: Facts, accuracy: float) -> float | None:
    """When a training was first judged to be at least so good; None if never."""
    return next((point["seconds"] for point in run["points"] if point["accuracy"] >= accuracy), None)


def last_seconds(run: Facts) -> float:
    """How long a training took."""
    return float(run["points"][-1]["seconds"])


def spread(found: Facts, shown: Callable[[float], str]) -> str:
    """`n = 3, 1.02 to 1.10` of a summary; nothing where there is none."""
    return f"n = {found['n']}, {shown(found['low'])} to {shown(found['high'])}" if found else ""


def spread_of(values: list[float], shown: Callable[[float], str]) -> str:
    """`n = 3, 1.02 to 1.10` of some values; nothing where there are none."""
    return spread({"n": len(values), "low": min(values), "high": max(values)}, shown) if values else ""


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{share * 100:.1f} %"


def two(value: float) -> str:
    """Two decimals."""
    return f"{value:.2f}"


def three(value: float) -> str:
    """Three decimals."""
    return f"{value:.3f}"


def whole(value: float) -> str:
    """No decimals."""
    return f"{value:,.0f}"
