"""Where a Keras network looked: what `models.evidence` finds, for one image and class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.networks.catalog import outputs_of
from convscope.networks.hirescam import blocks_of, evidence, head_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def grad_cam(model: Any, image: NDArray[np.uint8], class_index: int) -> NDArray[np.float32]:
    """What in an image speaks for a class.

    Args:
        model: a `keras.Model` with blocks and `logits`.
        image: (size, size, channels) uint8.
        class_index: the class to explain.

    Returns: (height, width) float32 of the last block, 0 or more, in logits; larger is more.
    """
    names = (blocks_of(model)[-1], *(layer.name for layer in head_of(model)))
    outputs = outputs_of(model, *names)(image[np.newaxis], training=False)
    return np.asarray(evidence(model, outputs)[0, ..., class_index], np.float32)
