"""Batch normalisation in one fused operation, in the precision of its input.

Keras 3.15's own layer is a dozen operations and goes through float32, also in mixed precision (read in its source).
TensorFlow's fused kernel reads the activations once and keeps bfloat16 as bfloat16, its statistics in float32.
Ioffe and Szegedy, 2015 (arXiv 1502.03167).
"""

from __future__ import annotations

from typing import Any

from convscope.networks.frameworks import keras, tf

EPSILON = 1e-3
MOMENTUM = 0.9  # of the moving statistics: half of what they know is from the last seven steps


@keras.saving.register_keras_serializable(package="convscope")
class FusedBatchNormalization(keras.layers.Layer):  # type: ignore[misc]
    """Normalise each channel of (B, h, w, c) by its mean and variance, then scale and shift it.

    While training these are the batch's own; else those of the moving statistics.

    Args:
        is_silent: begin with a scale of 0, so that whatever this is added to goes by unchanged.
    """

    def __init__(self, *, is_silent: bool = False, **words: Any) -> None:
        super().__init__(**words)
        self.is_silent = is_silent

    def get_config(self) -> dict[str, Any]:
        """What makes this layer again."""
        return {**super().get_config(), "is_silent": self.is_silent}

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the four vectors (c,), float32 whatever the precision of the activations."""
        kept: dict[str, Any] = {"shape": (shape[-1],), "dtype": "float32", "autocast": False}
        self.scale = self.add_weight(**kept, initializer="zeros" if self.is_silent else "ones", name="scale")
        self.offset = self.add_weight(**kept, initializer="zeros", name="offset")
        self.mean = self.add_weight(**kept, initializer="zeros", trainable=False, name="mean")
        self.variance = self.add_weight(**kept, initializer="ones", trainable=False, name="variance")

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
