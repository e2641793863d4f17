"""image_rendering.py: grids, heat maps and overlays show the values of the arrays at their places."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from convscope.image_rendering import (
    activation_grid,
    data_uri,
    filter_grid,
    heat_layer,
    heat_scale,
    overlay,
    png_bytes,
    tile_grid,
)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_reads_back(channels: int) -> None:
    """The pixels of grey, RGB and RGBA images are the same after a round trip through a `data:` URI."""
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    uri = data_uri(png_bytes(image))
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(body))) as back:
        np.testing.assert_array_equal(np.asarray(back).reshape(image.shape), image)


@pytest.mark.parametrize("count", [1, 2, 5, 32, 100])
def test_tiles_are_row_after_row(count: int) -> None:
    """Channel i is at row i // columns, column i % columns, from black to white over its own range."""
    maps = np.random.default_rng(1).normal(0, 5, (3, 4, count)).astype(np.float32)
    grid, columns = activation_grid(maps)
    assert grid.dtype == np.uint8
    assert grid.shape == (-(-count // columns) * 3, columns * 4, 1)
    for number in range(count):
        row, column = divmod(number, columns)
        shown = grid[row * 3 : row * 3 + 3, column * 4 : column * 4 + 4, 0]
        assert (shown.min(), shown.max()) == (0, 255)
        assert np.unravel_index(shown.argmax(), shown.shape) == np.unravel_index(maps[..., number].argmax(), (3, 4))


def test_constant_channel_is_black() -> None:
    """It has no range."""
    assert activation_grid(np.full((2, 2, 1), 7.0, np.float32))[0].max() == 0


def test_filters_are_in_colour_around_grey() -> None:
    """Positive is lighter than middle grey, negative darker, each filter by its largest absolute weight."""
    weights = np.zeros((2, 2, 3, 2), np.float32)
    weights[0, 0, 0, 0], weights[1, 1, 2, 1] = 4.0, -0.5
    grid, columns = filter_grid(weights)
    assert (grid.shape, columns) == ((2, 4, 3), 2)
    assert grid[0, 0].tolist() == [255, 128, 128]
    assert grid[1, 3].tolist() == [128, 128, 0]
    assert filter_grid(weights[:, :, :1])[0].shape[2] == 1
    assert filter_grid(np.ones((1, 1, 8, 4), np.float32))[0].shape[2] == 1


def test_heat_is_over_its_place() -> None:
    """No heat is transparent, the most heat is the most opaque, and the place is that of the map."""
    heat = np.zeros((4, 4), np.float32)
    heat[0, 3] = 2.0
    layer = heat_layer(heat, 64, peak=2.0)
    assert layer.shape == (64, 64, 4)
    assert layer[40:, :24, 3].max() == 0
    row, column = np.unravel_index(layer[..., 3].argmax(), (64, 64))
    assert row < 16
    assert column >= 48
    image = np.full((64, 64, 1), 100, np.uint8)
    shown = overlay(image, layer)
    assert shown.shape == (64, 64, 3)
    assert (shown[40:, :24] == 100).all()
    assert np.abs(shown[row, column].astype(int) - 100).max() > 60
    assert heat_layer(np.zeros((2, 2), np.float32), 8, peak=0.0)[..., 3].max() == 0


def test_gaps_are_around_every_tile() -> None:
    """Half a gap at each edge of a tile, filled with the given value, and so are the empty places of the last row."""
    tiles = np.arange(5 * 2 * 3, dtype=np.float64).reshape(5, 2, 3, 1)
    grid, columns = tile_grid(tiles, gap=2, fill=np.nan)
    assert (grid.shape, columns) == ((8, 20, 1), 4)
    np.testing.assert_array_equal(grid[1:3, 6:9], tiles[1])
    np.testing.assert_array_equal(grid[5:7, 1:4], tiles[4])
    assert np.count_nonzero(np.isnan(grid)) == grid.size - tiles.size


def test_one_scale_for_all_classes() -> None:
    """The largest heat of any class."""
    heat = np.zeros((4, 4, 3), np.float32)
    heat[1, 2, 1], heat[0, 0, 2] = 0.5, 4.0
    assert heat_scale(heat) == 4.0
