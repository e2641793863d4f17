"""How much of everything a benchmark does, and how long that takes about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Scale = Literal["full", "quick", "smoke"]
REFERENCE_STEPS = 10_000
SHORT_SHARE = 0.04  # of the reference's time, the budget of our short training
SHORT_SECONDS = (10.0, 90.0)  # that it has at least and at most
HOUR_SECONDS = 3600.0
# of the hour's recipe; docs/decisions/compact.md says why
HOUR_CHOICES: dict[str, Any] = {"image_size": 160, "erase": 0.25}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The amounts of one scale.

    Attributes:
        most_photos: None: all that there are. held_out: photos to judge on.
        graph_steps, graph_seconds: of the reference's computation, whichever ends first.
        peer_seconds: that each peer learns.
        ours_seconds: our budget at most; it is never more than the reference's computation needs for 10,000 steps.
        seeds, short_seeds: trainings of ours, of the long and of the short budget.
        first_seed: of the long ones; from 1 on they join those that were measured before.
        burst_steps, burst_rounds: of the comparison of paces.
        matrix_sizes, product_rounds: of the matrix peak. timed_steps: of `compact` at each size.
        first_starts, second_starts: how often each is timed.
        cost_counts, cost_steps: of the cost curve.
        seconds: what each part takes about.
    """

    most_photos: int | None
    held_out: int
    graph_steps: int
    graph_seconds: float
    peer_seconds: float
    ours_seconds: float
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
    most_photos=None,
    held_out=4000,
    graph_steps=REFERENCE_STEPS,
    graph_seconds=630,  # on a fast machine that is all of them; on another the pace says how long they would take
    peer_seconds=240,
    ours_seconds=900,
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
    most_photos=5000,
    held_out=1000,
    graph_steps=300,
    graph_seconds=60,
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
        "hour": 3760,
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
    graph_seconds=60,
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
    reference = reference_seconds(facts)
    if reference is None:
        return None
    if part == "ours":
        return min(reference, plan.ours_seconds)
    least, most = SHORT_SECONDS
    return min(max(SHORT_SHARE * reference, least), most, plan.ours_seconds)


def expected_seconds(part: str, plan: Plan) -> float:
    """How long a part takes about."""
    return plan.seconds[part] * (plan.seeds if part in ("ours", "hour") else 1)
