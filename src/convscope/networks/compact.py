"""A network that trains fast from scratch on a CPU: dense 3x3 convolutions, no depthwise ones.

With the default recipe it has 1.2 million weights and takes 0.29 GFLOP per image forward at 128 pixels. Its first
filters are computed from the images, see `whiten`. It ends in a global average pooling, so the same weights work at
every image size, and there is no large dense layer to update at each step.
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

STEM_SIDE = 4  # pixels: side of the first filters
PAIRS = 2  # residual pairs in each stage: narrow and deep beat wide and shallow in a first prototype, one run each


def compact(shape: tuple[int | None, int | None, int], num_classes: int, *, filters: Sequence[int], seed: int) -> Any:
    """Build the network.

    Args:
        shape: (height, width, channels) of the images; height and width may be None, for any size from 32.
        num_classes: the number of classes.
        filters: of the first convolution, of each stage, and of the last convolution.
        seed: of the initial weights.

    Returns: a `keras.Model` from `image` (B, height, width, channels) uint8 to `probabilities` (B, classes) float32,
        with the layers `block1`, `block2`, ... (one per stage, and the last convolution), `features` and `logits`.
    """
    stem, *stages, last = filters
    image = blocks.image_input(shape)
    tensor = blocks.scale(image)
    tensor = normed_convolution(tensor, stem, kernel=STEM_SIDE, stride=2, name="stem", seed=seed)
    for number, width in enumerate(stages, start=1):
        tensor = normed_convolution(tensor, width, stride=2, name=f"block{number}_down", seed=seed)
        for pair in range(1, PAIRS + 1):
            name = f"block{number}" if pair == PAIRS else f"block{number}_pair{pair}"
            tensor = residual_pair(tensor, width, name=name, seed=seed)
    tensor = normed_convolution(tensor, last, stride=2, name=f"block{len(stages) + 1}", seed=seed)
    tensor = layers.GlobalAveragePooling2D(name="features", dtype="float32")(tensor)  # (B, h, w, c) -> (B, c)
    initializer = keras.initializers.GlorotUniform(seed=draw_seed(seed, "weights", "logits"))
    tensor = layers.Dense(num_classes, kernel_initializer=initializer, name="logits", dtype="float32")(tensor)
    probabilities = layers.Softmax(name="probabilities", dtype="float32")(tensor)
    return keras.Model(image, probabilities, name="compact")


def whiten(model: Any, images: NDArray[np.uint8]) -> None:
    """Compute the filters of the first convolution of a `compact` from training images; they are not trained.

    Args:
        images: some of the training images, (n, height, width, channels) uint8.
    """
    stem = model.get_layer("stem_convolution")
    kernel = stem.kernel.numpy()  # filters beyond those that whiten keep their initial values
    filters = whitening_filters(images, side=STEM_SIDE, max_filters=kernel.shape[3])
    kernel[..., : filters.shape[3]] = filters
    stem.kernel.assign(kernel)


def normed_convolution(
    tensor: Tensor, filters: int, *, name: str, seed: int, kernel: int = 3, stride: int = 1
) -> Tensor:
    """Convolution, batch normalisation, ReLU: (B, h, w, c) -> (B, h / stride, w / stride, filters)."""
    return layers.ReLU(name=name)(
        _convolution_and_norm(tensor, filters, name=name, seed=seed, kernel=kernel, stride=stride)
    )


def residual_pair(tensor: Tensor, filters: int, *, name: str, seed: int) -> Tensor:
    """Two convolutions with a skip connection (He et al., arXiv 1512.03385): (B, h, w, filters) -> the same.

    Initially they add 0 (Goyal et al., arXiv 1706.02677), so training starts with a shallow network, which is fast.
    """
    inner = normed_convolution(tensor, filters, name=f"{name}_first", seed=seed)
    outer = _convolution_and_norm(inner, filters, name=f"{name}_second", seed=seed, zero_scale=True)
    return layers.ReLU(name=name)(layers.Add(name=f"{name}_sum")([tensor, outer]))


def _convolution_and_norm(
    tensor: Tensor, filters: int, *, name: str, seed: int, kernel: int = 3, stride: int = 1, zero_scale: bool = False
) -> Tensor:
    convolution = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,  # the normalisation's offset does that
        kernel_initializer=keras.initializers.HeNormal(seed=draw_seed(seed, "weights", name)),
        trainable=name != "stem",  # `whiten` sets its filters
        name=f"{name}_convolution",
    )
    return FusedBatchNormalization(zero_scale=zero_scale, name=f"{name}_norm")(convolution(tensor))
