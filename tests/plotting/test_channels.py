"""plotting/channels.py: every filter and every channel is a tile, on one colour scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from figure_content import draw_weights, picture, tick_names
from matplotlib.figure import Figure

from convscope.plotting.channels import plot_activations, plot_filters
from convscope.plotting.style import to_png

pytestmark = pytest.mark.slow  # every figure takes a third of a second


def test_filters_share_one_symmetric_scale() -> None:
    """Blue below 0, red above, white at 0; the same for every input channel, so that plots compare."""
    weights = draw_weights(3, 3, 4, 16)
    images = [plot_filters(weights, input_channel=channel).axes[0].images[0] for channel in (0, 3)]
    largest = float(np.abs(weights).max())
    assert [image.get_clim() for image in images] == [(-largest, largest)] * 2
    negative, zero, positive = images[0].to_rgba(np.array([[-largest, 0.0, largest]]))[0, :, :3]
    assert negative[2] > negative[0]  # more blue than red
    assert positive[0] > positive[2]
    assert zero.min() > 0.95


def test_every_filter_is_in_the_grid_in_order() -> None:
    """Each tile is its filter for that input channel; of 28 the last row of 8 is half full."""
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
def test_any_number_of_channels_is_one_picture(num_channels: int) -> None:
    """All channels, in a grid no higher than wide, with few tick labels."""
    figure = plot_activations(np.abs(draw_weights(4, 4, num_channels)))
    axes = figure.axes[0]
    mosaic = picture(axes)
    assert np.count_nonzero(~mosaic.mask) == num_channels * 24 * 24
    assert mosaic.shape[0] <= mosaic.shape[1]
    assert len(axes.get_xticks()) <= 16
    assert len(axes.get_yticks()) <= 32
    assert len(figure.axes[0].child_axes) == 1  # the colour bar


def test_activations_share_one_scale_from_zero() -> None:
    """A channel of zeros is dark beside another; negative values are on the scale."""
    activation = np.zeros((4, 4, 2))
    activation[1, 1, 1] = 7.0
    assert plot_activations(activation).axes[0].images[0].get_clim() == (0, 7)
    assert plot_activations(activation - 2.0).axes[0].images[0].get_clim() == (-2, 5)


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_dead_and_diverged_networks_can_be_drawn(fill: float) -> None:
    """All zero, or all NaN after a training that diverged."""
    low, high = plot_filters(np.full((3, 3, 1, 4), fill)).axes[0].images[0].get_clim()
    assert (low, high) == (-1, 1)
    figure = plot_activations(np.full((4, 4, 3), fill))
    assert figure.axes[0].images[0].get_clim() == (0, 1)
    assert to_png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot_filters(draw_weights(3, 3, 2)), r"found weights of shape \(3, 3, 2\) and input channel 0"),
        (lambda: plot_filters(draw_weights(3, 3, 2, 4), input_channel=2), "and input channel 2; expected"),
        (lambda: plot_activations(draw_weights(1, 4, 4, 2)), r"found activations of shape \(1, 4, 4, 2\); expected"),
    ],
)
def test_arrays_of_another_shape_are_rejected(draw: Callable[[], Figure], message: str) -> None:
    """Each message says what was found and what was expected."""
    with pytest.raises(ValueError, match=message):
        draw()
