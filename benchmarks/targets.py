"""The targets of the benchmark beside what was measured; "met" or "missed" follows from the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from plan import REFERENCE_STEPS, reference_seconds

ALL_PHOTOS = 20_998
GIGABYTE = 1e9
REFERENCE_ACCURACY = 0.795  # what the reference reports after 10,000 steps
Results = dict[str, Any]
Format = Callable[[float], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One target.

    Attributes:
        name: what is measured.
        minimum, maximum: the bound; one of both is set.
        format: of the values.
        value: the measured value; None: not measured.
        spread: n and the range, as text.
    """

    name: str
    minimum: float | None = None
    maximum: float | None = None
    format: Format
    value: float | None
    spread: str = ""

    @property
    def bound(self) -> str:
        return f"≥ {self.format(self.minimum)}" if self.minimum is not None else f"≤ {self.format(self.maximum or 0.0)}"

    @property
    def measured(self) -> str:
        return "not measured" if self.value is None else self.format(self.value)

    @property
    def is_met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.minimum if self.minimum is not None else self.value <= (self.maximum or 0.0)

    @property
    def verdict(self) -> str:
        return {None: "–", True: "met", False: "**missed**"}[self.is_met]


def list_targets(results: Results) -> Iterator[Target]:
    """The rows of the table of targets."""
    measures = results["measures"]
    yield from throughput_targets(measures.get("throughput", {}))
    yield peak_target(measures.get("peak", {}))
    yield from accuracy_targets(results)
    yield speedup_target(results)
    yield from memory_targets(results)
    yield from start_targets(measures.get("start", {}))


def throughput_targets(throughput: Results) -> Iterator[Target]:
    """The throughput of `classic` over that of the TensorFlow 1 graph."""
    for precision, minimum in (("bfloat16", 1.8), ("float32", 1.0)):
        ratio = throughput.get("ratio", {}).get(precision, {})
        yield Target(
            name=f"training throughput of `classic` in {precision} over the TensorFlow 1 graph's (float32)",
            minimum=minimum,
            format=two_decimals,
            value=ratio.get("median"),
            spread=format_spread(ratio, two_decimals),
        )


def peak_target(peak: Results) -> Target:
    """The share of the matrix peak that a step of `compact` reaches: in bfloat16 where there is one, else float32."""
    peaks = peak.get("peak", {})
    peak_precision = "bfloat16" if "bfloat16" in peaks or not peaks else "float32"
    steps = [step for step in peak.get("steps", []) if step["size"] == 128]
    step = next((step for step in steps if step["precision"] == peak_precision), steps[0] if steps else None)
    share = step["share"] if step else {}
    computed_in = f", computed in {step['precision']}" if step else ""
    reason = "" if peak_precision == "bfloat16" else " (the processor has no bfloat16)"
    return Target(
        name=f"share of the {peak_precision} matrix peak in a training step of `compact` at 128 px"
        f"{computed_in}{reason}",
        minimum=0.65,
        format=two_decimals,
        value=share.get("median"),
        spread=format_spread(share, two_decimals),
    )


def accuracy_targets(results: Results) -> Iterator[Target]:
    """The accuracy of `compact` after the reference's time and after an hour."""
    reference = reference_seconds(results)
    for runs, minimum, when in (
        (longest_runs_at(reference, results), 0.965, "when the reference's time is over"),
        (runs_of("hour", results), 0.975, "after an hour"),
    ):
        ratio = f" (time ratio {max(map(training_seconds, runs)) / reference:.2f})" if runs and reference else ""
        accuracies = [run["accuracy"]["value"] for run in runs]
        flipped = [run["mirrored"]["value"] for run in runs if "mirrored" in run]
        flipped_text = f"{percent(median(flipped))} with flips averaged" if flipped else ""
        yield Target(
            name=f"accuracy of `compact` {when}{ratio}",
            minimum=minimum,
            format=percent,
            value=median(accuracies) if accuracies else None,
            spread="; ".join(filter(None, (spread_of(accuracies, percent), flipped_text))),
        )


