"""What the inside of a network looks like, as plain images: grids of channels, heat over a photo. NumPy and Pillow."""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEAT = (  # none to most: transparent violet, red, yellow; the lightness grows all the way, for every eye
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
    """A PNG file as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def tile(maps: NDArray[np.float32]) -> tuple[NDArray[np.uint8], int]:
    """All channels of a block side by side, each from black, its lowest value, to white, its highest.

    Args:
        maps: (h, w, n).

    Returns: the grid (rows * h, columns * w, 1) uint8, and its columns; what is left of the last row is black.
    """
    lowest, highest = maps.min(axis=(0, 1)), maps.max(axis=(0, 1))
    span = np.where(highest > lowest, highest - lowest, 1)
    grey = ((maps - lowest) / span * 255).round().astype(np.uint8)
    return _grid(grey.transpose(2, 0, 1)[..., np.newaxis])  # (h, w, n) -> (n, h, w, 1)


def filter_grid(weights: NDArray[np.float32]) -> tuple[NDArray[np.uint8], int]:
    """The filters of a convolution side by side, in colour where their input is RGB; middle grey is 0.

    Args:
        weights: (h, w, channels, n); of other than 3 channels the first is shown.

    Returns: the grid (rows * h, columns * w, 3 | 1) uint8, and its columns.
    """
    shown = weights if weights.shape[2] == 3 else weights[:, :, :1]
    most = np.abs(shown).max(axis=(0, 1, 2))
    shade = (shown / np.where(most > 0, most, 1) * 127.5 + 127.5).round().astype(np.uint8)
    return _grid(shade.transpose(3, 0, 1, 2))  # (h, w, c, n) -> (n, h, w, c)


def heat_layer(heat: NDArray[np.float32], side: int, peak: float) -> NDArray[np.uint8]:
    """A heat map as a layer to lay over a square image.

    Args:
        heat: (h, w), 0 or more.
        side: of the image in pixels; the map is smoothly enlarged to it.
        peak: the heat that gets the strongest colour.

    Returns: (side, side, 4) uint8 RGBA, transparent where there is no heat.
    """
    smooth = np.asarray(Image.fromarray(heat.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))
    share = np.clip(smooth / peak, 0, 1) if peak > 0 else np.zeros((side, side))
    stops, colours = [stop for stop, _ in HEAT], np.array([colour for _, colour in HEAT])
    layers = [np.interp(share, stops, colours[:, channel]) for channel in range(4)]
    return np.stack(layers, axis=-1).round().astype(np.uint8)


def overlay(image: NDArray[np.uint8], layer: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A layer (side, side, 4) laid over an image (side, side, 1 | 3): (side, side, 3) uint8."""
    below = np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.float32)
    share = layer[..., 3:] / np.float32(255)
    return (below * (1 - share) + layer[..., :3] * share).round().astype(np.uint8)


def _grid(tiles: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """(n, h, w, c) -> (rows * h, columns * w, c), about twice as wide as high."""
    count, height, width, channels = tiles.shape
    columns = min(count, math.ceil(math.sqrt(2 * count)))
    rows = math.ceil(count / columns)
    padded = np.zeros((rows * columns, height, width, channels), np.uint8)
    padded[:count] = tiles
    rowed = padded.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)  # (rows, h, columns, w, c)
    return rowed.reshape(rows * height, columns * width, channels), columns
