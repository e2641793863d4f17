"""The confusion matrix as a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.colors import PowerNorm

from convscope.formatting import num_columns, shorten
from convscope.plotting.style import BLACK, GREY, NAME_COLUMNS, NotebookFigure, add_colorbar, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MAX_LABELLED_CLASSES = 40
MAX_COUNTED_CLASSES = 20
COLUMN_INCHES = 0.075  # of the text of a name


@styled
def plot_confusion(confusion: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """The confusion matrix: counts in the cells, colours by the proportion of the true class: each row sums to 1.

    Many classes have no counts in the cells, and not every name beside them; a class without images is a grey row.

    Args:
        confusion: (classes, classes), rows true, columns predicted.
        classes: the names of the classes.
    """
    num_classes = len(classes)
    if confusion.shape != (num_classes, num_classes):
        raise ValueError(f"found a matrix of shape {confusion.shape}; expected ({num_classes}, {num_classes})")
    support = confusion.sum(axis=1, keepdims=True)
    proportions = np.where(support > 0, confusion / np.maximum(support, 1), np.nan)
    ticks = range(0, num_classes, math.ceil(num_classes / MAX_LABELLED_CLASSES))
    names = [shorten(classes[tick], NAME_COLUMNS) for tick in ticks]
    longest = max(map(num_columns, names)) * COLUMN_INCHES
    side = min(max(0.55 * num_classes, 2.2), 8.5)
    figure = NotebookFigure(figsize=(side + longest + 1.4, side + longest + 0.5))
    axes = figure.add_subplot()
    # of many classes most cells are near 0: the square root tells them apart
    scale = PowerNorm(0.5 if num_classes > MAX_COUNTED_CLASSES else 1.0, 0.0, 1.0)
    colormap = matplotlib.colormaps["Blues"].with_extremes(bad="#e8e8e8")  # a row of NaN is grey
    mappable = axes.imshow(proportions, cmap=colormap, norm=scale)
    rotated: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    font_size = min(9.0, max(6.0, 240 / len(names)))
    axes.set_xticks(ticks, names, fontsize=font_size, **(rotated if longest > side / num_classes else {}))
    axes.set_yticks(ticks, names, fontsize=font_size)
    axes.set(xlabel="predicted", ylabel="true")
    if num_classes <= MAX_COUNTED_CLASSES:
        _write_counts(axes, confusion, proportions)
    add_colorbar(axes, mappable, axes_width=side, label="proportion of the true class")
    return figure


def _write_counts(axes: Axes, confusion: NDArray[np.int64], proportions: NDArray[np.float64]) -> None:
    """Write a count in each cell, light on dark colours."""
    widest = max(len(f"{confusion.max():,}"), 3)
    font_size = min(11.0, 60 / widest * (1.0 if len(confusion) <= 12 else 0.7))
    for (row, column), count in np.ndenumerate(confusion):
        color = "white" if proportions[row, column] > 0.55 else BLACK if count else GREY
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=font_size, in_layout=False)
