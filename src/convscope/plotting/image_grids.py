"""Grids of images with their true and predicted classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from convscope.formatting import shorten
from convscope.plotting.style import (
    BLACK,
    BLUE,
    RED,
    TILE_NAME_COLUMNS,
    NotebookFigure,
    show_image,
    styled,
    to_displayable,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MAX_IMAGES = 24
GRID_COLUMNS = 6


@styled
def plot_images(images: NDArray[np.uint8], true: Sequence[str], predicted: Sequence[str] | None = None) -> Figure:
    """A grid of images, the true class above each and the predicted one below it, in red where it is wrong.

    Args:
        images: (n, height, width, 3 or 1) uint8; the first 24 are drawn.
        true: n names of classes.
        predicted: n names of classes.
    """
    if predicted is None:
        return _draw_grid(images, [_tile_name(name) for name in true], [""] * len(true), [BLACK] * len(true))
    titles = [f"true: {_tile_name(name)}" for name in true]
    captions = [f"predicted: {_tile_name(name)}" for name in predicted]
    colors = [BLUE if guess == name else RED for name, guess in zip(true, predicted, strict=True)]
    return _draw_grid(images, titles, captions, colors)


@styled
def plot_mistakes(
    images: NDArray[np.uint8], true: Sequence[str], predicted: Sequence[str], confidence: Sequence[float]
) -> Figure:
    """A grid of images with wrong predictions: the true class above, the predicted one and its probability below.

    Args:
        images: (n, height, width, 3 or 1) uint8; the first 24 are drawn.
        true: n names of classes.
        predicted: n names of classes.
        confidence: n probabilities of the predicted class, 0..1.
    """
    titles = [f"true: {_tile_name(name)}" for name in true]
    captions = [
        f"predicted: {_tile_name(name)}\nconfidence {probability:.1%}"
        for name, probability in zip(predicted, confidence, strict=True)
    ]
    return _draw_grid(images, titles, captions, [RED] * len(captions))


def _draw_grid(
    images: NDArray[np.uint8], titles: Sequence[str], captions: Sequence[str], colors: Sequence[str]
) -> Figure:
    """Images in rows of up to 6, each with a title above and a coloured caption below."""
    if not len(images) == len(titles) == len(captions):
        raise ValueError(f"found {len(images)} images and {len(titles)} names; expected as many of each")
    shown = to_displayable(images[:MAX_IMAGES])
    columns = max(1, min(len(shown), GRID_COLUMNS))
    rows = max(1, math.ceil(len(shown) / columns))
    lines = 1 + max((caption.count("\n") + 1 for caption in captions if caption), default=0)
    figure = NotebookFigure(figsize=(1.9 * columns, (1.95 + 0.2 * lines) * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    for axes, image, title, caption, color in zip(grid.flat, shown, titles, captions, colors, strict=False):
        axes.set_visible(True)
        show_image(axes, image)
        axes.set_title(title)
        axes.set_xlabel(caption, color=color)
    if not 0 < len(images) <= MAX_IMAGES:
        figure.suptitle(f"{len(shown)} of {len(images):,}" if len(images) else "no images")
    return figure


def _tile_name(name: str) -> str:
    return shorten(name, TILE_NAME_COLUMNS)
