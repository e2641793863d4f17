"""What each layer makes of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.networks.catalog import outputs_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def activations_of(model: Any, image: NDArray[np.uint8], layers: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """The outputs of some layers for one image.

    Args:
        model: a `keras.Model`.
        image: (size, size, channels) uint8.
        layers: their names.

    Returns: (height, width, channels) float32 for each convolution, (d,) for each dense layer, by name.
    """
    outputs = outputs_of(model, *layers)(image[np.newaxis], training=False)
    return {name: np.asarray(output[0], np.float32) for name, output in outputs.items()}
