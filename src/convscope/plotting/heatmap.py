"""An image and its heat map for one class, as HiResCAM computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize

from convscope.formatting import printable
from convscope.image_rendering import HEAT, heat_layer, heat_scale, overlay
from convscope.plotting.style import NotebookFigure, add_colorbar, show_image, styled, to_displayable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

COLORMAP = LinearSegmentedColormap.from_list(
    "heat", [(stop, tuple(value / 255 for value in color)) for stop, color in HEAT]
)


@styled
def plot_heatmap(
    image: NDArray[np.uint8], heat: NDArray[np.float32], *, class_index: int, title: str = "heat map"
) -> Figure:
    """An image, and beside it the same image under the heat map for one class, in the colours of `drawing`.

    The strongest colour is the largest heat of any class, so that the maps of one image compare. The pixels are those
    of `drawing.overlay`, the same as `convscope serve` shows.

    Args:
        image: (size, size, 3 or 1) uint8.
        heat: (any, any, classes), at least 0; enlarged to the image.
        class_index: the class whose heat is drawn, 0..classes-1.
        title: such as `heat map for dog`.
    """
    displayable = to_displayable(image[np.newaxis])[0]
    if image.shape[0] != image.shape[1]:
        raise ValueError(f"found an image of shape {image.shape}; expected a square one")
    if heat.ndim != 3 or not 0 <= class_index < heat.shape[2]:
        raise ValueError(
            f"found heat of shape {heat.shape} and class {class_index}; expected (any, any, classes) and one of them"
        )
    if not (np.isfinite(heat) & (heat >= 0)).all():
        raise ValueError(f"found heat from {heat.min()} to {heat.max()}; expected finite numbers, at least 0")
    scale = heat_scale(heat)
    figure = NotebookFigure(figsize=(8.0, 4.0))
    left, right = figure.subplots(1, 2)
    show_image(left, displayable)
    left.set_title("image")
    show_image(right, overlay(image, heat_layer(heat[..., class_index], len(image), scale)))
    right.set_title(printable(title))
    right.set_xlabel("HiResCAM; no colour: no evidence")
    mappable = ScalarMappable(Normalize(0.0, scale or 1.0), COLORMAP)
    add_colorbar(right, mappable, axes_width=3.4, label="contribution to the logit")
    return figure
