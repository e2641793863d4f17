"""Where the network looked: Grad-CAM.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017
(arXiv 1610.02391): the channels of the last block, each weighed by how much the class's logit grows with it, summed,
and what speaks against the class cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.models.catalog import outputs_of
from convscope.models.frameworks import tf

if TYPE_CHECKING:
    from numpy.typing import NDArray


def last_block_of(model: Any) -> str:
    """The name of the last of `block1`, `block2`, ..."""
    blocks = [layer.name for layer in model.layers if layer.name.removeprefix("block").isdecimal()]
    return max(blocks, key=lambda name: int(name.removeprefix("block")))


def grad_cam(model: Any, image: NDArray[np.uint8], class_index: int) -> NDArray[np.float32]:
    """What in an image speaks for a class.

    Args:
        model: a `keras.Model` with blocks and `logits`.
        image: (size, size, channels) uint8.
        class_index: the class to explain.

    Returns: (height, width) float32 of the last block, 0 or more, in logits; larger is more.
    """
    block = last_block_of(model)
    graph = outputs_of(model, block, "logits")
    with tf.GradientTape() as tape:
        outputs = graph(image[np.newaxis], training=False)
        tape.watch(outputs[block])
        logit = _head_of(model, block)(outputs[block], training=False)[0, class_index]
    gradient = tape.gradient(logit, outputs[block])
    weights = tf.reduce_mean(gradient, axis=(1, 2))  # (1, h, w, c) -> (1, c): mean over places
    heat = tf.einsum("nhwc,nc->nhw", outputs[block], weights)  # weigh channels, then sum them
    return np.asarray(tf.nn.relu(heat)[0], np.float32)


def _head_of(model: Any, block: str) -> Any:
    """The part of the network from a block to the logits."""
    from convscope.models.frameworks import keras

    return keras.Model(model.get_layer(block).output, model.get_layer("logits").output)
