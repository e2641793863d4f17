"""The bricks of a network, each a function from tensor to tensor that gives its last layer the name it is asked for."""

from __future__ import annotations

from typing import Any

from convscope.networks.frameworks import keras
from convscope.randomness import draw_seed

Tensor = Any  # a symbolic Keras tensor
layers = keras.layers


def images(shape: tuple[int | None, int | None, int]) -> Tensor:
    """The input: (B, height, width, channels) uint8, 0-255."""
    return keras.Input(shape, dtype="uint8", name="image")


def scale(tensor: Tensor) -> Tensor:
    """uint8 0-255 -> float 0-1: the normalisation, inside the graph, where nobody can get it wrong."""
    return layers.Rescaling(1 / 255, name="scale")(tensor)


def convolve(tensor: Tensor, filters: int, *, name: str, start: Start) -> Tensor:
    """A 3x3 convolution, 2x2 maximum, ReLU: (B, h, w, c) -> (B, h // 2, w // 2, filters)."""
    tensor = layers.Conv2D(filters, 3, padding="same", name=f"{name}_convolution", **start.of(f"{name}_convolution"))(
        tensor
    )
    tensor = layers.MaxPooling2D(2, name=f"{name}_pool")(
        tensor
    )  # before the ReLU: the same values, a quarter of the work
    return layers.ReLU(name=name)(tensor)


def dense(tensor: Tensor, units: int, *, name: str, start: Start, dtype: str | None = None) -> Tensor:
    """A dense layer: (B, d) -> (B, units)."""
    return layers.Dense(units, name=name, dtype=dtype, **start.of(name))(tensor)


class Start:
    """First weights from a truncated normal and first biases from a constant, drawn for each layer by its name."""

    def __init__(self, seed: int, *, deviation: float, bias: float) -> None:
        self.seed, self.deviation, self.bias = seed, deviation, bias

    def of(self, layer: str) -> dict[str, Any]:
        """The initializers of a layer, as its keyword arguments."""
        drawn = draw_seed(self.seed, "weights", layer)
        return {
            "kernel_initializer": keras.initializers.TruncatedNormal(stddev=self.deviation, seed=drawn),
            "bias_initializer": keras.initializers.Constant(self.bias),
        }
