"""The amounts that each scale of the benchmark measures, and the approximate time of each part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Scale = Literal["full", "quick", "smoke"]
REFERENCE_STEPS = 10_000
SHORT_SHARE = 0.04  # the short budget, as a share of the reference's time
SHORT_SECONDS = (10.0, 90.0)  # its bounds
HOUR_SECONDS = 3600.0
# of the recipe of the hour; docs/decisions/compact.md has the reasons
HOUR_CHOICES: dict[str, Any] = {"image_size": 160, "erase": 0.25}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The amounts of one scale.

    Attributes:
        max_photos: photos in all; None: every one.
        num_validation: photos to evaluate on.
        graph_steps, graph_seconds: of the reference's computation, whichever ends first.
        baseline_seconds: training time of Keras and of PyTorch.
        max_budget_seconds: of the long budget, which is never more than the reference's time for 10,000 steps.
        seeds, short_seeds: trainings of convscope with the long (or the hour's) and with the short budget.
        burst_steps, burst_rounds: of the throughput of `classic`.
        matrix_sizes, product_rounds: of the matrix peak.
        timed_steps: of `compact` at each size.
        first_starts, second_starts: how often each start is timed.
        cost_counts, cost_steps: photos and steps of the cost curve.
        seconds: approximate time of each part.
        first_seed: of the long trainings; from 1 on they are added to those in the JSON.
    """

    max_photos: int | None
    num_validation: int
    graph_steps: int
    graph_seconds: float
    baseline_seconds: float
    max_budget_seconds: float
    seeds: int
    short_seeds: int
    burst_steps: int
    burst_rounds: int
    matrix_sizes: tuple[int, ...]
    product_rounds: int
    timed_steps: int
    first_starts: int
    second_starts: int
    cost_counts: tuple[int, ...]
    cost_steps: int
    seconds: dict[str, float]
    first_seed: int = 0


FULL = Plan(
    max_photos=None,
    num_validation=4000,
    graph_steps=REFERENCE_STEPS,
    graph_seconds=630,  # a fast machine takes all steps; elsewhere their time is extrapolated
    baseline_seconds=240,
    max_budget_seconds=900,
    seeds=1,
    short_seeds=3,
    burst_steps=60,
    burst_rounds=3,
    matrix_sizes=(1024, 2048, 4096),
    product_rounds=3,
    timed_steps=12,
    first_starts=2,
    second_starts=3,
    cost_counts=(10_499, 20_998, 41_996, 83_992),
    cost_steps=60,
    seconds={
        "graph": 720,
        "keras": 290,
        "torch": 290,
        "short": 380,
        "ours": 960,
        "hour": 3760,
        "throughput": 150,
        "peak": 180,
        "start": 210,
        "cost": 360,
    },
)
QUICK = Plan(
    max_photos=5000,
    num_validation=1000,
    graph_steps=300,
    graph_seconds=60,
    baseline_seconds=40,
    max_budget_seconds=60,
    seeds=1,
    short_seeds=1,
    burst_steps=20,
    burst_rounds=3,
    matrix_sizes=(1024, 2048),
    product_rounds=1,
    timed_steps=6,
    first_starts=1,
    second_starts=1,
    cost_counts=(1000, 2000, 4000, 8000),
    cost_steps=15,
    seconds={
        "graph": 35,
        "keras": 50,
        "torch": 50,
        "short": 20,
        "ours": 75,
        "hour": 3760,
        "throughput": 60,
        "peak": 25,
        "start": 15,
        "cost": 60,
    },
)
SMOKE = Plan(  # tests the benchmark itself
    max_photos=600,
    num_validation=100,
    graph_steps=50,
    graph_seconds=60,
    baseline_seconds=12,
    max_budget_seconds=20,
    seeds=1,
    short_seeds=2,
    burst_steps=4,
    burst_rounds=2,
    matrix_sizes=(512,),
    product_rounds=1,
    timed_steps=3,
    first_starts=1,
    second_starts=1,
    cost_counts=(200, 400),
    cost_steps=4,
    seconds=dict.fromkeys(QUICK.seconds, 20.0),
)
PLANS: dict[Scale, Plan] = {"full": FULL, "quick": QUICK, "smoke": SMOKE}


def reference_seconds(results: dict[str, Any]) -> float | None:
    """The time of the reference's computation for 10,000 steps, extrapolated from the steps that were taken."""
    runs = results["contenders"].get("graph", {}).get("runs")
    if not runs:
        return None
    last = runs[0]["points"][-1]
    return float(last["seconds"] * REFERENCE_STEPS / last["step"])


def budget_seconds(part: str, plan: Plan, results: dict[str, Any]) -> float | None:
    """The budget of a part in seconds; None before the reference's computation is measured."""
    if part == "hour":
        return HOUR_SECONDS
    reference = reference_seconds(results)
    if reference is None:
        return None
    if part == "ours":
        return min(reference, plan.max_budget_seconds)
    lower, upper = SHORT_SECONDS
    return min(max(SHORT_SHARE * reference, lower), upper, plan.max_budget_seconds)


def expected_seconds(part: str, plan: Plan) -> float:
    """The approximate time of a part."""
    return plan.seconds[part] * (plan.seeds if part in ("ours", "hour") else 1)
