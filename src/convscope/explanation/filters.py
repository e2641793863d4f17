"""The weights of a convolution, as arrays to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.networks.catalog import convolutions_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def filters_of(model: Any, layer: str) -> NDArray[np.float32]:
    """The filters of a convolution.

    Returns: (height, width, input channels, filters) float32.

    Raises:
        ValueError: there is no such convolution.
    """
    if layer not in convolutions_of(model):
        raise ValueError(f"found layer {layer!r}; expected one of {', '.join(convolutions_of(model))}")
    return np.asarray(model.get_layer(layer).kernel, np.float32)
