"""Networks of `keras.applications`, cloned as convscope's; how each preprocesses pixels becomes a part of the graph.

The weights of ImageNet come from Keras, which downloads them, or from a file. A file is only ever read by
`load_weights`, never by `load_model`, which would run code from it.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from convscope.errors import RecipeError
from convscope.networks import blocks
from convscope.networks.blocks import Tensor, layers
from convscope.networks.frameworks import keras
from convscope.networks.graph_cloning import clone_with_head, first_line, flatten, freeze_normalization
from convscope.networks.keras_internals import application_module, application_module_name
from convscope.networks.normalization import MOMENTUM, ChannelRescaling
from convscope.recipe.defaults import EFFICIENTNET, KERAS

DOWNLOAD_TIMEOUT = 20.0  # seconds without a response
EFFICIENTNET_SCALE = tuple(deviation**-0.5 for deviation in (0.229, 0.224, 0.225))


def keras_application(
    name: str, shape: tuple[int, int, int], num_classes: int, *, weights: str, load_weights: bool = True
) -> Any:
    """Build the network `keras.applications.NAME`; its `logits` are 0 at first.

    Batch normalisation is frozen in a pretrained network; with weights `none` it is trained like all else.

    Args:
        name: such as `MobileNetV2`.
        shape: (height, width, 3) of the images.
        num_classes: the number of classes.
        weights: `imagenet`, which Keras downloads once; `none` for random ones; or a file with those of this network
            without its top, as Keras saves them.
        load_weights: `False` builds the same network without reading `weights`, where others will be set.

    Returns: a `keras.Model` from `image` (B, height, width, 3) uint8 to `probabilities` (B, classes) float32, with the
        layers `block1`, `block2`, ..., `features` and `logits`.

    Raises:
        RecipeError: there is no such network, it does not take such images, or the weights cannot be loaded.
    """
    build = _find(name)
    core = _load(build, name, shape, weights if load_weights else "none")
    if weights == "none":
        for layer in core.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = MOMENTUM  # Keras's are for many more steps than a run here has
    else:
        freeze_normalization(core)
    image = blocks.image_input(shape)
    trunk = flatten(keras.Model(core.input, layers.GlobalAveragePooling2D()(core.output)), shape)
    rescaling = {} if weights == "none" else _imagenet_rescaling(trunk, build)
    return clone_with_head(trunk, image, preprocess(image, build), num_classes=num_classes, insert_after=rescaling)


def application_names() -> tuple[str, ...]:
    """The names of all networks of `keras.applications`."""
    return tuple(name for name, value in vars(keras.applications).items() if inspect.isfunction(value))


def preprocess(image: Tensor, build: Any) -> Tensor:
    """What the `preprocess_input` of a network does: (B, h, w, 3) uint8, RGB -> the same shape, float, RGB or BGR.

    It is found by calling it with black and three colours: each of its channels is one of the image's times a factor,
    plus a constant.
    """
    colours = 255.0 * np.concatenate([np.zeros((1, 3)), np.eye(3)])[:, np.newaxis, np.newaxis]  # (4, 1, 1, 3)
    outputs = np.asarray(application_module(build).preprocess_input(colours))[:, 0, 0]
    offset, slopes = outputs[0], (outputs[1:] - outputs[0]) / 255  # (3,), (channels of the image, channels)
    order = slopes.argmax(axis=0)
    if not np.array_equal(order, np.arange(3)):
        image = keras.ops.take(image, order, axis=-1)
    return ChannelRescaling(slopes.max(axis=0).tolist(), offset.tolist(), name="scale")(image)


def _find(name: str) -> Any:
    """The function of `keras.applications` that builds a network."""
    if name in application_names():
        return getattr(keras.applications, name)
    by_lower_case = {known.lower(): known for known in application_names()}
    matches = difflib.get_close_matches(name.lower(), by_lower_case, n=3, cutoff=0.5)
    similar = [KERAS + by_lower_case[match] for match in matches]
    raise RecipeError(
        found=f"network {KERAS}{name}, which Keras {keras.__version__} does not have",
        expected=f"one of {', '.join(sorted(application_names()))}",
        fix=f"did you mean {' or '.join(similar)}?" if similar else "change `network`",
    )


def _load(build: Any, name: str, shape: tuple[int, int, int], weights: str) -> Any:
    """The network of Keras without its classes, with its weights."""
    build_core = functools.partial(_build_core, build, name, shape)
    if weights == "none":
        return build_core(None)
    if weights == "imagenet":
        try:
            with _download_timeout():
                return build_core("imagenet")
        except RecipeError:
            raise
        except Exception as error:  # Keras raises bare ones
            build_core(None)  # if the shape is wrong, this raises the error about it
            raise _download_error(name, error) from None
    core = build_core(None)
    try:
        core.load_weights(weights)
    except Exception as error:  # of HDF5, Keras or the system
        raise _file_error(name, weights, error) from None
    return core


def _build_core(build: Any, name: str, shape: tuple[int, int, int], weights: str | None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the weights were trained at another image size, which does not matter
        try:
            return build(include_top=False, weights=weights, input_shape=shape)
        except ValueError as error:
            if weights is not None:
                raise
            raise RecipeError(
                found=f"{shape[0]} x {shape[1]} images with {shape[2]} channels for {KERAS}{name}: {first_line(error)}",
                expected="images that this network takes",
                fix="change `image_size`",
            ) from None


@contextmanager
def _download_timeout() -> Iterator[None]:
    """Let downloads by Keras time out, and print to standard error, where they do not mix with results."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _download_error(name: str, error: Exception) -> RecipeError:
    address = re.search(r"https?://\S+[^\s:]", str(error))
    source = address.group() if address else "its weights without the top from the address in Keras's documentation"
    return RecipeError(
        found=f"no weights of {KERAS}{name} in Keras's cache, and the download failed: {first_line(error)}",
        expected="a connection to the internet the first time, or a file",
        fix=f"download {source} elsewhere and set `weights` to the file; or `weights=none` (it trains from scratch); or"
        f" `network={EFFICIENTNET}`",
    )


def _file_error(name: str, weights: str, error: Exception) -> RecipeError:
    path = Path(weights)
    reason = first_line(error) if path.is_file() else "a folder" if path.is_dir() else "no such file"
    return RecipeError(
        found=f"{path.absolute()}: {reason}",
        expected=f"the weights of {KERAS}{name} without its top (`include_top=False`), in a file *.h5 as Keras saves"
        " them",
        fix="set `weights` to another file, `imagenet` or `none`",
    )


def _imagenet_rescaling(trunk: Any, build: Any) -> dict[Any, Any]:
    """The layer that Keras builds into EfficientNet (version 1) only if it downloads the weights itself.

    The normalisation divides by the root of the variance, but the weights were trained with a division by the variance.

    Returns: a new layer by the layer of `trunk` that it comes after; empty where nothing is missing.
    """
    positions = [index for index, layer in enumerate(trunk.layers) if isinstance(layer, layers.Normalization)]
    if application_module_name(build) != "efficientnet" or not positions:
        return {}
    if isinstance(trunk.layers[positions[0] + 1], layers.Rescaling):
        return {}
    return {trunk.layers[positions[0]]: ChannelRescaling(EFFICIENTNET_SCALE, name="imagenet_scale")}
