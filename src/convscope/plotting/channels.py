"""The filters of a convolution and the activations of a block: every channel as a tile of one grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.colors import Normalize

from convscope.formatting import printable
from convscope.image_rendering import tile_grid
from convscope.plotting.style import GREY, NotebookFigure, add_colorbar, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MAX_TICKS = 16
TILE_PIXELS = 24  # a smaller tile is drawn larger, so that the gaps between tiles look the same


@styled
def plot_filters(weights: NDArray[np.floating], *, input_channel: int = 0, title: str = "filters") -> Figure:
    """The filters of a convolution, as they weight one of its input channels: blue negative, red positive, white 0.

    Args:
        weights: (height, width, inputs, outputs); the scale is that of all inputs, so that plots of several compare.
        input_channel: 0..inputs-1.
        title: the name of the convolution.
    """
    if weights.ndim != 4 or not 0 <= input_channel < weights.shape[2]:
        raise ValueError(
            f"found weights of shape {weights.shape} and input channel {input_channel}; "
            "expected (height, width, inputs, outputs) and one of the inputs"
        )
    limit = float(np.max(np.abs(weights), where=np.isfinite(weights), initial=0.0)) or 1.0
    tiles = np.moveaxis(weights[:, :, input_channel], -1, 0)  # outputs first
    return _draw_tiles(tiles, Normalize(-limit, limit), "RdBu_r", f"{title}, input channel {input_channel}")


@styled
def plot_activations(activations: NDArray[np.floating], *, title: str = "activations") -> Figure:
    """The activations of a block for one image: all its channels, on one colour scale.

    Args:
        activations: (height, width, channels).
        title: which activations these are, such as `activations of block1`.
    """
    if activations.ndim != 3:
        raise ValueError(f"found activations of shape {activations.shape}; expected (height, width, channels)")
    is_finite = np.isfinite(activations)
    low = float(np.min(activations, where=is_finite, initial=0.0))
    high = float(np.max(activations, where=is_finite, initial=low)) or 1.0
    tiles = np.moveaxis(activations, -1, 0)  # channels first
    return _draw_tiles(tiles, Normalize(low, high), "viridis", title)


def _draw_tiles(tiles: NDArray[np.floating], scale: Normalize, colormap: str, title: str) -> Figure:
    """Tiles (n, height, width) side by side in one picture, with one colour scale, numbered at the left and above."""
    repeat = max(1, round(TILE_PIXELS / max(tiles.shape[1:])))
    large = tiles.astype(np.float64).repeat(repeat, axis=1).repeat(repeat, axis=2)
    gap = 2 * max(1, round(max(large.shape[1:]) / 32))
    grid, columns = tile_grid(large[..., np.newaxis], gap=gap, fill=np.nan)
    rows = math.ceil(len(tiles) / columns)
    width = min(1.6 * columns, 8.5)
    figure = NotebookFigure(figsize=(width + 1.1, width * grid.shape[0] / grid.shape[1] + 0.7))
    axes = figure.add_subplot()
    extent = (0.0, columns, rows, 0.0)  # left, right, bottom, top: a tile is 1 wide and 1 high, the first at the top
    mappable = axes.imshow(
        grid[..., 0],
        cmap=matplotlib.colormaps[colormap].with_extremes(bad="#e8e8e8"),  # the gaps are NaN
        norm=scale,
        interpolation="nearest",
        extent=extent,
        aspect="auto",
    )
    across = range(0, columns, math.ceil(columns / MAX_TICKS))
    down = range(0, rows, math.ceil(rows / MAX_TICKS))
    axes.set_xticks([column + 0.5 for column in across], [f"+{column}" for column in across])
    axes.set_yticks([row + 0.5 for row in down], [str(row * columns) for row in down])
    axes.tick_params(length=0, labeltop=True, labelbottom=False, labelcolor=GREY)
    axes.spines[:].set_visible(False)
    axes.set_title(printable(title))
    add_colorbar(axes, mappable, axes_width=width)
    return figure
