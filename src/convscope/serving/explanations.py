"""What POST /explain returns: heat map and activations of one image. Computed in a worker of the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.bundle.introspection import Introspection
from convscope.bundle.neighbours import NeighbourIndex
from convscope.image_rendering import activation_grid, data_uri, heat_layer, heat_scale, overlay, png_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Explainer:
    """A function that explains the prediction for one image.

    Attributes:
        inside: the model with its intermediate outputs.
        neighbours: the index in which similar training images are searched; None: the model has none.
        class_name: the class of the heat map; None: the predicted one.
        as_png: return the heat map over the image as a PNG file.
    """

    inside: Introspection
    neighbours: NeighbourIndex | None
    class_name: str | None
    as_png: bool

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, Any] | bytes:
        """Explain an image (size, size, channels) uint8.

        Returns: `ExplainResponse` as a dict, without `file`; with `as_png` a PNG file.

        Raises:
            BundleError: the model is broken.
        """
        outputs = self.inside.run(image)
        classes = self.inside.bundle.classes
        predicted = int(outputs.probabilities.argmax())
        index = predicted if self.class_name is None else classes.index(self.class_name)
        # one scale for all classes: the heat map of a class with little evidence is weak
        layer = heat_layer(outputs.heat[..., index], len(image), heat_scale(outputs.heat))
        if self.as_png:
            return png_bytes(overlay(image, layer))
        probabilities = outputs.probabilities.tolist()
        return {
            "label": classes[predicted],
            "confidence": probabilities[predicted],
            "probabilities": dict(zip(classes, probabilities, strict=True)),
            "class": classes[index],
            "image": data_uri(png_bytes(image)),
            "heatmap": data_uri(png_bytes(layer)),
            "blocks": [_draw_activations(name, maps) for name, maps in outputs.activations.items()],
            "neighbours": [] if self.neighbours is None else _draw_neighbours(self.neighbours, outputs.features),
        }


def _draw_neighbours(neighbours: NeighbourIndex, features: NDArray[np.float32]) -> list[dict[str, Any]]:
    """The training images whose features are most similar to `features` (width,)."""
    (nearest,) = neighbours.nearest(features[np.newaxis])
    return [
        {
            "picture": data_uri(png_bytes(neighbours.picture(neighbour.row))),
            "label": neighbour.label,
            "similarity": neighbour.similarity,
        }
        for neighbour in nearest
    ]


def _draw_activations(name: str, maps: NDArray[np.float32]) -> dict[str, Any]:
    """The channels of a block (height, width, channels) in one picture."""
    grid, columns = activation_grid(maps)
    height, width, channels = maps.shape
    return {
        "name": name,
        "height": height,
        "width": width,
        "channels": channels,
        "columns": columns,
        "picture": data_uri(png_bytes(grid)),
    }
