"""An image beside the training images that it is most like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convscope.plotting.figures import INK, RIGHT, TILE_NAME_COLUMNS, WRONG, NotebookFigure, drawing
from convscope.statistics.metrics import shorten

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


@drawing
def plot_neighbours(
    image: NDArray[np.uint8],
    predicted: str,
    pictures: Sequence[NDArray[np.uint8]],
    *,
    labels: Sequence[str],
    similarities: Sequence[float],
) -> Figure:
    """An image, and beside it training images: above each its class, in red where that is not the predicted one.

    Args:
        image: (height, width, 3 or 1) uint8.
        predicted: the class that the network takes it for.
        pictures: n of any size, (height, width, 3 or 1) uint8, the most similar first.
        labels: n names of classes.
        similarities: n cosines, -1 to 1.
    """
    names = [predicted, *labels]
    above = [f"predicted: {shorten(predicted, TILE_NAME_COLUMNS)}"]
    above += [shorten(label, TILE_NAME_COLUMNS) for label in labels]
    below = ["this image", *(f"similarity {similarity:.2f}" for similarity in similarities)]
    figure = NotebookFigure(figsize=(1.9 * len(names), 2.35))
    grid = figure.subplots(1, len(names), squeeze=False)[0]
    for place, (axes, picture) in enumerate(zip(grid, (image, *pictures), strict=True)):
        axes.imshow(picture[..., 0] if picture.shape[2] == 1 else picture, cmap="gray", vmin=0, vmax=255)
        axes.set_title(above[place], color=INK if not place else RIGHT if names[place] == predicted else WRONG)
        axes.set_xlabel(below[place])
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure
