"""Every plot: a function from arrays to a Matplotlib figure.

Nothing global is touched: no pyplot, no display, no style sheet. A figure shows itself in a notebook, and the same
arrays give the same PNG bytes.
"""

from __future__ import annotations

import functools
import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image

from convscope.files import write_atomic
from convscope.formatting import printable
from convscope.statistics.metrics import num_columns, shorten

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arguments = ParamSpec("Arguments")

DOTS_PER_INCH = 120
LAYOUT_PASSES = 2  # the second sees how much room the first left
MOST_IMAGES = 24
GRID_COLUMNS = 6
MOST_ACCURACY = 1.01  # where the axis ends at most: a little over 100 %, so that a point there is seen whole
MOST_SCORES = 10
MOST_LABELLED_CLASSES = 40
MOST_COUNTED_CLASSES = 20
MOST_TICKS = 16
NAME_COLUMNS = 20
TILE_NAME_COLUMNS = 14
TILE_PIXELS = 24  # a smaller tile is drawn larger, so that the gaps between tiles look alike

INK, QUIET, RIGHT, WRONG = "#222222", "#8a8a8a", "#0072b2", "#c8371b"
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a class may be called "$5 note$"
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.edgecolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": DOTS_PER_INCH,
    "figure.constrained_layout.h_pad": 0.08,  # inches
    "figure.constrained_layout.w_pad": 0.08,
    "font.size": 9,
    "legend.frameon": False,
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
}
# the first that are installed draw what DejaVu Sans, which comes with Matplotlib, does not have
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
    """A figure that a notebook shows as it would be saved, without pyplot's having been loaded."""

    def _repr_png_(self) -> bytes:
        return to_png(self)


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's own defaults and our few changes, whatever style the person works in; theirs comes back after."""
    installed = {font.name for font in fontManager.ttflist}
    with matplotlib.rc_context(), warnings.catch_warnings():
        # letters that no installed font has are drawn as boxes, which says it once, where a warning for each would not
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        matplotlib.rcParams["font.family"] = ["DejaVu Sans", *(name for name in CJK_FONTS if name in installed)]
        yield


