"""Where the network looked: Grad-CAM, with the gradient kept in its place.

Grad-CAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391) weighs each channel of the last block by the mean of the
class's gradient over all places. That mean is right for a network that itself averages over places; one that flattens,
as `classic` does, gives each place weights of its own, and the mean may light up places that had no part in the answer.
So each place is weighed by its own gradient (HiResCAM, Draelos and Carin 2020, arXiv 2011.08891); after a global
average pooling the two are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.models.catalog import outputs_of
from convscope.models.frameworks import keras, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray


def last_block_of(model: Any) -> str:
    """The name of the last of `block1`, `block2`, ..."""
    blocks: list[str] = [layer.name for layer in model.layers if layer.name.removeprefix("block").isdecimal()]
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
    heat = tf.reduce_sum(outputs[block] * gradient, axis=-1)  # (1, h, w, c) -> (1, h, w): what each place adds
    return np.asarray(tf.nn.relu(heat)[0], np.float32)


def _head_of(model: Any, block: str) -> Any:
    """The part of the network from a block to the logits."""
    return keras.Model(model.get_layer(block).output, model.get_layer("logits").output)
