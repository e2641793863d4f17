"""plotting/image_grids.py: images with their true and predicted classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from figure_content import as_any, draw_images, picture, visible
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from convscope.plotting.image_grids import plot_images, plot_mistakes

pytestmark = pytest.mark.slow  # every figure takes a third of a second


def test_images_have_their_class_above() -> None:
    """And nothing below where there is no prediction."""
    figure = plot_images(draw_images(7), ["cat", "dog"] * 3 + ["cat"])
    assert [axes.get_title() for axes in visible(figure)] == ["cat", "dog"] * 3 + ["cat"]
    assert {axes.get_xlabel() for axes in visible(figure)} == {""}
    assert np.array_equal(picture(visible(figure)[6]), draw_images(7)[6])


def test_wrong_predictions_are_red_and_correct_ones_are_blue() -> None:
    """The colour of the caption, whose words are both classes."""
    correct, wrong = visible(plot_images(draw_images(2), ["cat", "cat"], ["cat", "dog"]))
    assert (correct.get_title(), correct.get_xlabel()) == ("true: cat", "predicted: cat")
    assert (wrong.get_title(), wrong.get_xlabel()) == ("true: cat", "predicted: dog")
    assert to_hex(correct.xaxis.label.get_color()) == "#0072b2"
    assert to_hex(wrong.xaxis.label.get_color()) == "#c8371b"


def test_mistakes_have_their_confidence() -> None:
    """The true class above; the predicted one and its probability below."""
    (axes,) = visible(plot_mistakes(draw_images(1), ["cat"], ["dog"], [0.987]))
    assert (axes.get_title(), axes.get_xlabel()) == ("true: cat", "predicted: dog\nconfidence 98.7%")


def test_a_grid_of_many_images_draws_the_first_and_says_so() -> None:
    """At most 24, with the number of all."""
    figure = plot_images(draw_images(30), ["cat"] * 30)
    assert len(visible(figure)) == 24
    assert figure.get_suptitle() == "24 of 30"


def test_a_grid_without_images_says_so() -> None:
    """Of a model without mistakes, for example."""
    figure = plot_mistakes(draw_images(0), [], [], [])
    assert (visible(figure), figure.get_suptitle()) == ([], "no images")


def test_grey_images_are_grey() -> None:
    """One channel is drawn from black 0 to white 255, whatever its range, and without a colour map."""
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
    ],
)
def test_arrays_of_another_shape_are_rejected(draw: Callable[[], Figure], message: str) -> None:
    """Each message says what was found and what was expected."""
    with pytest.raises(ValueError, match=message):
        draw()
