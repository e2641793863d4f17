"""plotting/heatmap.py: the pixels of `drawing.overlay`, on one scale for all classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from figure_content import draw_images, picture, visible
from matplotlib.figure import Figure
from numpy.typing import NDArray

from convscope.plotting.heatmap import plot_heatmap

pytestmark = pytest.mark.slow  # every figure takes a third of a second


def draw_heat() -> NDArray[np.float32]:
    """Heat of two classes, (4, 4, 2): 0.02 at the upper left for the first, 2 at the lower right for the second."""
    heat = np.zeros((4, 4, 2), np.float32)
    heat[0, 0, 0], heat[3, 3, 1] = 0.02, 2.0
    return heat


@pytest.mark.parametrize("channels", [1, 3])
def test_heat_is_over_its_place(channels: int) -> None:
    """Heat of 4 x 4 is enlarged to the image: upper left is upper left, and elsewhere the image is unchanged."""
    (image,) = draw_images(1, size=40, channels=channels)
    left, right = visible(plot_heatmap(image, draw_heat()[..., :1], class_index=0, title="heat map for cat"))
    shown = np.broadcast_to(image, (40, 40, 3))
    drawn = picture(right)
    np.testing.assert_array_equal(drawn[30:], shown[30:])
    np.testing.assert_array_equal(drawn[:, 30:], shown[:, 30:])
    assert not np.array_equal(drawn[:10, :10], shown[:10, :10])
    np.testing.assert_array_equal(np.atleast_3d(picture(left)), image)
    assert (left.get_title(), right.get_title()) == ("image", "heat map for cat")
    assert right.get_xlabel() == "HiResCAM; no colour: no evidence"


def test_scale_is_that_of_all_classes() -> None:
    """A class with a hundredth of the evidence of another is pale, and the colour bar ends at the largest."""
    (image,) = draw_images(1, size=40)
    changes = []
    for class_index in range(2):
        axes = visible(plot_heatmap(image, draw_heat(), class_index=class_index))[1]
        changes.append(int(np.abs(picture(axes).astype(int) - image).max()))
        (bar,) = axes.child_axes
        assert (bar.get_ylim(), bar.get_ylabel()) == ((0, 2), "contribution to the logit")
    assert changes[0] < 10 < 60 < changes[1]


def test_no_heat_is_no_colour() -> None:
    """All zero, as HiResCAM gives without evidence for any class, leaves the image as it is."""
    (image,) = draw_images(1)
    drawn = picture(visible(plot_heatmap(image, np.zeros((3, 5, 2), np.float32), class_index=1))[1])
    np.testing.assert_array_equal(drawn, image)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda: plot_heatmap(draw_images(1)[0], -draw_heat(), class_index=0),
            r"found heat from -2.0 to -?0.0; expected finite numbers, at least 0",
        ),
        (
            lambda: plot_heatmap(draw_images(1)[0], draw_heat() * np.float32(np.nan), class_index=0),
            "found heat from nan to nan",
        ),
        (
            lambda: plot_heatmap(draw_images(1)[0], draw_heat(), class_index=2),
            r"found heat of shape \(4, 4, 2\) and class 2; expected",
        ),
        (
            lambda: plot_heatmap(draw_images(1)[0][:8], draw_heat(), class_index=0),
            r"found an image of shape \(8, 12, 3\); expected a square one",
        ),
    ],
)
def test_arrays_of_another_shape_are_rejected(draw: Callable[[], Figure], message: str) -> None:
    """Each message says what was found and what was expected."""
    with pytest.raises(ValueError, match=message):
        draw()
