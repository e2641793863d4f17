"""Arrays to plot, and the content of a Matplotlib figure."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray


def draw_images(count: int, *, channels: int = 3, size: int = 12) -> NDArray[np.uint8]:
    """Noise, (count, size, size, channels) uint8."""
    return np.random.default_rng(0).integers(256, size=(count, size, size, channels), dtype=np.uint8)


def draw_weights(*shape: int) -> NDArray[np.float32]:
    """Normal numbers float32 of a shape."""
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def as_any(value: Any) -> Any:
    """A value without its static type, to pass an invalid one."""
    return value


def visible(figure: Figure) -> list[Axes]:
    """The visible axes."""
    return [axes for axes in figure.axes if axes.get_visible()]


def tick_names(axes: Axes) -> list[str]:
    """The tick labels of the y axis."""
    return [label.get_text() for label in axes.get_yticklabels()]


def picture(axes: Axes) -> Any:
    """The array that `imshow` drew last, (height, width[, 3]), masked where it is not a number."""
    return axes.images[-1].get_array()
