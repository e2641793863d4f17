"""Figures: what is on them, for every kind of input. How they look is judged by eye."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from convscope.plotting.figures import (
    plot_activations,
    plot_confusion,
    plot_filters,
    plot_heatmap,
    plot_history,
    plot_images,
    plot_mistakes,
    plot_scores,
    save_figure,
    to_png,
)

pytestmark = pytest.mark.slow  # every figure takes a third of a second

HISTORY: dict[str, list[float | None]] = {
    "epoch": [1, 2, 3, 4],
    "loss": [0.9, 0.6, 0.4, 0.3],
    "accuracy": [0.5, 0.7, 0.8, 0.9],
    "val_loss": [0.8, 0.6, 0.5, 0.7],
    "val_accuracy": [0.5, None, float("nan"), 0.8],
    "learning_rate": [1e-4, 1e-4, 1e-4, 1e-4],
}


def draw_images(count: int, *, channels: int = 3, size: int = 12) -> NDArray[np.uint8]:
    """Noise, (count, size, size, channels) uint8."""
    return np.random.default_rng(0).integers(256, size=(count, size, size, channels), dtype=np.uint8)


def draw_weights(*shape: int) -> NDArray[np.float32]:
    """Normal numbers float32 of a shape."""
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


EVERY_FIGURE: dict[str, Callable[[], Figure]] = {
    "images": lambda: plot_images(draw_images(3), ["cat", "dog", "cat"], ["cat", "cat", "cat"]),
    "mistakes": lambda: plot_mistakes(draw_images(2, channels=1), ["cat", "dog"], ["dog", "cat"], [0.9, 0.6]),
    "confusion": lambda: plot_confusion(np.array([[3, 1], [0, 4]]), ["cat", "dog"]),
    "filters": lambda: plot_filters(draw_weights(3, 3, 1, 8)),
    "activations": lambda: plot_activations(draw_weights(6, 6, 5)),
    "heatmap": lambda: plot_heatmap(draw_images(1)[0], np.eye(4)),
    "history": lambda: plot_history(HISTORY),
    "scores": lambda: plot_scores(np.array([0.3, 0.7]), ["cat", "dog"]),
}


def as_any(value: Any) -> Any:
    """A value of a type that the checker would rightly refuse."""
    return value


def visible(figure: Figure) -> list[Axes]:
    """The axes that can be seen."""
    return [axes for axes in figure.axes if axes.get_visible()]


def tick_names(axes: Axes) -> list[str]:
    """The names down the left side."""
    return [label.get_text() for label in axes.get_yticklabels()]


def picture(axes: Axes, number: int = -1) -> Any:
    """What `imshow` drew, (height, width[, 3]), masked where it is not a number."""
    return axes.images[number].get_array()


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_FIGURE)
def test_every_figure_is_a_deterministic_png(name: str) -> None:
    """Saved twice, or drawn again in a dark notebook, the bytes are the same; the notebook stays dark."""
    figure = EVERY_FIGURE[name]()
    data = to_png(figure)
    assert data == to_png(figure)
    with matplotlib.rc_context({"figure.facecolor": "black", "text.color": "white", "font.size": 30}):
        assert data == to_png(EVERY_FIGURE[name]())
        assert matplotlib.rcParams["figure.facecolor"] == "black"
        assert matplotlib.rcParams["text.parse_math"] is True
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG"
    assert set(image.info) <= {"dpi"}


def test_a_figure_shows_itself_in_a_notebook() -> None:
    """IPython asks for PNG bytes, and gets those that would be saved."""
    figure: Any = EVERY_FIGURE["scores"]()
    assert figure._repr_png_() == to_png(figure)


@pytest.mark.slow
def test_pyplot_is_never_loaded() -> None:
    """Nor a window system: a figure is drawn and turned into bytes without either."""
    code = """
