"""The reference network: three 3x3 convolutions and two dense layers.

With the default recipe it has 2.13 million weights, 2.10 million of them between the last feature map and the dense
layer, and takes 0.145 GFLOP per image forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convscope.networks import blocks
from convscope.networks.blocks import Initializers, layers
from convscope.networks.frameworks import keras

INITIAL_STDDEV = 0.05  # of the first kernels, and the value of every first bias: the reference's


def classic(
    shape: tuple[int, int, int], num_classes: int, *, filters: Sequence[int], dense_units: int, seed: int
) -> Any:
    """Build the network.

    Args:
        shape: (height, width, channels) of the images.
        num_classes: the number of classes.
        filters: of each convolution.
        dense_units: width of the dense layer, the network's features.
        seed: of the initial weights.

    Returns: a `keras.Model` from `image` (B, height, width, channels) uint8 to `probabilities` (B, classes) float32,
        with the layers `block1`, `block2`, ..., `features` (B, dense_units) and `logits` (B, classes).
    """
    initializers = Initializers(seed, stddev=INITIAL_STDDEV, bias=INITIAL_STDDEV)
    image = blocks.image_input(shape)
    tensor = blocks.scale(image)
    for number, num_filters in enumerate(filters, start=1):
        tensor = blocks.convolution_block(tensor, num_filters, name=f"block{number}", initializers=initializers)
    tensor = layers.Flatten(name="flatten")(tensor)  # (B, h, w, c) -> (B, h * w * c)
    tensor = blocks.dense(tensor, dense_units, name="dense", initializers=initializers)
    tensor = layers.ReLU(name="features")(tensor)
    tensor = blocks.dense(tensor, num_classes, name="logits", initializers=initializers, dtype="float32")
    probabilities = layers.Softmax(name="probabilities", dtype="float32")(tensor)
    return keras.Model(image, probabilities, name="classic")
