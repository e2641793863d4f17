"""plotting/neighbours.py: an image beside its nearest training images."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray

from convscope.plotting.neighbours import plot_neighbours
from convscope.plotting.style import BLUE, RED, to_png

pytestmark = pytest.mark.slow  # every figure takes a third of a second


def noise(size: int, channels: int) -> NDArray[np.uint8]:
    """(size, size, channels) uint8."""
    return np.random.default_rng(size).integers(256, size=(size, size, channels), dtype=np.uint8)


def draw(channels: int) -> Figure:
    """A dog beside two dogs, a cat and an image of a class with a long name."""
    return plot_neighbours(
        noise(32, channels),
        "dog",
        [noise(size, channels) for size in (16, 17, 18, 19)],
        labels=["dog", "cat", "dog", "a very long name of a class"],
        similarities=[0.987, 0.9, 0.5, -0.25],
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_has_its_class_and_similarity(channels: int) -> None:
    """In order; red where the class is another; long names are shortened."""
    axes = draw(channels).axes
    assert [panel.get_title() for panel in axes][:4] == ["predicted: dog", "dog", "cat", "dog"]
    assert axes[4].get_title().startswith("a very long")
    assert len(axes[4].get_title()) < 16
    assert [panel.get_xlabel() for panel in axes] == [
        "this image",
        *(f"similarity {value}" for value in ("0.99", "0.90", "0.50", "-0.25")),
    ]
    assert [to_hex(panel.title.get_color()) for panel in axes[1:]] == [BLUE, RED, BLUE, RED]
    assert [panel.images[0].get_array().shape[:2] for panel in axes] == [(size, size) for size in (32, 16, 17, 18, 19)]


def test_same_arrays_give_the_same_bytes() -> None:
    """As every plot."""
    assert to_png(draw(3)) == to_png(draw(3))
