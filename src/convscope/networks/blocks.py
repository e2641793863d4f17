"""The parts that networks are composed of: functions from tensor to tensor whose last layer has the name `name`."""

from __future__ import annotations

from typing import Any

from convscope.networks.frameworks import keras
from convscope.randomness import draw_seed

Tensor = Any  # a symbolic Keras tensor
layers = keras.layers


def image_input(shape: tuple[int | None, int | None, int]) -> Tensor:
    """The input `image`: (B, height, width, channels) uint8, 0-255."""
    return keras.Input(shape, dtype="uint8", name="image")


def scale(tensor: Tensor) -> Tensor:
    """uint8 0-255 -> float 0-1: normalisation as a part of the graph, so that every runtime does the same."""
    return layers.Rescaling(1 / 255, name="scale")(tensor)


def convolution_block(tensor: Tensor, filters: int, *, name: str, initializers: Initializers) -> Tensor:
    """A 3x3 convolution, 2x2 maximum, ReLU: (B, h, w, c) -> (B, h // 2, w // 2, filters)."""
    layer = f"{name}_convolution"
    tensor = layers.Conv2D(filters, 3, padding="same", name=layer, **initializers.for_layer(layer))(tensor)
    tensor = layers.MaxPooling2D(2, name=f"{name}_pool")(tensor)  # before the ReLU: same values, a quarter of the work
    return layers.ReLU(name=name)(tensor)


def dense(tensor: Tensor, units: int, *, name: str, initializers: Initializers, dtype: str | None = None) -> Tensor:
    """A dense layer without an activation: (B, d) -> (B, units)."""
    return layers.Dense(units, name=name, dtype=dtype, **initializers.for_layer(name))(tensor)


class Initializers:
    """First kernels from a truncated normal and first biases from a constant, seeded for each layer by its name.

    Attributes:
        seed: the draws of all layers follow from it.
        stddev: of the normal distribution, which is truncated at two of them.
        bias: the value of every bias.
    """

    def __init__(self, seed: int, *, stddev: float, bias: float) -> None:
        self.seed, self.stddev, self.bias = seed, stddev, bias

    def for_layer(self, name: str) -> dict[str, Any]:
        """The initializers of a layer, as its keyword arguments."""
        seed = draw_seed(self.seed, "weights", name)
        return {
            "kernel_initializer": keras.initializers.TruncatedNormal(stddev=self.stddev, seed=seed),
            "bias_initializer": keras.initializers.Constant(self.bias),
        }