def speedup_target(results: Results) -> Target:
    """The time to the reference's accuracy, as a ratio of the reference's time."""
    reference = reference_seconds(results)
    times = [seconds_to_accuracy(run, REFERENCE_ACCURACY) for run in runs_of("short", results)]
    ratios = [seconds / reference for seconds in times if seconds is not None and reference]
    all_reached = bool(times) and len(ratios) == len(times)
    reached_text = f"reached by {len(ratios)} of {len(times)}" if times else ""
    return Target(
        name=f"time to {percent(REFERENCE_ACCURACY)} accuracy over the graph's for {REFERENCE_STEPS:,} steps,"
        " short budget",
        maximum=0.04,
        format=lambda ratio: "never reached" if ratio == math.inf else three_decimals(ratio),
        value=(median(ratios) if all_reached else math.inf) if times and reference else None,
        spread="; ".join(filter(None, (spread_of(ratios, three_decimals), reached_text))),
    )


def memory_targets(results: Results) -> Iterator[Target]:
    """The peak memory of the training process at 128 px: of the long training, and of the cost curve."""
    rows = {row["images"]: row["peak_bytes"] for row in results["measures"].get("cost", {}).get("rows", [])}
    peaks: dict[str, list[float]] = {
        "in the long training": [run["peak_bytes"] for run in runs_of("ours", results)],
    }
    for count in (ALL_PHOTOS, 4 * ALL_PHOTOS):
        peaks[f"on {count:,} photos, short training"] = [rows[count]] if count in rows else []
    for case, values in peaks.items():
        yield Target(
            name=f"peak resident memory {case}",
            maximum=2.0,
            format=lambda gigabytes: f"{gigabytes:.2f} GB",
            value=max(values) / GIGABYTE if values else None,
            spread=f"n = {len(values)}" if values else "",
        )


def start_targets(start: Results) -> Iterator[Target]:
    """The time from `train` to the end of the first step."""
    images = f" on {start['images']:,} photos" if start.get("images") else ""
    for kind, maximum in (("first", 35.0), ("second", 8.0)):
        seconds = start.get(kind, {})
        yield Target(
            name=f"{kind} start{images} to the first step",
            maximum=maximum,
            format=lambda seconds: f"{seconds:.1f} s",
            value=seconds.get("median"),
            spread=format_spread(seconds, lambda seconds: f"{seconds:.1f}"),
        )


def longest_runs_at(seconds: float | None, results: Results) -> list[Results]:
    """The longest trainings of `compact` as they were after `seconds`, complete or not."""
    if seconds is not None:
        for name in ("hour", "ours"):
            runs = [cut for run in runs_of(name, results) if (cut := run_at(run, seconds)) is not None]
            if runs:
                return runs
    return []


def run_at(run: Results, seconds: float) -> Results | None:
    """A training as it was after some seconds; None if it had not been evaluated by then."""
    points = [point for point in run["points"] if point["seconds"] <= seconds]
    if len(points) == len(run["points"]):
        return run
    return {"points": points, "accuracy": {"value": points[-1]["accuracy"]}} if points else None


def runs_of(name: str, results: Results) -> list[Results]:
    """The trainings of a competitor; none if it was not measured."""
    runs: list[Results] = results["contenders"].get(name, {}).get("runs", [])
    return runs


def seconds_to_accuracy(run: Results, accuracy: float) -> float | None:
    """The time of the first evaluation with at least this accuracy; None if there is none."""
    return next((point["seconds"] for point in run["points"] if point["accuracy"] >= accuracy), None)


def training_seconds(run: Results) -> float:
    """The time of a training."""
    return float(run["points"][-1]["seconds"])


def format_spread(summary: Results, format_value: Format) -> str:
    """`n = 3, 1.02 to 1.10` for a summary; nothing where there is none."""
    if not summary:
        return ""
    return f"n = {summary['n']}, {format_value(summary['low'])} to {format_value(summary['high'])}"


def spread_of(values: list[float], format_value: Format) -> str:
    """`n = 3, 1.02 to 1.10` for some values; nothing where there are none."""
    summary = {"n": len(values), "low": min(values), "high": max(values)} if values else {}
    return format_spread(summary, format_value)


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{share * 100:.1f} %"


def two_decimals(value: float) -> str:
    """Two decimals."""
    return f"{value:.2f}"


def three_decimals(value: float) -> str:
    """Three decimals."""
    return f"{value:.3f}"


def no_decimals(value: float) -> str:
    """No decimals, thousands separated."""
    return f"{value:,.0f}"
