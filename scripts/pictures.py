"""The figure in the READMEs: a heat map, probabilities and activations. Usage: python scripts/pictures.py RUN

RUN is the run folder of `make demo`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from convscope.bundle.introspection import open_introspection
from convscope.files import read_table
from convscope.images.image_reader import read_image
from convscope.plotting.style import save_figure
from convscope.run import Run

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ("3", "8")
CHANNELS = 12


def main(run: Run) -> None:
    """Draw a held-out image of each of `DIGITS`, its heat map, its probabilities and activations of each block."""
    inside = open_introspection(run.path)
    columns = 3 + len(inside.blocks)
    figure = Figure(figsize=(13, 2.9 * len(DIGITS)), layout="constrained")
    ratios = [1, 1, 1.1, *[1.35] * len(inside.blocks)]
    grid = figure.subplots(len(DIGITS), columns, width_ratios=ratios, squeeze=False)
    square, classes = inside.bundle.square, inside.bundle.classes
    for axes, path in zip(grid, held_out(run), strict=True):
        image = read_image(path, size=square.size, channels=square.channels)
        result = inside.run(image)
        predicted = int(result.probabilities.argmax())
        axes[0].imshow(image[..., 0], cmap="gray")
        axes[0].set_title("held-out image")
        heat_map = Image.fromarray(result.heat[..., predicted]).resize(image.shape[:2])
        axes[1].imshow(image[..., 0], cmap="gray")
        axes[1].imshow(np.asarray(heat_map), cmap="inferno", alpha=0.6)
        axes[1].set_title(f"heat map for {classes[predicted]}")
        axes[2].barh(classes, result.probabilities, color="#1f5fa8")
        axes[2].invert_yaxis()
        axes[2].set(title="probabilities", xlim=(0, 1))
        for block_axes, (block, activations) in zip(axes[3:], result.activations.items(), strict=True):
            block_axes.imshow(channel_grid(activations), cmap="viridis")
            block_axes.set_title(f"activations of {block}")
        for image_axes in (*axes[:2], *axes[3:]):
            image_axes.axis("off")
    save_figure(figure, ROOT / "docs" / "pictures" / "inside.png")


def held_out(run: Run) -> list[Path]:
    """The first test image of each of `DIGITS`."""
    root = Path(run.environment["data"])
    rows = [row for row in read_table(run.data_file) if row["split"] == "test"]
    return [root / next(row["path"] for row in rows if row["class"] == digit) for digit in DIGITS]


def channel_grid(activations: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first channels of (h, w, c) in four columns, with gaps."""
    padded = np.pad(activations[..., :CHANNELS], ((1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    rows = [np.hstack([padded[..., c] for c in range(first, first + 4)]) for first in range(0, CHANNELS, 4)]
    return np.vstack(rows)


if __name__ == "__main__":
    main(Run(Path(sys.argv[1])))
