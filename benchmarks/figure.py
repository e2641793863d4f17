"""The figure of the benchmark: accuracy over seconds of training, one line for each training, named where it ends."""

from __future__ import annotations

from statistics import median
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from convscope.plotting.style import BLUE, GREY, STYLE

TARGET = 0.795  # what the reference reports after 10,000 steps
COLORS = {
    "graph": "#555555",
    "keras": "#d55e00",
    "torch": "#a8588a",
    "short": "#3f9bd1",
    "ours": BLUE,
    "hour": "#003f66",
}
NAMES = {
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
OURS = ("short", "ours", "hour")
LEFT = ("short", "ours")  # nobody is above them: their names go where no line is
BELOW = ("graph", "keras", "torch")  # their lines end below those that go on, and near the mark
NEAR_SECONDS = 2.5  # labels whose lines end within this factor of each other are kept apart
LABEL_HEIGHT = 0.055  # of the axes' height


def plot_contenders(facts: dict[str, Any]) -> Figure | None:
    """Draw what was trained; None where nothing was."""
    contenders = {name: facts["contenders"].get(name, {}).get("runs", []) for name in COLORS}
    if not any(contenders.values()):
        return None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(8.5, 4.6), layout="constrained")
        axes = figure.add_subplot()
        ends: dict[str, tuple[float, float]] = {}
        for name, runs in contenders.items():
            drawn = [draw_run(axes, run, COLORS[name]) for run in runs]
            if drawn:  # the name stands where the last of the seeds ends, with the median
                ends[name] = max(seconds for seconds, _ in drawn), median(accuracy for _, accuracy in drawn)
        set_axes(axes)
        mark_target(axes)
        write_names(axes, ends)
        axes.set_title(title(facts), loc="left")
        figure.draw_without_rendering()  # settles the layout in this style
        return figure


def draw_run(axes: Axes, run: dict[str, Any], color: str) -> tuple[float, float]:
    """One line; returns its last point (seconds, accuracy)."""
    points = [point for point in run["points"] if point["seconds"] > 0]
    seconds = [point["seconds"] for point in points]
    accuracy = [point["accuracy"] for point in points]
    axes.plot(seconds, accuracy, color=color, linewidth=1.8, marker="o", markersize=3.5)
    return seconds[-1], accuracy[-1]


def set_axes(axes: Axes) -> None:
    """Seconds on a logarithmic scale with ticks that a person would choose, room for the names at the right."""
    lines = [line.get_xydata() for line in axes.lines]
    points = np.concatenate([np.asarray(each, np.float64) for each in lines])
    left, right = float(points[:, 0].min()) * 0.3, float(points[:, 0].max())
    axes.set_xscale("log")
    axes.set_xlim(left, right * (right / left) ** 0.5)
    axes.set_ylim(min(0.48, float(points[:, 1].min()) - 0.02), 1.0)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if left <= tick <= right * 1.3]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: TICKS.get(round(seconds), "")))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(alpha=0.25)
    axes.set(xlabel="time of training", ylabel="accuracy on the photos held back")


def mark_target(axes: Axes) -> None:
    """A line at what the reference reports."""
    axes.axhline(TARGET, color=GREY, linestyle=":", linewidth=1)
    right = axes.get_xlim()[1]
    axes.annotate(
        f"{TARGET * 100:.1f} %, the reference after 10,000 steps",
        (right, TARGET),
        xytext=(-4, 3),
        textcoords="offset points",
        ha="right",
        color=GREY,
        fontsize=8,
    )


def write_names(axes: Axes, ends: dict[str, tuple[float, float]]) -> None:
    """The name and last accuracy of each line at its end, where the other lines leave room."""
    low, high = axes.get_ylim()
    gap = LABEL_HEIGHT * (high - low)
    placed: list[tuple[float, float]] = []
    # from the lowest up those that go up, from the highest down those that go down
    order = sorted(ends.items(), key=lambda each: -each[1][1] if each[0] in BELOW else each[1][1])
    for name, (seconds, accuracy) in order:
        near = [y for x, y in placed if max(x / seconds, seconds / x) < NEAR_SECONDS]
        if name in BELOW:
            height = min([accuracy - gap, *(y - gap for y in near)])
        else:
            height = max([accuracy, *(y + gap for y in near)])
        placed.append((seconds, height))
        axes.annotate(
            f"{NAMES[name]}: {accuracy * 100:.1f} %",
            (seconds, height),
            xytext=(-6, 6) if name in LEFT else (7, 0),
            textcoords="offset points",
            ha="right" if name in LEFT else "left",
            va="bottom" if name in LEFT else "center",
            color=COLORS[name],
            fontweight="bold" if name in OURS else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},  # a line may pass behind it
        )


def title(facts: dict[str, Any]) -> str:
    """What was learned from, and on what."""
    split, machine = facts["split"], facts["machine"]
    return (
        f"{machine['data']}: {split['train']:,} photos to learn from, from scratch,"
        f" {split['validation']:,} to be judged on; {machine['cores']} CPU cores"
    )
