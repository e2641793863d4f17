"""Arrays as plain images: grids of tiles, heat maps over an image, PNG bytes. NumPy and Pillow only.

The one place that arranges tiles and colours heat: the report, the server's page and notebooks show the same pixels.
"""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEAT = (  # none to most: transparent violet, red, yellow; lightness grows monotonically, for colour-blind readers too
    (0.0, (60, 10, 90, 0)),
    (0.25, (120, 28, 109, 110)),
    (0.5, (200, 64, 64, 165)),
    (0.75, (245, 125, 21, 200)),
    (1.0, (252, 230, 100, 225)),
)


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """(h, w, 1 | 3 | 4) uint8, grey, RGB or RGBA, as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, "PNG")
    return file.getvalue()


def data_uri(png: bytes) -> str:
    """A PNG file as a `data:` URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def tile_grid(tiles: NDArray[Any], *, gap: int = 0, fill: float = 0) -> tuple[NDArray[Any], int]:
    """Tiles side by side, row after row, in a grid about twice as wide as high.

    Args:
        tiles: (n, h, w, channels), n at least 1.
        gap: pixels between tiles, even; half of it is around the grid.
        fill: the value of the gaps, and of the empty places of the last row.

    Returns: the grid (rows * (h + gap), columns * (w + gap), channels), of the dtype of the tiles; its columns.
    """
    count, height, width, channels = tiles.shape
    columns = min(count, math.ceil(math.sqrt(2 * count)))
    rows = math.ceil(count / columns)
    edge = gap // 2
    cells = np.full((rows * columns, height + 2 * edge, width + 2 * edge, channels), fill, tiles.dtype)
    cells[:count, edge : edge + height, edge : edge + width] = tiles
    height, width = cells.shape[1:3]
    rowed = cells.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)  # (rows, h, columns, w, c)
    return rowed.reshape(rows * height, columns * width, channels), columns


def activation_grid(activations: NDArray[np.float32]) -> tuple[NDArray[np.uint8], int]:
    """All channels of a block side by side, each from black, its lowest value, to white, its highest.

    Args:
        activations: (h, w, n).

    Returns: the grid (rows * h, columns * w, 1) uint8, and its columns; the empty places of the last row are black.
    """
    lowest, highest = activations.min(axis=(0, 1)), activations.max(axis=(0, 1))
    span = np.where(highest > lowest, highest - lowest, 1)
    grey = ((activations - lowest) / span * 255).round().astype(np.uint8)
    return tile_grid(grey.transpose(2, 0, 1)[..., np.newaxis])  # (h, w, n) -> (n, h, w, 1)


def filter_grid(weights: NDArray[np.float32]) -> tuple[NDArray[np.uint8], int]:
    """The filters of a convolution side by side, in colour where their input is RGB; middle grey is 0.

    Args:
        weights: (h, w, channels, n); of other than 3 channels only the first is drawn.

    Returns: the grid (rows * h, columns * w, 3 | 1) uint8, and its columns.
    """
    drawn = weights if weights.shape[2] == 3 else weights[:, :, :1]
    largest = np.abs(drawn).max(axis=(0, 1, 2))
    shades = (drawn / np.where(largest > 0, largest, 1) * 127.5 + 127.5).round().astype(np.uint8)
    return tile_grid(shades.transpose(3, 0, 1, 2))  # (h, w, c, n) -> (n, h, w, c)


def heat_scale(heat: NDArray[np.float32]) -> float:
    """The heat that gets the strongest colour: the largest of any class of one image.

    One scale for all classes, so that a class with little evidence is drawn pale.

    Args:
        heat: (h, w, classes), at least 0.
    """
    return float(heat.max())


def heat_layer(heat: NDArray[np.float32], side: int, peak: float) -> NDArray[np.uint8]:
    """A heat map as a transparent layer for a square image.

    Args:
        heat: (h, w), at least 0.
        side: of the image in pixels; the map is enlarged to it with bicubic interpolation.
        peak: the heat that gets the strongest colour, from `heat_scale`.

    Returns: (side, side, 4) uint8 RGBA, transparent where the heat is 0.
    """
    smooth = np.asarray(Image.fromarray(heat.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))
    strength = np.clip(smooth / peak, 0, 1) if peak > 0 else np.zeros((side, side))
    stops, colors = [stop for stop, _ in HEAT], np.array([color for _, color in HEAT])
    layer = [np.interp(strength, stops, colors[:, channel]) for channel in range(4)]
    return np.stack(layer, axis=-1).round().astype(np.uint8)


def overlay(image: NDArray[np.uint8], layer: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A layer (side, side, 4) composited over an image (side, side, 1 | 3): (side, side, 3) uint8."""
    background = np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.float32)
    alpha = layer[..., 3:] / np.float32(255)
    return (background * (1 - alpha) + layer[..., :3] * alpha).round().astype(np.uint8)
