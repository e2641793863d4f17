"""plotting/confusion.py: counts in the cells, proportions as colours, names that fit."""

from __future__ import annotations

import numpy as np
import pytest
from figure_content import picture, tick_names

from convscope.plotting.confusion import plot_confusion
from convscope.plotting.style import to_png

pytestmark = pytest.mark.slow  # every figure takes a third of a second


def test_colours_are_proportions_and_cells_have_counts() -> None:
    """A rare class is as dark as a frequent one; the text of a cell is its count."""
    axes = plot_confusion(np.array([[1800, 200], [1, 9]]), ["cat", "dog"]).axes[0]
    assert picture(axes).tolist() == [[0.9, 0.1], [0.1, 0.9]]
    assert [text.get_text() for text in axes.texts] == ["1,800", "200", "1", "9"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert axes.images[0].get_clim() == (0, 1)


def test_a_class_without_images_is_a_masked_row() -> None:
    """It has no proportions, so its colour is none of the scale, and nothing is divided by zero."""
    proportions = picture(plot_confusion(np.array([[3, 1], [0, 0]]), ["cat", "dog"]).axes[0])
    assert proportions.mask.tolist() == [[False, False], [True, True]]


def test_many_classes_have_no_counts_and_fewer_names() -> None:
    """100 classes: no number in a cell, at most 40 names along a side, each beside its row."""
    axes = plot_confusion(np.eye(100, dtype=np.int64), [f"class {number}" for number in range(100)]).axes[0]
    assert len(axes.texts) == 0
    assert tick_names(axes) == [f"class {int(row)}" for row in axes.get_yticks()]
    assert 30 < len(tick_names(axes)) <= 40
    assert picture(axes).shape == (100, 100)


@pytest.mark.slow
@pytest.mark.parametrize("num_classes", [2, 20])
def test_nothing_is_cut_off(num_classes: int) -> None:
    """Every name and label is inside the figure, also with long names."""
    names = [f"soft-coated wheaten terrier {number}" for number in range(num_classes)]
    figure = plot_confusion(np.eye(num_classes, dtype=np.int64), names)
    to_png(figure)
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert 0 <= box.x0 < box.x1 <= width
    assert 0 <= box.y0 < box.y1 <= height


def test_matrix_of_another_shape_is_rejected() -> None:
    """The error says what was found and what was expected."""
    with pytest.raises(ValueError, match=r"found a matrix of shape \(3, 3\); expected \(2, 2\)"):
        plot_confusion(np.eye(3, dtype=np.int64), ["cat", "dog"])
