"""Learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from convscope.plotting.style import BLUE, GREY, NotebookFigure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_ACCURACY = 1.01  # the axis ends at most a little over 100 %, so that a point there is not cut


@styled
def plot_history(history: Mapping[str, Sequence[float | None]]) -> Figure:
    """Loss and accuracy by epoch, in training and in validation; a dotted line marks the lowest validation loss.

    Args:
        history: columns with Keras's names: epoch, loss, accuracy, val_loss, val_accuracy; values may be None or NaN,
            columns may be missing, others are ignored.
    """
    figure = NotebookFigure(figsize=(9.0, 3.6))
    panels = figure.subplots(1, 2)
    epochs = np.array(history["epoch"], np.float64)
    columns = {name: np.array(values, np.float64) for name, values in history.items()}  # None becomes NaN
    for axes, name in zip(panels, ("loss", "accuracy"), strict=True):
        for key, label, color in ((name, "training", GREY), (f"val_{name}", "validation", BLUE)):
            if key in columns and np.isfinite(columns[key]).any():
                is_known = np.isfinite(columns[key])
                axes.plot(epochs[is_known], columns[key][is_known], color=color, label=label, marker="o", markersize=3)
        axes.set(title=name, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
    panels[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    panels[1].set_ylim(top=min(panels[1].get_ylim()[1], MAX_ACCURACY))
    losses = columns.get("val_loss", np.full(1, np.nan))
    if np.isfinite(losses).any():
        for axes in panels:
            axes.axvline(epochs[np.nanargmin(losses)], color=GREY, linestyle=":", label="lowest validation loss")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
