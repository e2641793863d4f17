"""HiResCAM (Draelos and Carin, 2020, arXiv 2011.08891): what each position of the last block adds to a class's logit.

Like Grad-CAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391) it multiplies activations by the gradient of the class.
Grad-CAM weights each channel by the mean of the gradient over all positions, which is right for a network that itself
averages over positions. One that flattens, as `classic` does, has weights of its own for each position, so HiResCAM
multiplies position by position; after a global average the two are the same.

The gradient is spelled out layer by layer, in products and masks: TensorFlow's own gradient operations have no
counterpart in ONNX, and these have, so that heat maps of an exported model need no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convscope.networks.blocks import Tensor, layers
from convscope.networks.frameworks import keras, tf
from convscope.networks.keras_internals import source_of

POOLS = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
UNCHANGED = (layers.Dropout, layers.GaussianDropout, layers.GaussianNoise, layers.Identity)  # outside of training


def block_names(model: Any) -> tuple[str, ...]:
    """The names `block1`, `block2`, ... of a network's blocks, first to last."""
    suffixes = (layer.name.removeprefix("block") for layer in model.layers)
    return tuple(f"block{number}" for number in sorted(int(suffix) for suffix in suffixes if suffix.isdecimal()))


def head_layers(model: Any) -> tuple[Any, ...]:
    """The layers after the last block, up to and including `logits`, in the order in which they are called."""
    last = block_names(model)[-1]
    head = [model.get_layer("logits")]
    while (previous := source_of(head[-1].input)[0]).name != last:
        head.append(previous)
    return tuple(reversed(head))


def class_heat_maps(model: Any, outputs: Mapping[str, Tensor]) -> Tensor:
    """The evidence for each class at each position of the last block.

    Args:
        model: a `keras.Model` whose head has only layers that `is_supported` knows.
        outputs: the outputs of the last block and of each layer of the head, by name, of any float dtype.

    Returns: (B, h, w, classes) float32 at the positions of the last block, 0 or more, in logits.

    Raises:
        ValueError: a layer of the head is of another kind.
    """
    block = tf.cast(outputs[block_names(model)[-1]], tf.float32)  # it may be bfloat16, the weights are float32
    *head, logits = head_layers(model)
    gradient = logits.kernel.value[tf.newaxis]  # (1, d, classes): of each class's logit by each feature
    for layer in reversed(head):
        gradient = _gradient_by_input(layer, gradient, tf.cast(outputs[layer.name], tf.float32), block)
    return tf.nn.relu(tf.matmul(block[..., tf.newaxis, :], gradient)[..., 0, :])  # sums over the block's channels


def is_supported(layer: Any) -> bool:
    """Whether a heat map can be computed through a layer of this kind."""
    if isinstance(layer, layers.ReLU):
        return not layer.negative_slope and not layer.threshold
    if isinstance(layer, (layers.Dense, layers.Activation)):
        return layer.activation in (keras.activations.relu, keras.activations.linear)
    return isinstance(layer, (*UNCHANGED, layers.BatchNormalization, layers.Flatten, *POOLS))


def _gradient_by_input(layer: Any, gradient: Tensor, output: Tensor, block: Tensor) -> Tensor:
    """The gradient by a layer's input (B, ..., classes), from that by its output; all float32."""
    if not is_supported(layer):
        raise ValueError(f"no heat map can be computed through {type(layer).__name__} {layer.name!r}")
    if isinstance(layer, layers.ReLU) or getattr(layer, "activation", None) is keras.activations.relu:
        maximum = getattr(layer, "max_value", None)
        is_passed = output > 0 if maximum is None else (output > 0) & (output < maximum)
        gradient = gradient * tf.cast(is_passed, tf.float32)[..., tf.newaxis]
    if isinstance(layer, layers.Dense):
        return tf.matmul(layer.kernel.value, gradient)
    if isinstance(layer, layers.BatchNormalization):
        scale = tf.math.rsqrt(layer.moving_variance.value + layer.epsilon)
        return gradient * (scale * layer.gamma.value if layer.scale else scale)[:, tf.newaxis]
    _, height, width, channels = block.shape
    if isinstance(layer, layers.Flatten):
        return tf.reshape(gradient, (-1, height, width, channels, gradient.shape[-1]))
    if isinstance(layer, layers.GlobalAveragePooling2D):
        return gradient[:, tf.newaxis, tf.newaxis] / (height * width)  # each position has the same weight in the mean
    if isinstance(layer, layers.GlobalMaxPooling2D):
        is_highest = tf.cast(block == output[:, tf.newaxis, tf.newaxis], tf.float32)  # (B, h, w, c)
        shares = is_highest / tf.reduce_sum(is_highest, axis=(1, 2), keepdims=True)  # of positions equally high
        return shares[..., tf.newaxis] * gradient[:, tf.newaxis, tf.newaxis]
    return gradient
