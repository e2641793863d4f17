"""A custom network, as the recipe names it, `user_network:network`, with everything that is difficult to support."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers


class Gate(layers.Layer):  # type: ignore[misc]
    """Multiplies each channel by a weight that has no name."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor


def network(image_size: int, num_classes: int) -> keras.Model:
    """Float input, a residual connection, moving statistics, dropout, a custom layer, and a head that flattens."""
    image = keras.Input((image_size, image_size, 3))
    tensor = layers.Rescaling(1 / 127.5, offset=-1)(image)
    tensor = layers.Conv2D(6, 3, padding="same", activation="relu")(tensor)
    tensor = layers.MaxPooling2D()(tensor)
    inner = layers.Conv2D(6, 3, padding="same", use_bias=False)(tensor)
    inner = layers.BatchNormalization(momentum=0.9)(inner)
    tensor = keras.ops.relu(tensor + Gate()(inner))
    tensor = layers.ZeroPadding2D(1)(tensor)
    tensor = layers.Conv2D(8, 3, strides=2, activation="relu")(tensor)
    tensor = layers.Flatten()(tensor)
    tensor = layers.Dense(12, activation="relu")(tensor)
    tensor = layers.Dropout(0.3)(tensor)
    return keras.Model(image, layers.Dense(num_classes, activation="softmax")(tensor))
