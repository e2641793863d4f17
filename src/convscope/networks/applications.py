"""Networks of `keras.applications`, dressed as ours: what each does to the pixels first stands inside the graph.

What they learned from ImageNet comes from Keras, which fetches it, or from a file. A file of a stranger is read for
the numbers in it and nothing else: always by `load_weights`, never by `load_model`, which would run code from it.
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
from convscope.networks.graph_cloning import dress, first_line, flatten, freeze_normalization
from convscope.networks.normalization import MOMENTUM
from convscope.recipe.defaults import EFFICIENTNET, KERAS

WAIT_SECONDS = 20.0  # for a server that says nothing
EFFICIENTNET_SCALE = tuple(deviation**-0.5 for deviation in (0.229, 0.224, 0.225))


def application(
    name: str, shape: tuple[int, int, int], num_classes: int, *, weights: str, is_blank: bool = False
) -> Any:
    """Build the network `keras.applications.NAME`; its `logits` begin at 0.

    Batch normalisation stays as it learned it before; with weights `none` it learns like all else.

    Args:
        name: such as `MobileNetV2`.
        shape: (height, width, 3) of the images.
        num_classes: how many classes it tells apart.
        weights: `imagenet`, which Keras fetches or has fetched before; `none` for random ones; or a file with those of
            this network without its top, as Keras saves them.
        is_blank: leave `weights` out, since others will be put in their place.

    Returns: a `keras.Model` from `image` (B, height, width, 3) uint8 to `probabilities` (B, classes) float32, with the
        layers `block1`, `block2`, ..., `features` and `logits`.

    Raises:
        RecipeError: there is no such network, it takes no such images, or the weights cannot be had.
    """
    build = _find(name)
    core = _load(build, name, shape, "none" if is_blank else weights)
    if weights == "none":
        for layer in core.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = MOMENTUM  # Keras's are for many more steps than ours
    else:
        freeze_normalization(core)
    image = blocks.images(shape)
    trunk = flatten(keras.Model(core.input, layers.GlobalAveragePooling2D()(core.output)), shape)
    after = _missing(trunk, build) if weights != "none" else {}
    return dress(trunk, image, prepare(image, build), num_classes=num_classes, after=after)


def names() -> tuple[str, ...]:
    """The names of all networks that Keras has."""
    return tuple(name for name, value in vars(keras.applications).items() if inspect.isfunction(value))


def prepare(image: Tensor, build: Any) -> Tensor:
    """Pixels as a network of Keras's wants them: (B, h, w, 3) uint8, RGB -> the same shape, float, maybe BGR.

    What its `preprocess_input` does is found out by showing it black and three colours: each channel that it answers is
    one of the image's times a factor, plus a constant.
    """
    colours = 255.0 * np.concatenate([np.zeros((1, 3)), np.eye(3)])[:, np.newaxis, np.newaxis]  # (4, 1, 1, 3)
    answers = np.asarray(_module_of(build).preprocess_input(colours))[:, 0, 0]
    offset, slopes = answers[0], (answers[1:] - answers[0]) / 255  # (3,), (channels of the image, channels)
    order = slopes.argmax(axis=0)
    if not np.array_equal(order, np.arange(3)):
        image = keras.ops.take(image, order, axis=-1)
    return layers.Rescaling(slopes.max(axis=0).tolist(), offset=offset.tolist(), name="scale")(image)


def _find(name: str) -> Any:
    if name in names():
        return getattr(keras.applications, name)
    spelled = {each.lower(): each for each in names()}
    meant = [spelled[each] for each in difflib.get_close_matches(name.lower(), spelled, n=3, cutoff=0.5)]
    raise RecipeError(
        found=f"network {KERAS}{name}, which Keras {keras.__version__} does not have",
        expected=f"one of {', '.join(sorted(names()))}",
        fix=f"did you mean {' or '.join(KERAS + each for each in meant)}?" if meant else "change --network",
    )


def _module_of(build: Any) -> Any:
    """The public module of a network, in which its `preprocess_input` is."""
    return getattr(keras.applications, build.__module__.rpartition(".")[2])


def _load(build: Any, name: str, shape: tuple[int, int, int], weights: str) -> Any:
    """The network of Keras without its classes, with its weights."""
    make = functools.partial(_make, build, name, shape)
    if weights == "none":
        return make(None)
    if weights == "imagenet":
        try:
            with _patience():
                return make("imagenet")
        except RecipeError:
            raise
        except Exception as error:  # Keras raises bare ones
            make(None)  # where it is the shape that is wrong, this says so
            raise _not_fetched(name, error) from None
    core = make(None)
    try:
        core.load_weights(weights)
    except Exception as error:  # as HDF5, Keras or the system has it
        raise _wrong_file(name, weights, error) from None
    return core


def _make(build: Any, name: str, shape: tuple[int, int, int], weights: str | None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the weights were made at another image size, which does not matter
        try:
            return build(include_top=False, weights=weights, input_shape=shape)
        except ValueError as error:
            if weights is not None:
                raise
            raise RecipeError(
                found=f"{shape[0]} x {shape[1]} images with {shape[2]} channels for {KERAS}{name}: {first_line(error)}",
                expected="images that this network takes",
                fix="change --image-size",
            ) from None


@contextmanager
def _patience() -> Iterator[None]:
    """Keras fetches a file without waiting for ever, and says so where it does not mix with our output."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(WAIT_SECONDS)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _not_fetched(name: str, error: Exception) -> RecipeError:
    address = re.search(r"https?://\S+[^\s:]", str(error))
    where = address.group() if address else "its weights, without the top, from where Keras says that they are"
    return RecipeError(
        found=f"no weights of {KERAS}{name} in Keras's cache, nor could it fetch them: {first_line(error)}",
        expected="a connection to the internet the first time, or a file",
        fix=f"fetch {where} elsewhere and say --weights FILE; or --weights none (it learns from nothing); or --network"
        f" {EFFICIENTNET}",
    )


def _wrong_file(name: str, weights: str, error: Exception) -> RecipeError:
    path = Path(weights)
    reason = first_line(error) if path.is_file() else "a folder" if path.is_dir() else "no such file"
    return RecipeError(
        found=f"{path.absolute()}: {reason}",
        expected=f"the weights of {KERAS}{name} without its top (`include_top=False`), in a file *.h5 as Keras saves"
        " them",
        fix="name another file with --weights, or `imagenet`, or `none`",
    )


def _missing(trunk: Any, build: Any) -> dict[int, Any]:
    """What Keras builds into EfficientNet (the first) only where it fetches the weights itself.

    Its normalisation divides by the variance's root where ImageNet's were learned with a division by the variance.
    """
    found = [layer for layer in trunk.layers if isinstance(layer, layers.Normalization)]
    if build.__module__.rpartition(".")[2] != "efficientnet" or not found:
        return {}
    place = next(number for number, layer in enumerate(trunk.layers) if layer is found[0])
    if isinstance(trunk.layers[place + 1], layers.Rescaling):
        return {}
    return {id(found[0]._inbound_nodes[-1].outputs[0]): layers.Rescaling(EFFICIENTNET_SCALE, name="spread")}