import sys, numpy as np
from convscope.plotting.figures import plot_confusion, to_png
to_png(plot_confusion(np.eye(3, dtype=np.int64), ["a", "b", "c"]))
print([name for name in ("matplotlib.pyplot", "tkinter", "tensorflow", "keras") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_figure_is_saved_whole(tmp_path: Path) -> None:
    """The file holds the bytes of `to_png`, and nothing is left beside it."""
    figure = EVERY_FIGURE["confusion"]()
    save_figure(figure, tmp_path / "figures" / "confusion.png")
    assert (tmp_path / "figures" / "confusion.png").read_bytes() == to_png(figure)
    assert [file.name for file in (tmp_path / "figures").iterdir()] == ["confusion.png"]


def test_images_carry_their_classes() -> None:
    """One picture each, with nothing below where nothing was predicted."""
    figure = plot_images(draw_images(7), ["cat", "dog"] * 3 + ["cat"])
    assert [axes.get_title() for axes in visible(figure)] == ["cat", "dog"] * 3 + ["cat"]
    assert {axes.get_xlabel() for axes in visible(figure)} == {""}
    assert np.array_equal(picture(visible(figure)[6]), draw_images(7)[6])


def test_wrong_predictions_are_red_and_right_ones_are_not() -> None:
    """The colour of the words below tells them apart, and they are told in words too."""
    right, wrong = visible(plot_images(draw_images(2), ["cat", "cat"], ["cat", "dog"]))
    assert (right.get_title(), right.get_xlabel()) == ("true: cat", "predicted: cat")
    assert (wrong.get_title(), wrong.get_xlabel()) == ("true: cat", "predicted: dog")
    assert to_hex(right.xaxis.label.get_color()) == "#0072b2"
    assert to_hex(wrong.xaxis.label.get_color()) == "#c8371b"


def test_mistakes_say_how_sure_the_model_was() -> None:
    """True above; predicted and confidence below."""
    (axes,) = visible(plot_mistakes(draw_images(1), ["cat"], ["dog"], [0.987]))
    assert (axes.get_title(), axes.get_xlabel()) == ("true: cat", "predicted: dog\n98.7% sure")


def test_a_grid_of_many_images_draws_the_first_and_says_so() -> None:
    """24 at most, with the number of all."""
    figure = plot_images(draw_images(30), ["cat"] * 30)
    assert len(visible(figure)) == 24
    assert figure.get_suptitle() == "24 of 30"


def test_a_grid_without_images_says_so() -> None:
    """A model without mistakes gets a figure too."""
    figure = plot_mistakes(draw_images(0), [], [], [])
    assert (visible(figure), figure.get_suptitle()) == ([], "no images")


def test_grey_images_are_grey() -> None:
    """One channel is drawn from black 0 to white 255, not stretched and not in colours."""
    (axes,) = visible(plot_images(draw_images(1, channels=1) // 4, ["cat"]))
    assert axes.images[0].get_cmap().name == "gray"
    assert axes.images[0].get_clim() == (0, 255)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot_images(draw_images(2), ["cat"]), "found 2 images and 1 names; expected as many of each"),
        (
            lambda: plot_images(as_any(draw_images(1) / 255), ["cat"]),
            r"found images of shape \(1, 12, 12, 3\), float64; expected",
        ),
        (lambda: plot_images(draw_images(1, channels=4), ["cat"]), r"found images of shape \(1, 12, 12, 4\), uint8"),
        (
            lambda: plot_confusion(np.eye(3, dtype=np.int64), ["cat", "dog"]),
            r"found a matrix of shape \(3, 3\); expected \(2, 2\)",
        ),
        (lambda: plot_filters(draw_weights(3, 3, 2)), r"found weights of shape \(3, 3, 2\) and input channel 0"),
        (lambda: plot_filters(draw_weights(3, 3, 2, 4), input_channel=2), "and input channel 2; expected"),
        (lambda: plot_activations(draw_weights(1, 4, 4, 2)), r"found an activation of shape \(1, 4, 4, 2\); expected"),
        (
            lambda: plot_heatmap(draw_images(1)[0], -np.eye(3)),
            r"found heat of shape \(3, 3\) from -1.0 to -?0.0; expected",
        ),
        (lambda: plot_heatmap(draw_images(1)[0], np.full((2, 2), np.nan)), r"found heat of shape \(2, 2\) from nan"),
        (
            lambda: plot_scores(np.ones((1, 2)), ["cat", "dog"]),
            r"found probabilities of shape \(1, 2\); expected \(2,\)",
        ),
    ],
)
def test_arrays_of_another_shape_are_refused(draw: Callable[[], Figure], message: str) -> None:
    """Each message says what was found and what was expected."""
    with pytest.raises(ValueError, match=message):
        draw()


def test_confusion_colours_are_shares_and_cells_are_counts() -> None:
    """A rare class is as dark as a frequent one; the counts stand in the cells as they are."""
    axes = plot_confusion(np.array([[1800, 200], [1, 9]]), ["cat", "dog"]).axes[0]
    assert picture(axes).tolist() == [[0.9, 0.1], [0.1, 0.9]]
    assert [text.get_text() for text in axes.texts] == ["1,800", "200", "1", "9"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert axes.images[0].get_clim() == (0, 1)


def test_a_class_without_images_is_a_masked_row() -> None:
    """It has no shares, so it has no colour of the scale, and nothing is divided by zero."""
    shares = picture(plot_confusion(np.array([[3, 1], [0, 0]]), ["cat", "dog"]).axes[0])
    assert shares.mask.tolist() == [[False, False], [True, True]]


def test_many_classes_have_no_counts_and_fewer_names() -> None:
    """100 classes: no number in a cell, at most 40 names along a side, each beside its own row."""
    axes = plot_confusion(np.eye(100, dtype=np.int64), [f"class {number}" for number in range(100)]).axes[0]
    assert len(axes.texts) == 0
    assert tick_names(axes) == [f"class {int(place)}" for place in axes.get_yticks()]
    assert 30 < len(tick_names(axes)) <= 40
    assert picture(axes).shape == (100, 100)


@pytest.mark.slow
@pytest.mark.parametrize("num_classes", [2, 20])
def test_nothing_of_a_confusion_matrix_is_cut_off(num_classes: int) -> None:
    """Every name and label lies inside the figure, also with long names."""
    names = [f"soft-coated wheaten terrier {number}" for number in range(num_classes)]
    figure = plot_confusion(np.eye(num_classes, dtype=np.int64), names)
    to_png(figure)
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert 0 <= box.x0 < box.x1 <= width
    assert 0 <= box.y0 < box.y1 <= height


def test_filters_share_one_symmetric_scale() -> None:
    """Blue below 0, red above, white at 0; the same for every input channel, so that figures compare."""
    weights = draw_weights(3, 3, 4, 16)
    images = [plot_filters(weights, input_channel=each).axes[0].images[0] for each in (0, 3)]
    largest = float(np.abs(weights).max())
    assert [image.get_clim() for image in images] == [(-largest, largest)] * 2
    negative, zero, positive = images[0].to_rgba(np.array([[-largest, 0.0, largest]]))[0, :, :3]
    assert negative[2] > negative[0]  # more blue than red
    assert positive[0] > positive[2]
    assert zero.min() > 0.95


def test_every_filter_is_in_the_grid_in_order() -> None:
    """Each tile holds its own filter, for the input channel asked for; of 28 the last row of 8 is half full."""
    weights = draw_weights(3, 3, 2, 28)
    axes = plot_filters(weights, input_channel=1, title="conv1").axes[0]
    assert axes.get_title() == "conv1, input channel 1"
    assert tick_names(axes) == ["0", "8", "16", "24"]
    mosaic = picture(axes)
    height, width = mosaic.shape[0] // 4, mosaic.shape[1] // 8
    for number in range(28):
        row, column = divmod(number, 8)
        tile = mosaic[row * height : (row + 1) * height, column * width : (column + 1) * width]
        inside = tile[~tile.mask.all(axis=1)][:, ~tile.mask.all(axis=0)]
        assert np.allclose(
            inside[4::8, 4::8], weights[:, :, 1, number]
        )  # the middle of each weight, drawn 8 pixels wide
    assert mosaic[3 * height :, 4 * width :].mask.all()


@pytest.mark.parametrize("num_channels", [1, 5, 700])
def test_a_layer_of_any_width_is_one_picture(num_channels: int) -> None:
    """All channels, in a grid no higher than wide, with names that do not crowd."""
    figure = plot_activations(np.abs(draw_weights(4, 4, num_channels)))
    axes = figure.axes[0]
    mosaic = picture(axes)
    assert np.count_nonzero(~mosaic.mask) == num_channels * 24 * 24
    assert mosaic.shape[0] <= mosaic.shape[1]
    assert len(axes.get_xticks()) <= 16
    assert len(axes.get_yticks()) <= 32
    assert len(figure.axes[0].child_axes) == 1  # the colour bar


def test_activations_share_one_scale_from_zero() -> None:
    """A channel that is silent is dark beside one that is not; negative values are not hidden."""
    activation = np.zeros((4, 4, 2))
    activation[1, 1, 1] = 7.0
    assert plot_activations(activation).axes[0].images[0].get_clim() == (0, 7)
    assert plot_activations(activation - 2.0).axes[0].images[0].get_clim() == (-2, 5)


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_a_dead_network_can_be_looked_at(fill: float) -> None:
    """All zero, or all NaN after training went astray: that is when one looks."""
    low, high = plot_filters(np.full((3, 3, 1, 4), fill)).axes[0].images[0].get_clim()
    assert (low, high) == (-1, 1)
    figure = plot_activations(np.full((4, 4, 3), fill))
    assert figure.axes[0].images[0].get_clim() == (0, 1)
    assert to_png(figure).startswith(b"\x89PNG")


def test_heat_lies_where_it_was_measured() -> None:
    """Heat of 4 x 4 is stretched over the image; upper left stays there, the largest is 1, the least is clear."""
    heat = np.zeros((4, 4))
    heat[0, 0] = 0.02
    left, right = visible(plot_heatmap(draw_images(1, size=40)[0], heat, title="cat"))
    drawn = picture(right)
    assert drawn.shape == (40, 40)
    assert drawn.max() == 1.0
    assert drawn.min() == 0.0
    assert drawn[:20, :20].sum() > 0.95 * drawn.sum()
    alpha: Any = right.images[-1].get_alpha()
    assert alpha[0, 0] > 0.7 > 0.2 > alpha[39, 39]
    assert np.array_equal(picture(left), draw_images(1, size=40)[0])
    assert (left.get_title(), right.get_title()) == ("image", "cat")


def test_no_heat_is_no_heat() -> None:
    """All zero, as Grad-CAM gives where nothing speaks for a class, stays zero."""
    assert picture(visible(plot_heatmap(draw_images(1, channels=1)[0], np.zeros((3, 5))))[1]).max() == 0.0


def test_history_has_two_panels_and_marks_the_best_epoch() -> None:
    """Loss and accuracy, training and validation; gaps are left out, and the learning rate is not mixed in."""
    loss, accuracy = plot_history(HISTORY).axes
    assert (loss.get_title(), accuracy.get_title()) == ("loss", "accuracy")
    curves = {str(line.get_label()): line for line in accuracy.lines}
    assert list(curves) == ["training", "validation", "lowest validation loss"]
    assert curves["validation"].get_xydata().tolist() == [[1, 0.5], [4, 0.8]]  # type: ignore[union-attr]
    assert np.array(curves["lowest validation loss"].get_xdata()).tolist() == [3, 3]


def test_accuracy_ends_at_all() -> None:
    """A single row that is all right, such as that of a solved head, makes no axis up to 104 %."""
    _, accuracy = plot_history({"epoch": [0], "loss": [0.1], "accuracy": [1.0], "val_accuracy": [1.0]}).axes
    assert 1 < accuracy.get_ylim()[1] < 1.02


def test_history_of_one_epoch_without_validation_is_drawn() -> None:
    """One point, at a whole epoch, and no line for what was not measured."""
    loss, _ = plot_history({"epoch": [1], "loss": [0.7], "accuracy": [0.5], "val_loss": [None]}).axes
    assert [line.get_label() for line in loss.lines] == ["training"]
    assert all(tick == round(tick) for tick in loss.get_xticks())


def test_scores_are_sorted_and_the_rest_is_told() -> None:
    """The highest on top; of 12 classes the first 10, with what the others share."""
    probabilities = np.array([0.01] * 10 + [0.6, 0.3])
    axes = plot_scores(probabilities, [f"class {number}" for number in range(12)]).axes[0]
    assert tick_names(axes)[:3] == ["class 10", "class 11", "class 0"]
    assert [round(bar.get_width(), 2) for bar in axes.patches] == [0.6, 0.3] + [0.01] * 8  # type: ignore[attr-defined]
    assert axes.yaxis_inverted()
    assert axes.get_title() == "the 10 highest of 12 classes; the others share 2.0%"
    assert [text.get_text() for text in axes.texts][:2] == ["60.0%", "30.0%"]


@pytest.mark.slow
def test_any_class_name_can_be_drawn() -> None:
    """Chinese without a font for it, dollars, line ends, broken bytes, great length: no warning, no crash, one line."""
    names = ["金毛寻回犬", "$5 note$ a_b^", "a\nb\x1b[31m", "bad \udcff byte", "é" * 60, "", "🦊"]
    figures = [
        plot_images(draw_images(7), names, names[::-1]),
        plot_confusion(np.eye(7, dtype=np.int64), names),
        plot_heatmap(draw_images(1)[0], np.eye(3), title=names[2] + names[3]),
        plot_scores(np.full(7, 1 / 7), names),
    ]
    for figure in figures:
        assert to_png(figure).startswith(b"\x89PNG")
    assert not any(label.get_parse_math() for label in figures[1].axes[0].get_yticklabels())  # dollars are dollars
    drawn = tick_names(figures[1].axes[0])
    assert drawn[:3] == ["金毛寻回犬", "$5 note$ a_b^", "a\\nb\\x1b[31m"]
    assert max(map(len, drawn)) == 20
