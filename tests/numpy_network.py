"""The network `classic` in NumPy and float64, written from its description alone: the reference for tests."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def logits_of(weights: Mapping[str, NDArray[np.generic]], images: NDArray[np.uint8]) -> Array:
    """(n, size, size, channels) uint8 -> logits (n, classes); in the reference's order, ReLU before pooling."""
    exact = {name: np.asarray(array, np.float64) for name, array in weights.items()}
    tensor = images / 255
    for block in range(1, 1 + sum(name.endswith("_convolution/kernel") for name in exact)):
        name = f"block{block}_convolution"
        tensor = largest_of_four(np.maximum(convolve(tensor, exact[f"{name}/kernel"]) + exact[f"{name}/bias"], 0))
    tensor = tensor.reshape(len(tensor), math.prod(tensor.shape[1:]))
    tensor = np.maximum(tensor @ exact["dense/kernel"] + exact["dense/bias"], 0)
    return tensor @ exact["logits/kernel"] + exact["logits/bias"]


def convolve(tensor: Array, kernel: Array) -> Array:
    """Stride 1, zero padding: (n, h, w, c) and (3, 3, c, filters) -> (n, h, w, filters)."""
    _, height, width, _ = tensor.shape
    padded = np.pad(tensor, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = ((padded[:, y : y + height, x : x + width], kernel[y, x]) for y in range(3) for x in range(3))
    return sum((pixels @ weights for pixels, weights in shifted), np.zeros(()))


def largest_of_four(tensor: Array) -> Array:
    """2x2 max pooling; a last odd row or column is dropped: (n, h, w, c) -> (n, h // 2, w // 2, c)."""
    n, height, width, c = tensor.shape
    even = tensor[:, : height // 2 * 2, : width // 2 * 2]
    return even.reshape(n, height // 2, 2, width // 2, 2, c).max(axis=(2, 4))


def cross_entropies(logits: Array, labels: NDArray[np.int32]) -> Array:
    """Cross-entropy in nats: (n, classes) and (n,) -> (n,)."""
    maxima = logits.max(axis=1, keepdims=True)
    return maxima[:, 0] + np.log(np.exp(logits - maxima).sum(axis=1)) - logits[np.arange(len(labels)), labels]


def softmax(logits: Array) -> Array:
    """Logits (n, classes) -> probabilities (n, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
