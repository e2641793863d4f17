"""A network made to learn fast from scratch on a CPU: dense 3x3 convolutions, no depthwise ones.

With the default recipe it has 1.2 million weights and takes 0.29 GFLOP per image forward at 128 pixels. Its first
filters are made from the images, see `whiten`. It ends in a global average, so the same weights work at every size; it
has no dense layer to move at each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convscope.networks import blocks
from convscope.networks.blocks import Tensor, layers
from convscope.networks.frameworks import keras
from convscope.networks.normalization import FusedBatchNormalization
from convscope.networks.whitening import whitening_filters
from convscope.randomness import draw_seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEM = 4  # pixels: side of the first filters
PAIRS = 2  # residual pairs in each stage: narrow and deep beat wide and shallow in a first prototype, one run each


def compact(shape: tuple[int | None, int | None, int], num_classes: int, *, filters: Sequence[int], seed: int) -> Any:
    """Build the network.

    Args:
        shape: (height, width, channels) of the images; height and width may be None, for any size from 32.
        num_classes: how many classes it tells apart.
        filters: of the first convolution, of each stage, and of the last convolution.
        seed: the first weights follow from it.

    Returns: a `keras.Model` from `image` (B, height, width, channels) uint8 to `probabilities` (B, classes) float32,
        with the layers `block1`, `block2`, ... (one per stage, and the last convolution), `features` and `logits`.
    """
    stem, *stages, last = filters
    image = blocks.images(shape)
    tensor = blocks.scale(image)
    tensor = normed_convolution(tensor, stem, kernel=STEM, stride=2, name="stem", seed=seed)
    for number, count in enumerate(stages, start=1):
        tensor = normed_convolution(tensor, count, stride=2, name=f"block{number}_down", seed=seed)
        for pair in range(1, PAIRS + 1):
            name = f"block{number}" if pair == PAIRS else f"block{number}_pair{pair}"
            tensor = residual_pair(tensor, count, name=name, seed=seed)
    tensor = normed_convolution(tensor, last, stride=2, name=f"block{len(stages) + 1}", seed=seed)
    tensor = layers.GlobalAveragePooling2D(name="features", dtype="float32")(tensor)  # (B, h, w, c) -> (B, c)
    start = keras.initializers.GlorotUniform(seed=draw_seed(seed, "weights", "logits"))
    tensor = layers.Dense(num_classes, kernel_initializer=start, name="logits", dtype="float32")(tensor)
    probabilities = layers.Softmax(name="probabilities", dtype="float32")(tensor)
    return keras.Model(image, probabilities, name="compact")


def whiten(model: Any, images: NDArray[np.uint8]) -> None:
    """Start the first convolution of a `compact` from some of the images that it will learn from, and keep it there.

    Args:
        images: (n, height, width, channels) uint8.
    """
    stem = model.get_layer("stem_convolution")
    kernel = stem.kernel.numpy()  # filters beyond those that whiten stay as they were drawn
    filters = whitening_filters(images, side=STEM, most=kernel.shape[3])
    kernel[..., : filters.shape[3]] = filters
    stem.kernel.assign(kernel)


def normed_convolution(
    tensor: Tensor, filters: int, *, name: str, seed: int, kernel: int = 3, stride: int = 1
) -> Tensor:
    """Convolution, batch normalisation, ReLU: (B, h, w, c) -> (B, h / stride, w / stride, filters)."""
    return layers.ReLU(name=name)(_normed(tensor, filters, name=name, seed=seed, kernel=kernel, stride=stride))


def residual_pair(tensor: Tensor, filters: int, *, name: str, seed: int) -> Tensor:
    """Two convolutions around which the input goes (He et al., arXiv 1512.03385): (B, h, w, filters) -> the same.

    At first they add nothing (Goyal et al., arXiv 1706.02677): the network begins as the shallow one that learns soon.
    """
    inner = normed_convolution(tensor, filters, name=f"{name}_first", seed=seed)
    outer = _normed(inner, filters, name=f"{name}_second", seed=seed, is_silent=True)
    return layers.ReLU(name=name)(layers.Add(name=f"{name}_sum")([tensor, outer]))


def _normed(
    tensor: Tensor, filters: int, *, name: str, seed: int, kernel: int = 3, stride: int = 1, is_silent: bool = False
) -> Tensor:
    convolution = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,  # the normalisation's offset does that
        kernel_initializer=keras.initializers.HeNormal(seed=draw_seed(seed, "weights", name)),
        trainable=name != "stem",  # `whiten` gives it what it keeps
        name=f"{name}_convolution",
    )
    return FusedBatchNormalization(is_silent=is_silent, name=f"{name}_norm")(convolution(tensor))
