"""plotting/style.py: figures are deterministic PNG files, and nothing global changes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from figure_content import draw_images, draw_weights, tick_names
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from processes import run_python

from convscope.plotting.channels import plot_activations, plot_filters
from convscope.plotting.confusion import plot_confusion
from convscope.plotting.heatmap import plot_heatmap
from convscope.plotting.history import plot_history
from convscope.plotting.image_grids import plot_images, plot_mistakes
from convscope.plotting.probabilities import plot_probabilities
from convscope.plotting.style import save_figure, to_png

pytestmark = pytest.mark.slow  # every figure takes a third of a second


def draw_heat() -> NDArray[np.float32]:
    """Heat of two classes, (4, 4, 2)."""
    return np.stack([np.eye(4), 2 * np.eye(4)[::-1]], axis=-1).astype(np.float32)


EVERY_FIGURE: dict[str, Callable[[], Figure]] = {
    "images": lambda: plot_images(draw_images(3), ["cat", "dog", "cat"], ["cat", "cat", "cat"]),
    "mistakes": lambda: plot_mistakes(draw_images(2, channels=1), ["cat", "dog"], ["dog", "cat"], [0.9, 0.6]),
    "confusion": lambda: plot_confusion(np.array([[3, 1], [0, 4]]), ["cat", "dog"]),
    "filters": lambda: plot_filters(draw_weights(3, 3, 1, 8)),
    "activations": lambda: plot_activations(draw_weights(6, 6, 5)),
    "heatmap": lambda: plot_heatmap(draw_images(1)[0], draw_heat(), class_index=0),
    "history": lambda: plot_history(
        {"epoch": [1, 2], "loss": [0.9, 0.6], "val_loss": [0.8, 0.9], "accuracy": [0.5, None]}
    ),
    "probabilities": lambda: plot_probabilities(np.array([0.3, 0.7]), ["cat", "dog"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_FIGURE)
def test_every_figure_is_a_deterministic_png(name: str) -> None:
    """Saved twice, or drawn again under another style, the bytes are the same; the other style stays."""
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
    """IPython gets the PNG bytes that `save_figure` writes."""
    figure: Any = EVERY_FIGURE["probabilities"]()
    assert figure._repr_png_() == to_png(figure)


@pytest.mark.slow
def test_pyplot_is_never_loaded() -> None:
    """Nor a window system: a figure is drawn and saved without either."""
    code = """
import sys, numpy as np
from convscope.plotting.confusion import plot_confusion
from convscope.plotting.style import to_png
to_png(plot_confusion(np.eye(3, dtype=np.int64), ["a", "b", "c"]))
print([name for name in ("matplotlib.pyplot", "tkinter", "tensorflow", "keras") if name in sys.modules])
"""
    assert run_python(code).out == "[]\n"


def test_a_figure_is_saved_atomically(tmp_path: Path) -> None:
    """The file has the bytes of `to_png`, and nothing is left beside it."""
    figure = EVERY_FIGURE["confusion"]()
    save_figure(figure, tmp_path / "figures" / "confusion.png")
    assert (tmp_path / "figures" / "confusion.png").read_bytes() == to_png(figure)
    assert [file.name for file in (tmp_path / "figures").iterdir()] == ["confusion.png"]


@pytest.mark.slow
def test_any_class_name_can_be_drawn() -> None:
    """Chinese without a font for it, dollars, line ends, bytes that are not UTF-8, long names: no warning, one line."""
    names = ["金毛寻回犬", "$5 note$ a_b^", "a\nb\x1b[31m", "bad \udcff byte", "é" * 60, "", "🦊"]
    figures = [
        plot_images(draw_images(7), names, names[::-1]),
        plot_confusion(np.eye(7, dtype=np.int64), names),
        plot_heatmap(draw_images(1)[0], draw_heat(), class_index=0, title=names[2] + names[3]),
        plot_probabilities(np.full(7, 1 / 7), names),
    ]
    for figure in figures:
        assert to_png(figure).startswith(b"\x89PNG")
    assert not any(label.get_parse_math() for label in figures[1].axes[0].get_yticklabels())  # dollars are not math
    drawn = tick_names(figures[1].axes[0])
    assert drawn[:3] == ["金毛寻回犬", "$5 note$ a_b^", "a\\nb\\x1b[31m"]
    assert max(map(len, drawn)) == 20
