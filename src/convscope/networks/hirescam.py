"""What each place of the last block adds to the logit of each class, spelled out in plain products and masks.

This is Grad-CAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391) with the gradient kept in its place (HiResCAM, Draelos
and Carin 2020, arXiv 2011.08891). Grad-CAM weighs each channel by the mean of the class's gradient over all places.
That mean is right for a network that itself averages over places, but one that flattens, as `classic` does, gives each
place weights of its own. So each place is weighed by its own gradient; after a global average the two are the same.

The gradient is walked by hand from the logits down to the block: TensorFlow's own gradient operations have no
counterpart in ONNX, and these have, so that looking inside a model needs no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convscope.networks.blocks import Tensor, layers
from convscope.networks.frameworks import keras, tf

POOLS = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
UNCHANGED = (layers.Dropout, layers.GaussianDropout, layers.GaussianNoise, layers.Identity)  # where nothing learns


def blocks_of(model: Any) -> tuple[str, ...]:
    """The names `block1`, `block2`, ... of a network's blocks, first to last."""
    numbers = (layer.name.removeprefix("block") for layer in model.layers)
    return tuple(f"block{number}" for number in sorted(int(each) for each in numbers if each.isdecimal()))


def head_of(model: Any) -> tuple[Any, ...]:
    """The layers after the last block, up to and with the logits, in the order in which an image meets them."""
    last, found = blocks_of(model)[-1], [model.get_layer("logits")]
    while (below := found[-1].input._keras_history.operation).name != last:
        found.append(below)
    return tuple(reversed(found))


def evidence(model: Any, outputs: Mapping[str, Tensor]) -> Tensor:
    """What speaks for each class, and where.

    Args:
        model: a `keras.Model` whose head is made of what `has_rule` knows.
        outputs: what the last block and each layer of the head answered, by name.

    Returns: (B, h, w, classes) float32 at the places of the last block, 0 or more, in logits.

    Raises:
        ValueError: a layer of the head is of another kind.
    """
    block = outputs[blocks_of(model)[-1]]
    *head, logits = head_of(model)
    gradient = logits.kernel.value[tf.newaxis]  # (1, d, classes): how each class's logit grows with each feature
    for layer in reversed(head):
        gradient = _before(layer, gradient, outputs[layer.name], block)
    return tf.nn.relu(tf.matmul(block[..., tf.newaxis, :], gradient)[..., 0, :])  # sums over the block's channels


def has_rule(layer: Any) -> bool:
    """Whether a heat map leads through a layer of this kind."""
    if isinstance(layer, layers.ReLU):
        return not layer.negative_slope and not layer.threshold
    if isinstance(layer, (layers.Dense, layers.Activation)):
        return layer.activation in (keras.activations.relu, keras.activations.linear)
    return isinstance(layer, (*UNCHANGED, layers.BatchNormalization, layers.Flatten, *POOLS))


def _before(layer: Any, gradient: Tensor, output: Tensor, block: Tensor) -> Tensor:
    """The gradient by a layer's input (B, ..., classes), from that by its output."""
    if not has_rule(layer):
        raise ValueError(f"no heat map through {type(layer).__name__} {layer.name!r}")
    if isinstance(layer, layers.ReLU) or getattr(layer, "activation", None) is keras.activations.relu:
        most = getattr(layer, "max_value", None)
        passes = output > 0 if most is None else (output > 0) & (output < most)
        gradient = gradient * tf.cast(passes, gradient.dtype)[..., tf.newaxis]
    if isinstance(layer, layers.Dense):
        return tf.matmul(layer.kernel.value, gradient)
    if isinstance(layer, layers.BatchNormalization):
        scale = tf.math.rsqrt(layer.moving_variance.value + layer.epsilon)
        return gradient * (scale * layer.gamma.value if layer.scale else scale)[:, tf.newaxis]
    _, height, width, channels = block.shape
    if isinstance(layer, layers.Flatten):
        return tf.reshape(gradient, (-1, height, width, channels, gradient.shape[-1]))
    if isinstance(layer, layers.GlobalAveragePooling2D):
        return gradient[:, tf.newaxis, tf.newaxis] / (height * width)  # each place has the same part in the mean
    if isinstance(layer, layers.GlobalMaxPooling2D):
        highest = tf.cast(block == output[:, tf.newaxis, tf.newaxis], gradient.dtype)  # (B, h, w, c)
        shared = highest / tf.reduce_sum(highest, axis=(1, 2), keepdims=True)  # by places that are equally high
        return shared[..., tf.newaxis] * gradient[:, tf.newaxis, tf.newaxis]
    return gradient
