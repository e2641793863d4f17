"""How much of everything a benchmark does, and how long that takes about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Scale = Literal["full", "quick", "smoke"]
REFERENCE_STEPS = 10_000
SHORT_SHARE, LEAST_SHORT_SECONDS = 0.04, 10.0  # of the reference's time, the budget of our short training
HOUR_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The amounts of one scale.

    Attributes:
        most_photos: None: all that there are. held_out: photos to judge on.
        graph_steps: of the reference's computation. peer_seconds: that each peer learns.
        ours_seconds: our budget; None: the time that the reference's computation needs for 10,000 steps.
        seeds, short_seeds: trainings of ours, of the long and of the short budget.
        burst_steps, burst_rounds: of the comparison of paces.
        matrix_sizes, product_rounds: of the matrix peak. timed_steps: of `compact` at each size.
        first_starts, second_starts: how often each is timed.
        cost_counts, cost_steps: of the cost curve.
        seconds: what each part takes about.
    """

    most_photos: int | None
    held_out: int
    graph_steps: int
    peer_seconds: float
    ours_seconds: float | None
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


FULL = Plan(
    most_photos=None,
    held_out=4000,
    graph_steps=REFERENCE_STEPS,
    peer_seconds=240,
    ours_seconds=None,
    seeds=1,
    short_seeds=3,
    burst_steps=60,
    burst_rounds=3,
    matrix_sizes=(1024, 2048, 4096),
    product_rounds=2,
    timed_steps=12,
    first_starts=2,
    second_starts=3,
    cost_counts=(10_499, 20_998, 41_996, 83_992),
    cost_steps=60,
    seconds={
        "graph": 900,
        "keras": 290,
        "torch": 290,
        "short": 210,
        "ours": 700,
        "hour": 3700,
        "throughput": 150,
        "peak": 120,
        "start": 110,
        "cost": 360,
    },
)
QUICK = Plan(
    most_photos=5000,
    held_out=1000,
    graph_steps=300,
    peer_seconds=40,
    ours_seconds=60,
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
        "hour": 3700,
        "throughput": 60,
        "peak": 25,
        "start": 15,
        "cost": 60,
    },
)
SMOKE = Plan(  # tests the benchmark itself
    most_photos=600,
    held_out=100,
    graph_steps=50,
    peer_seconds=12,
    ours_seconds=20,
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


def reference_seconds(facts: dict[str, Any]) -> float | None:
    """The time that the reference's computation needs for 10,000 steps, at the pace that was measured."""
    runs = facts["contenders"].get("graph", {}).get("runs")
    if not runs:
        return None
    last = runs[0]["points"][-1]
    return float(last["seconds"] * REFERENCE_STEPS / last["step"])


def budget(part: str, plan: Plan, facts: dict[str, Any]) -> float | None:
    """Our budget in seconds for a training; None where it is not known yet."""
    if part == "hour":
        return HOUR_SECONDS
    whole = plan.ours_seconds or reference_seconds(facts)
    if whole is None or part == "ours":
        return whole
    return max(SHORT_SHARE * whole, LEAST_SHORT_SECONDS)


def expected_seconds(part: str, plan: Plan, facts: dict[str, Any]) -> float:
    """How long a part takes about."""
    known = reference_seconds(facts)
    if part == "ours" and plan.ours_seconds is None and known:
        return known * plan.seeds + 60
    return plan.seconds[part]
