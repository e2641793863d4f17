"""What POST /explain answers: heat over the image, and what each block sees. Computed in a worker of the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.bundle.introspection import Inside
from convscope.bundle.neighbours import Neighbours
from convscope.drawing import data_uri, heat_layer, overlay, png_bytes, tile

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Looking:
    """How to look at an image: into which model, for which class (None: the most probable), and for what answer.

    `neighbours`: the training images among which the most similar ones are found; None: the model carries none.
    """

    inside: Inside
    neighbours: Neighbours | None
    class_name: str | None
    as_picture: bool

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, Any] | bytes:
        """Look at an image (size, size, channels) uint8.

        Returns: a PNG file of the heat over the image where a picture is wanted, else all that is to be seen.

        Raises:
            BundleError: the model is broken.
        """
        look = self.inside.look(image)
        classes = self.inside.bundle.classes
        best = int(look.probabilities.argmax())
        index = best if self.class_name is None else classes.index(self.class_name)
        # one scale for all classes, so that a class for which little speaks looks so
        layer = heat_layer(look.heat[..., index], len(image), float(look.heat.max()))
        if self.as_picture:
            return png_bytes(overlay(image, layer))
        probabilities = look.probabilities.tolist()
        return {
            "label": classes[best],
            "confidence": probabilities[best],
            "probabilities": dict(zip(classes, probabilities, strict=True)),
            "class": classes[index],
            "image": data_uri(png_bytes(image)),
            "heatmap": data_uri(png_bytes(layer)),
            "blocks": [_picture_block(name, maps) for name, maps in look.activations.items()],
            "neighbours": [] if self.neighbours is None else _picture_neighbours(self.neighbours, look.features),
        }


def _picture_neighbours(neighbours: Neighbours, features: NDArray[np.float32]) -> list[dict[str, Any]]:
    """The training images that are most like the one with these features (width,)."""
    (nearest,) = neighbours.nearest(features[np.newaxis])
    return [
        {
            "picture": data_uri(png_bytes(neighbours.picture(each.place))),
            "label": each.label,
            "similarity": each.similarity,
        }
        for each in nearest
    ]


def _picture_block(name: str, maps: NDArray[np.float32]) -> dict[str, Any]:
    """A block's channels (h, w, channels) as one picture."""
    grid, columns = tile(maps)
    height, width, channels = maps.shape
    return {
        "name": name,
        "height": height,
        "width": width,
        "channels": channels,
        "columns": columns,
        "picture": data_uri(png_bytes(grid)),
    }
