"""Summaries of repeated measurements: n, median and range."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def summarize(values: Sequence[float]) -> dict[str, float]:
    """The number of values, their median, the lowest and the highest."""
    return {"n": len(values), "median": statistics.median(values), "low": min(values), "high": max(values)}