def drawing(plot: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Let `plot` draw in our style, and settle where everything goes."""

    @functools.wraps(plot)
    def plotted(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with _style():
            figure = plot(*args, **kwargs)
            layout = ConstrainedLayoutEngine()
            for _ in range(LAYOUT_PASSES):
                layout.execute(figure)  # here, once: if each drawing did it, things would move by a hair each time
        return figure

    return plotted


@drawing
def plot_images(images: NDArray[np.uint8], true: Sequence[str], predicted: Sequence[str] | None = None) -> Figure:
    """A grid of images, the true class above each and the predicted one below it, in red where it is wrong.

    Args:
        images: (n, height, width, 3 or 1) uint8; the first 24 are drawn.
        true: n names of classes.
        predicted: n names of classes.
    """
    if predicted is None:
        return _draw_grid(images, [_tile_name(name) for name in true], [""] * len(true), [INK] * len(true))
    above = [f"true: {_tile_name(name)}" for name in true]
    below = [f"predicted: {_tile_name(guess)}" for guess in predicted]
    colors = [RIGHT if guess == name else WRONG for name, guess in zip(true, predicted, strict=True)]
    return _draw_grid(images, above, below, colors)


@drawing
def plot_mistakes(
    images: NDArray[np.uint8], true: Sequence[str], predicted: Sequence[str], confidence: Sequence[float]
) -> Figure:
    """A grid of wrongly answered images: above each what it is, below it what it was taken for, and how surely.

    Args:
        images: (n, height, width, 3 or 1) uint8; the first 24 are drawn.
        true: n names of classes.
        predicted: n names of classes.
        confidence: n probabilities, 0..1.
    """
    above = [f"true: {_tile_name(name)}" for name in true]
    below = [
        f"predicted: {_tile_name(guess)}\n{sure:.1%} sure" for guess, sure in zip(predicted, confidence, strict=True)
    ]
    return _draw_grid(images, above, below, [WRONG] * len(below))


@drawing
def plot_confusion(confusion: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """The confusion matrix: counts in the cells, colours by the share of the true class, so that each row sums to 1.

    Many classes have no counts in the cells, and not every name beside them; a class without images is a grey row.

    Args:
        confusion: (classes, classes), rows true, columns predicted.
        classes: the names of the classes.
    """
    num_classes = len(classes)
    if confusion.shape != (num_classes, num_classes):
        raise ValueError(f"found a matrix of shape {confusion.shape}; expected ({num_classes}, {num_classes})")
    support = confusion.sum(axis=1, keepdims=True)
    shares = np.where(support > 0, confusion / np.maximum(support, 1), np.nan)
    ticks = range(0, num_classes, math.ceil(num_classes / MOST_LABELLED_CLASSES))
    names = [shorten(classes[tick], NAME_COLUMNS) for tick in ticks]
    longest = max(map(num_columns, names)) * 0.075  # inches
    side = min(max(0.55 * num_classes, 2.2), 8.5)
    figure = NotebookFigure(figsize=(side + longest + 1.4, side + longest + 0.5))
    axes = figure.add_subplot()
    # of many classes most cells are near 0: the root tells them apart
    scale = PowerNorm(0.5 if num_classes > MOST_COUNTED_CLASSES else 1.0, 0.0, 1.0)
    drawn = axes.imshow(shares, cmap=_colormap("Blues"), norm=scale)
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    size = min(9.0, max(6.0, 240 / len(names)))
    axes.set_xticks(ticks, names, fontsize=size, **(turned if longest > side / num_classes else {}))
    axes.set_yticks(ticks, names, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true")
    if num_classes <= MOST_COUNTED_CLASSES:
        _write_counts(axes, confusion, shares)
    _add_scale(axes, drawn, side, "share of the true class")
    return figure


@drawing
def plot_filters(weights: NDArray[np.floating], *, input_channel: int = 0, title: str = "filters") -> Figure:
    """The filters of a convolution, as they weigh one of its input channels: blue negative, red positive, white 0.

    Args:
        weights: (height, width, inputs, outputs); the scale is that of all inputs, so figures of several compare.
        input_channel: 0..inputs-1.
        title: what these filters are of.
    """
    if weights.ndim != 4 or not 0 <= input_channel < weights.shape[2]:
        raise ValueError(
            f"found weights of shape {weights.shape} and input channel {input_channel}; "
            "expected (height, width, inputs, outputs) and one of the inputs"
        )
    limit = float(np.max(np.abs(weights), where=np.isfinite(weights), initial=0.0)) or 1.0
    tiles = np.moveaxis(weights[:, :, input_channel], -1, 0)  # outputs first
    return _draw_mosaic(tiles, Normalize(-limit, limit), "RdBu_r", f"{title}, input channel {input_channel}")


@drawing
def plot_activations(activation: NDArray[np.floating], *, title: str = "activations") -> Figure:
    """What a layer makes of one image: all its channels, one colour scale.

    Args:
        activation: (height, width, channels).
        title: which layer this is.
    """
    if activation.ndim != 3:
        raise ValueError(f"found an activation of shape {activation.shape}; expected (height, width, channels)")
    seen = np.isfinite(activation)
    low = float(np.min(activation, where=seen, initial=0.0))
    high = float(np.max(activation, where=seen, initial=low)) or 1.0
    tiles = np.moveaxis(activation, -1, 0)  # channels first
    return _draw_mosaic(tiles, Normalize(low, high), "viridis", title)


@drawing
def plot_heatmap(image: NDArray[np.uint8], heat: NDArray[np.floating], *, title: str = "heat map") -> Figure:
    """An image, and beside it the same image in grey under its heat, from pale at 0 to red at the largest, which is 1.

    Args:
        image: (height, width, 3 or 1) uint8.
        heat: (any, any), at least 0; stretched over the image.
        title: what the heat is about.
    """
    picture = _displayable(image[None])[0]
    strength = _stretch(heat, picture.shape[0], picture.shape[1])
    figure = NotebookFigure(figsize=(8.0, 4.0))
    left, right = figure.subplots(1, 2)
    left.imshow(picture, cmap="gray", vmin=0, vmax=255)
    left.set_title("image")
    right.imshow(Image.fromarray(picture).convert("L"), cmap="gray", vmin=0, vmax=255)
    drawn = right.imshow(strength, cmap="YlOrRd", vmin=0.0, vmax=1.0, alpha=0.1 + 0.65 * strength)
    right.set_title(printable(title))
    for axes in (left, right):
        axes.set_axis_off()
    _add_scale(right, drawn, 3.4, "heat")
    return figure


@drawing
def plot_history(history: Mapping[str, Sequence[float | None]]) -> Figure:
    """Loss and accuracy by epoch, in training and in validation; a dotted line marks the lowest validation loss.

    Args:
        history: columns with Keras's names: epoch, loss, accuracy, val_loss, val_accuracy; values may be None or NaN,
            columns may be missing, others are passed over.
    """
    figure = NotebookFigure(figsize=(9.0, 3.6))
    panels = figure.subplots(1, 2)
    epochs = np.array(history["epoch"], np.float64)
    columns = {name: np.array(values, np.float64) for name, values in history.items()}  # None becomes NaN
    for axes, name in zip(panels, ("loss", "accuracy"), strict=True):
        for key, label, color in ((name, "training", QUIET), (f"val_{name}", "validation", RIGHT)):
            if key in columns and np.isfinite(columns[key]).any():
                seen = np.isfinite(columns[key])
                axes.plot(epochs[seen], columns[key][seen], color=color, label=label, marker="o", markersize=3)
        axes.set(title=name, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
    panels[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    panels[1].set_ylim(top=min(panels[1].get_ylim()[1], MOST_ACCURACY))
    losses = columns.get("val_loss", np.full(1, np.nan))
    if np.isfinite(losses).any():
        for axes in panels:
            axes.axvline(epochs[np.nanargmin(losses)], color=QUIET, linestyle=":", label="lowest validation loss")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@drawing
def plot_scores(probabilities: NDArray[np.floating], classes: Sequence[str]) -> Figure:
    """The score of each class for one image, as bars, the highest on top; of more than 10 classes the 10 highest.

    Args:
        probabilities: (classes,), 0..1.
        classes: the names of the classes.
    """
    if probabilities.shape != (len(classes),):
        raise ValueError(f"found probabilities of shape {probabilities.shape}; expected ({len(classes)},)")
    order = np.argsort(-probabilities, kind="stable")[:MOST_SCORES].tolist()
    figure = NotebookFigure(figsize=(6.0, 0.8 + 0.34 * len(order)))
    axes = figure.add_subplot()
    bars = axes.barh(range(len(order)), probabilities[order], color=[RIGHT, *[QUIET] * (len(order) - 1)])
    axes.bar_label(bars, [f"{probabilities[each]:.1%}" for each in order], padding=4)
    axes.set_yticks(range(len(order)), [shorten(classes[each], NAME_COLUMNS) for each in order])
    axes.invert_yaxis()
    axes.set(xlim=(0.0, 1.12), xlabel="score")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(axis="y", length=0)
    axes.spines["bottom"].set_bounds(0.0, 1.0)
    if len(order) < len(classes):
        rest = 1.0 - float(probabilities[order].sum())
        axes.set_title(f"the {len(order)} highest of {len(classes):,} classes; the others share {max(rest, 0.0):.1%}")
    return figure


def to_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file of 120 dots per inch; the same figure gives the same bytes."""
    with _style():
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
        return file.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, whole."""
    write_atomic(path, to_png(figure))


def _draw_grid(images: NDArray[np.uint8], above: Sequence[str], below: Sequence[str], colors: Sequence[str]) -> Figure:
    """Images in rows of up to 6, a text above and a coloured one below each."""
    if not len(images) == len(above) == len(below):
        raise ValueError(f"found {len(images)} images and {len(above)} names; expected as many of each")
    pictures = _displayable(images[:MOST_IMAGES])
    columns = max(1, min(len(pictures), GRID_COLUMNS))
    rows = max(1, math.ceil(len(pictures) / columns))
    lines = 1 + max((text.count("\n") + 1 for text in below if text), default=0)
    figure = NotebookFigure(figsize=(1.9 * columns, (1.95 + 0.2 * lines) * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    for axes, picture, name, answer, color in zip(grid.flat, pictures, above, below, colors, strict=False):
        axes.set_visible(True)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes.set_title(name)
        axes.set_xlabel(answer, color=color)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    if not 0 < len(images) <= MOST_IMAGES:
        figure.suptitle(f"{len(pictures)} of {len(images):,}" if len(images) else "no images")
    return figure


def _displayable(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images as Matplotlib draws them: (n, height, width, 3), or (n, height, width) for grey ones."""
    if images.ndim != 4 or images.shape[3] not in (1, 3) or images.dtype != np.uint8:
        raise ValueError(
            f"found images of shape {images.shape}, {images.dtype}; expected (n, height, width, 3 or 1) uint8"
        )
    return images[..., 0] if images.shape[3] == 1 else images


def _write_counts(axes: Axes, confusion: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    """A count in each cell, light on dark colours."""
    widest = max(len(f"{confusion.max():,}"), 3)
    size = min(11.0, 60 / widest * (1.0 if len(confusion) <= 12 else 0.7))
    for (row, column), count in np.ndenumerate(confusion):
        color = "white" if shares[row, column] > 0.55 else INK if count else QUIET
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=size, in_layout=False)


def _draw_mosaic(tiles: NDArray[np.floating], scale: Normalize, colormap: str, title: str) -> Figure:
    """Tiles (n, height, width) side by side in one picture, with one colour scale, numbered at the left and above."""
    columns = _grid_columns(len(tiles))
    rows = math.ceil(len(tiles) / columns)
    mosaic = _join_tiles(tiles, rows, columns)
    width = min(1.6 * columns, 8.5)
    figure = NotebookFigure(figsize=(width + 1.1, width * mosaic.shape[0] / mosaic.shape[1] + 0.7))
    axes = figure.add_subplot()
    extent = (0.0, columns, rows, 0.0)  # left, right, bottom, top: a tile is 1 wide and 1 high, the first at the top
    drawn = axes.imshow(
        mosaic, cmap=_colormap(colormap), norm=scale, interpolation="nearest", extent=extent, aspect="auto"
    )
    across = range(0, columns, math.ceil(columns / MOST_TICKS))
    down = range(0, rows, math.ceil(rows / MOST_TICKS))
    axes.set_xticks([column + 0.5 for column in across], [f"+{column}" for column in across])
    axes.set_yticks([row + 0.5 for row in down], [str(row * columns) for row in down])
    axes.tick_params(length=0, labeltop=True, labelbottom=False, labelcolor=QUIET)
    axes.spines[:].set_visible(False)
    axes.set_title(printable(title))
    _add_scale(axes, drawn, width, "")
    return figure


def _join_tiles(tiles: NDArray[np.floating], rows: int, columns: int) -> NDArray[np.float64]:
    """One picture of all tiles, each in a frame of NaN."""
    repeat = max(1, round(TILE_PIXELS / max(tiles.shape[1:])))
    large = tiles.astype(np.float64).repeat(repeat, axis=1).repeat(repeat, axis=2)
    frame = max(1, round(max(large.shape[1:]) / 32))
    height, width = large.shape[1] + 2 * frame, large.shape[2] + 2 * frame
    mosaic = np.full((rows * columns, height, width), np.nan)
    mosaic[: len(large), frame:-frame, frame:-frame] = large
    mosaic = mosaic.reshape(rows, columns, height, width).swapaxes(1, 2)  # row, height, column, width
    return mosaic.reshape(rows * height, columns * width)


def _grid_columns(count: int) -> int:
    """A power of two, so that rows begin at round numbers, for a grid about twice as wide as high."""
    return int(min(count, 2 ** math.ceil(math.log2(count) / 2 + 0.5)))


def _stretch(heat: NDArray[np.floating], height: int, width: int) -> NDArray[np.float64]:
    """Heat of any size to (height, width) float64, its largest as 1."""
    if heat.ndim != 2 or not (np.isfinite(heat) & (heat >= 0)).all():
        found = f"shape {heat.shape} from {heat.min()} to {heat.max()}"
        raise ValueError(f"found heat of {found}; expected (any, any), finite, at least 0")
    large = Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    strength = np.maximum(np.asarray(large, np.float64), 0.0)  # cubic curves undershoot
    return strength / (float(strength.max()) or 1.0)


def _add_scale(axes: Axes, drawn: ScalarMappable, width: float, label: str) -> None:
    """A thin colour bar, as high as its axes, which are `width` inches wide."""
    place = axes.inset_axes((1.0 + 0.1 / width, 0.0, 0.14 / width, 1.0))
    bar = axes.figure.colorbar(drawn, cax=place, label=label)
    bar.outline.set_visible(False)


def _colormap(name: str) -> Colormap:
    """A colour map that leaves grey what is not a number, such as the gaps between tiles."""
    return matplotlib.colormaps[name].with_extremes(bad="#e8e8e8")


def _tile_name(name: str) -> str:
    return shorten(name, TILE_NAME_COLUMNS)
