"""An image beside its nearest training images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


@styled
def plot_neighbours(
    image: NDArray[np.uint8],
    predicted: str,
    neighbours: Sequence[NDArray[np.uint8]],
    *,
    labels: Sequence[str],
    similarities: Sequence[float],
) -> Figure:
    """An image, and beside it training images: above each its class, in red where that is not the predicted one.

    Args:
        image: (height, width, 3 or 1) uint8.
        predicted: the predicted class of the image.
        neighbours: n training images of any size, (height, width, 3 or 1) uint8, the most similar first.
        labels: n names of classes.
        similarities: n cosine similarities, -1 to 1.
    """
    titles = [f"predicted: {shorten(predicted, TILE_NAME_COLUMNS)}"]
    titles += [shorten(label, TILE_NAME_COLUMNS) for label in labels]
    captions = ["this image", *(f"similarity {similarity:.2f}" for similarity in similarities)]
    colors = [BLACK, *(BLUE if label == predicted else RED for label in labels)]
    images = (image, *neighbours)
    figure = NotebookFigure(figsize=(1.9 * len(images), 2.35))
    grid = figure.subplots(1, len(images), squeeze=False)[0]
    for axes, shown, title, caption, color in zip(grid, images, titles, captions, colors, strict=True):
        show_image(axes, to_displayable(shown[None])[0])
        axes.set_title(title, color=color)
        axes.set_xlabel(caption)
    return figure
