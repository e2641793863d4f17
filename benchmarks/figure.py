"""The figure of the benchmark: accuracy over training time, a line for each training, with its label at its end."""

from __future__ import annotations

from statistics import median
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter
from targets import REFERENCE_ACCURACY

from convscope.plotting.style import BLUE, GREY, STYLE

COLORS = {
    "graph": "#555555",
    "keras": "#d55e00",
    "torch": "#a8588a",
    "short": "#3f9bd1",
    "ours": BLUE,
    "hour": "#003f66",
}
LABELS = {
    "graph": "TensorFlow 1 graph",
    "keras": "Keras 3, fit",
    "torch": "PyTorch",
    "short": "convscope, short budget",
    "ours": "convscope, long budget",
    "hour": "convscope, an hour",
}
TICKS = {
    1: "1 s",
    3: "3 s",
    10: "10 s",
    30: "30 s",
    60: "1 min",
    180: "3 min",
    600: "10 min",
    1800: "30 min",
    3600: "1 h",
}
CONVSCOPE = ("short", "ours", "hour")
LEFT = ("short", "ours")  # the label goes left of and above the line's end, where no line is
BELOW = ("graph", "keras", "torch")  # the label goes below the line's end, where no line is
MIN_TIME_RATIO = 2.5  # labels of lines whose ends are nearer than this ratio are moved apart
LABEL_HEIGHT = 0.055  # as a share of the axes' height


def plot_learning_curves(results: dict[str, Any]) -> Figure | None:
    """Draw all trainings; None where there are none."""
    runs_by_name = {name: results["contenders"].get(name, {}).get("runs", []) for name in COLORS}
    if not any(runs_by_name.values()):
        return None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(8.5, 4.6), layout="constrained")
        axes = figure.add_subplot()
        ends: dict[str, tuple[float, float]] = {}
        for name, runs in runs_by_name.items():
            last_points = [draw_run(axes, run, COLORS[name]) for run in runs]
            if last_points:  # the label is at the latest end of all seeds, with their median accuracy
                ends[name] = max(seconds for seconds, _ in last_points), median(y for _, y in last_points)
        set_axes(axes)
        draw_reference_line(axes)
        write_labels(axes, ends)
        axes.set_title(format_title(results), loc="left")
        figure.draw_without_rendering()  # computes the layout while this style is set
        return figure


def draw_run(axes: Axes, run: dict[str, Any], color: str) -> tuple[float, float]:
    """Draw a training; returns its last point (seconds, accuracy)."""
    points = [point for point in run["points"] if point["seconds"] > 0]
    seconds = [point["seconds"] for point in points]
    accuracy = [point["accuracy"] for point in points]
    axes.plot(seconds, accuracy, color=color, linewidth=1.8, marker="o", markersize=3.5)
    return seconds[-1], accuracy[-1]


def set_axes(axes: Axes) -> None:
    """A logarithmic time axis with ticks at round times, and room for labels at the right."""
    points = np.concatenate([np.asarray(line.get_xydata(), np.float64) for line in axes.lines])
    left, right = float(points[:, 0].min()) * 0.3, float(points[:, 0].max())
    axes.set_xscale("log")
    axes.set_xlim(left, right * (right / left) ** 0.5)
    axes.set_ylim(min(0.48, float(points[:, 1].min()) - 0.02), 1.0)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if left <= tick <= right * 1.3]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: TICKS.get(round(seconds), "")))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(alpha=0.25)
    axes.set(xlabel="training time", ylabel="accuracy on held-out photos")


def draw_reference_line(axes: Axes) -> None:
    """Draw a line at the accuracy that the reference reports."""
    axes.axhline(REFERENCE_ACCURACY, color=GREY, linestyle=":", linewidth=1)
    right = axes.get_xlim()[1]
    axes.annotate(
        f"{REFERENCE_ACCURACY * 100:.1f} %, the reference after 10,000 steps",
        (right, REFERENCE_ACCURACY),
        xytext=(-4, 3),
        textcoords="offset points",
        ha="right",
        color=GREY,
        fontsize=8,
    )


def write_labels(axes: Axes, ends: dict[str, tuple[float, float]]) -> None:
    """Write the name and last accuracy of each line at its end, where no other line is."""
    low, high = axes.get_ylim()
    gap = LABEL_HEIGHT * (high - low)
    placed: list[tuple[float, float]] = []
    # labels that are moved up are placed from the lowest, those that are moved down from the highest
    order = sorted(ends, key=lambda name: -ends[name][1] if name in BELOW else ends[name][1])
    for name in order:
        seconds, accuracy = ends[name]
        near = [y for x, y in placed if max(x / seconds, seconds / x) < MIN_TIME_RATIO]
        if name in BELOW:
            height = min([accuracy - gap, *(y - gap for y in near)])
        else:
            height = max([accuracy, *(y + gap for y in near)])
        placed.append((seconds, height))
        axes.annotate(
            f"{LABELS[name]}: {accuracy * 100:.1f} %",
            (seconds, height),
            xytext=(-6, 6) if name in LEFT else (7, 0),
            textcoords="offset points",
            ha="right" if name in LEFT else "left",
            va="bottom" if name in LEFT else "center",
            color=COLORS[name],
            fontweight="bold" if name in CONVSCOPE else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},  # readable over a line
        )


def format_title(results: dict[str, Any]) -> str:
    """The data, and the machine."""
    split, machine = results["split"], results["machine"]
    return (
        f"{machine['data']}: trained from scratch on {split['train']:,} photos,"
        f" evaluated on {split['validation']:,}; {machine['cores']} CPU cores"
    )
