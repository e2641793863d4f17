"""The probabilities of one image as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import PercentFormatter

from convscope.formatting import shorten
from convscope.plotting.style import BLUE, GREY, NAME_COLUMNS, NotebookFigure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MAX_CLASSES = 10


@styled
def plot_probabilities(probabilities: NDArray[np.floating], classes: Sequence[str]) -> Figure:
    """The probability of each class for one image, the highest on top; of more than 10 classes the 10 highest.

    Args:
        probabilities: (classes,), 0..1.
        classes: the names of the classes.
    """
    if probabilities.shape != (len(classes),):
        raise ValueError(f"found probabilities of shape {probabilities.shape}; expected ({len(classes)},)")
    order = np.argsort(-probabilities, kind="stable")[:MAX_CLASSES].tolist()
    figure = NotebookFigure(figsize=(6.0, 0.8 + 0.34 * len(order)))
    axes = figure.add_subplot()
    bars = axes.barh(range(len(order)), probabilities[order], color=[BLUE, *[GREY] * (len(order) - 1)])
    axes.bar_label(bars, [f"{probabilities[index]:.1%}" for index in order], padding=4)
    axes.set_yticks(range(len(order)), [shorten(classes[index], NAME_COLUMNS) for index in order])
    axes.invert_yaxis()
    axes.set(xlim=(0.0, 1.12), xlabel="probability")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(axis="y", length=0)
    axes.spines["bottom"].set_bounds(0.0, 1.0)
    if len(order) < len(classes):
        rest = 1.0 - float(probabilities[order].sum())
        axes.set_title(f"the {len(order)} highest of {len(classes):,} classes; sum of the others {max(rest, 0.0):.1%}")
    return figure
