"""The style of every plot, and figures as PNG files.

Nothing global is touched: no pyplot, no display, no style sheet. A figure shows itself in a notebook, and the same
arrays give the same PNG bytes.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.layout_engine import ConstrainedLayoutEngine

from convscope.files import write_atomic

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arguments = ParamSpec("Arguments")

DOTS_PER_INCH = 120
LAYOUT_PASSES = 2  # the second sees how much room the first left
NAME_COLUMNS = 20
TILE_NAME_COLUMNS = 14

BLACK, GREY, BLUE, RED = "#222222", "#8a8a8a", "#0072b2", "#c8371b"  # colour-blind readers can tell BLUE and RED apart
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a class may be called "$5 note$"
    "text.color": BLACK,
    "axes.labelcolor": BLACK,
    "axes.titlesize": 9,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": DOTS_PER_INCH,
    "figure.constrained_layout.h_pad": 0.08,  # inches
    "figure.constrained_layout.w_pad": 0.08,
    "font.size": 9,
    "legend.frameon": False,
    "xtick.color": GREY,
    "xtick.labelcolor": BLACK,
    "ytick.color": GREY,
    "ytick.labelcolor": BLACK,
}
# the installed ones draw the characters that DejaVu Sans, which comes with Matplotlib, does not have
CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Noto Sans CJK JP",
    "SimHei",
    "Heiti TC",
    "Arial Unicode MS",
    "Droid Sans Fallback",
)


class NotebookFigure(Figure):
    """A figure that a notebook shows as it would be saved, without loading pyplot."""

    def _repr_png_(self) -> bytes:
        return to_png(self)


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's defaults with our changes, whatever style the user has set; theirs is restored after."""
    installed = {font.name for font in fontManager.ttflist}
    with matplotlib.rc_context(), warnings.catch_warnings():
        # a character that no installed font has is drawn as a box; a warning for each would not say more
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        matplotlib.rcParams["font.family"] = ["DejaVu Sans", *(name for name in CJK_FONTS if name in installed)]
        yield


def styled(plot: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Decorate a plot: it draws in our style, and its layout is computed once."""

    @functools.wraps(plot)
    def styled_plot(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with _style():
            figure = plot(*args, **kwargs)
            layout = ConstrainedLayoutEngine()
            for _ in range(LAYOUT_PASSES):
                layout.execute(figure)  # here, once: computed at each save, positions would differ by a hair
        return figure

    return styled_plot


def to_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file of 120 dots per inch; the same figure gives the same bytes."""
    with _style():
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
        return file.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, atomically."""
    write_atomic(path, to_png(figure))


def to_displayable(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images as `imshow` takes them: (n, height, width, 3), or (n, height, width) for grey ones.

    Args:
        images: (n, height, width, 3 or 1) uint8.

    Raises:
        ValueError: they are not.
    """
    if images.ndim != 4 or images.shape[3] not in (1, 3) or images.dtype != np.uint8:
        raise ValueError(
            f"found images of shape {images.shape}, {images.dtype}; expected (n, height, width, 3 or 1) uint8"
        )
    return images[..., 0] if images.shape[3] == 1 else images


def show_image(axes: Axes, image: NDArray[np.uint8]) -> None:
    """Draw an image (height, width[, 3]), a grey one from black 0 to white 255, without ticks and frame."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def add_colorbar(axes: Axes, mappable: ScalarMappable, *, axes_width: float, label: str = "") -> None:
    """Add a thin colour bar, as high as its axes, which are `axes_width` inches wide."""
    bar_axes = axes.inset_axes((1.0 + 0.1 / axes_width, 0.0, 0.14 / axes_width, 1.0))
    bar = axes.figure.colorbar(mappable, cax=bar_axes, label=label)
    bar.outline.set_visible(False)
