"""Rescaling of channels, and batch normalisation in one fused operation, in the precision of its input.

Keras 3.15's own layer is a dozen operations and goes through float32, also in mixed precision (read in its source).
TensorFlow's fused kernel reads the activations once, returns bfloat16 for bfloat16, and has float32 statistics.
Ioffe and Szegedy, 2015 (arXiv 1502.03167).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convscope.networks.frameworks import keras, tf

EPSILON = 1e-3
MOMENTUM = 0.9  # of the moving statistics: the last seven steps have half of the weight


@keras.saving.register_keras_serializable(package="convscope")
class FusedBatchNormalization(keras.layers.Layer):  # type: ignore[misc]
    """Normalise each channel of (B, h, w, c) by its mean and variance, then scale and shift it.

    During training these are the batch's own, otherwise the moving statistics.

    Args:
        zero_scale: initialise the scale with 0, so that a residual branch that ends in this layer adds 0 at first.
    """

    def __init__(self, *, zero_scale: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.zero_scale = zero_scale

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "zero_scale": self.zero_scale}

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Create the four vectors (c,), float32 whatever the precision of the activations."""
        options: dict[str, Any] = {"shape": (shape[-1],), "dtype": "float32", "autocast": False}
        self.scale = self.add_weight(**options, initializer="zeros" if self.zero_scale else "ones", name="scale")
        self.offset = self.add_weight(**options, initializer="zeros", name="offset")
        self.mean = self.add_weight(**options, initializer="zeros", trainable=False, name="mean")
        self.variance = self.add_weight(**options, initializer="ones", trainable=False, name="variance")

    def call(self, inputs: Any, training: bool = False) -> Any:
        """(B, h, w, c) -> the same shape and dtype."""
        scale, offset = self.scale.value, self.offset.value
        if not training:
            outputs = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                scale=scale,
                offset=offset,
                mean=self.mean.value,
                variance=self.variance.value,
                epsilon=EPSILON,
                is_training=False,
            )
            return outputs.y
        outputs = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=scale, offset=offset, mean=[], variance=[], epsilon=EPSILON, is_training=True
        )
        self.mean.assign(self.mean.value * MOMENTUM + outputs.batch_mean * (1 - MOMENTUM))
        self.variance.assign(self.variance.value * MOMENTUM + outputs.batch_variance * (1 - MOMENTUM))
        return outputs.y


@keras.saving.register_keras_serializable(package="convscope")
class ChannelRescaling(keras.layers.Layer):  # type: ignore[misc]
    """Multiply each channel of (B, h, w, c) by its scale, then add its offset.

    `keras.layers.Rescaling` looks up the data format of the process at each call; here the channels are the last axis.

    Args:
        scale, offset: (c,) each.
    """

    def __init__(self, scale: Sequence[float], offset: Sequence[float] | float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}

    def call(self, inputs: Any) -> Any:
        """(B, h, w, c) of any dtype -> the same shape, in the precision of the activations."""
        dtype = self.compute_dtype
        return tf.cast(inputs, dtype) * tf.cast(self.scale, dtype) + tf.cast(self.offset, dtype)
