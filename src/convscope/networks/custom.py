"""A network of the person's own, `module:function`, dressed as ours once it is seen to be one that can be.

`function(image_size, num_classes)` returns a functional or sequential `keras.Model` from pixels 0-255, which it scales
itself, to one number for each class: its last layer is a `Dense`, linear or softmax.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from convscope.errors import RecipeError
from convscope.networks import blocks
from convscope.networks.blocks import Tensor, layers
from convscope.networks.frameworks import keras, tf
from convscope.networks.graph_cloning import describe, dress, first_line, flatten, source_of

DIFFERENCE = 0.02  # of the largest feature: more than rounding, also in bfloat16
ENDING = (keras.activations.linear, keras.activations.softmax)
CONTRACT = "a functional or sequential keras.Model from images to one number for each class"


def own_network(name: str, shape: tuple[int, int, int], num_classes: int) -> Any:
    """Build the network of a function of the person's own, with the weights that it came with.

    Args:
        name: `module:function`; the module lies in the current folder or on Python's path.
        shape: (height, width, channels) of the images.
        num_classes: how many classes it tells apart.

    Returns: a `keras.Model` from `image` (B, height, width, channels) uint8 to `probabilities` (B, classes) float32,
        with the layers `block1`, `block2`, ..., `features` and `logits`.

    Raises:
        RecipeError: there is no such function, or what it returns is no such network.
    """
    model = _call(name, shape[0], num_classes)
    _check_model(name, model, shape)
    flat = flatten(model, shape)
    _check_layers(name, flat)
    last, tensor = _last_dense(name, flat, num_classes)
    trunk = keras.Model(flat.input, tensor)
    image = blocks.images(shape)
    takes_bytes = "int" in keras.backend.standardize_dtype(flat.input.dtype)
    pixels = image if takes_bytes else layers.Rescaling(1.0, name="scale")(image)
    dressed = dress(trunk, image, pixels, num_classes=num_classes)
    weights = [weight.numpy() for weight in last.weights]
    dressed.get_layer("logits").set_weights(weights if last.use_bias else [*weights, np.zeros(num_classes, "f4")])
    _check_alike(name, trunk, dressed)
    _check_operations(name, dressed)
    return dressed


def _call(name: str, image_size: int, num_classes: int) -> Any:
    """What the person's function returns."""
    module_name, _, function_name = name.partition(":")
    try:
        with _importable_here():
            module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the person's code
        raise RecipeError(
            found=f"network {name}: the module {module_name!r} cannot be imported: {_said(error)}",
            expected=f"{module_name.replace('.', '/')}.py in {os.getcwd()}, or a module that is installed",
            fix="change into its folder, set PYTHONPATH, or mend the module",
        ) from None
    function = getattr(module, function_name, None)
    if not callable(function):
        own = [each for each, value in vars(module).items() if inspect.isfunction(value) and not each.startswith("_")]
        raise RecipeError(
            found=f"network {name}: no function {function_name!r} in {module.__file__}",
            expected=f"one of {', '.join(own) or 'its functions'}",
            fix="change --network",
        )
    try:
        return function(image_size, num_classes)
    except (Exception, SystemExit) as error:  # the person's code
        raise RecipeError(
            found=f"network {name}: {function_name}({image_size}, {num_classes}) raised {_said(error)}",
            expected=CONTRACT,
            fix=f"mend it: `python -c 'import {module_name}; {module_name}.{function_name}({image_size},"
            f" {num_classes})'` shows where",
        ) from None


@contextmanager
def _importable_here() -> Iterator[None]:
    """Look for modules in the current folder too, which a program that is installed does not; write nothing there."""
    here, before = os.getcwd(), sys.dont_write_bytecode
    sys.path.insert(0, here)
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)
        sys.dont_write_bytecode = before


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _check_model(name: str, model: Any, shape: tuple[int, int, int]) -> None:
    """It is a graph, from one image to one vector."""
    if isinstance(model, keras.Sequential) and not model.built:
        try:
            model.build((None, *shape))
        except Exception as error:  # the layers do not fit
            raise _wrong(name, f"layers that do not fit on each other: {_said(error)}", CONTRACT) from None
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        kind = f"a subclass of keras.Model, {type(model).__name__}" if isinstance(model, keras.Model) else repr(model)
        raise _wrong(name, f"{kind[:200]}, which is no graph", f"{CONTRACT}: `keras.Model(inputs, outputs)`")
    if (len(model.inputs), len(model.outputs)) != (1, 1):
        counts = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise _wrong(name, counts, "one input, the images, and one output, the classes")
    takes = tuple(model.inputs[0].shape[1:])
    fits = len(takes) == 3 and all(size in (None, wanted) for size, wanted in zip(takes, shape, strict=True))
    if not fits:
        raise _wrong(name, f"an input of shape {takes}", f"{shape}: the image size twice, and the channels")


def _check_layers(name: str, flat: Any) -> None:
    """Every layer is one that we can make again and train."""
    for layer in flat.layers:
        if isinstance(layer, keras.Model):
            raise _wrong(
                name, f"{describe(layer)}, a subclass of keras.Model, inside of it", "layers, or models like it"
            )
        if isinstance(layer, layers.Lambda):
            raise _wrong(name, f"{describe(layer)}, whose code is nowhere named", "keras.ops, or a Layer of your own")
        if any(getattr(weight, "regularizer", None) or getattr(weight, "constraint", None) for weight in layer.weights):
            expected = "none: the pull of weights towards 0 is the recipe's (flag --weight-decay)"
            raise _wrong(name, f"a regularizer or constraint of {describe(layer)}", expected)
    if not any(type(layer) is layers.Conv2D and max(layer.kernel_size) > 1 for layer in flat.layers):
        raise _wrong(name, "no convolution", "at least one layer Conv2D that looks at more than one place")


def _last_dense(name: str, flat: Any, num_classes: int) -> tuple[Any, Tensor]:
    """The layer that makes the logits, and the features that it makes them of."""
    tensor = flat.output
    operation, inputs = source_of(tensor)
    has_softmax = False
    while isinstance(operation, layers.Softmax) or (
        isinstance(operation, layers.Activation) and operation.activation in ENDING
    ):
        has_softmax = has_softmax or getattr(operation, "activation", None) is not keras.activations.linear
        operation, inputs = source_of(inputs[0])
    expected = f"a Dense layer of {num_classes} units, linear or softmax, as the last one"
    if type(operation) is not layers.Dense:
        raise _wrong(name, f"{describe(operation)} as the last layer", expected)
    allowed = ENDING[: 1 if has_softmax else 2]
    if operation.activation not in allowed:
        activation = getattr(operation.activation, "__name__", operation.activation)
        again = " before another softmax" if activation == "softmax" else ""
        raise _wrong(name, f"{describe(operation)} with the activation {activation}{again} as the last layer", expected)
    if operation.units != num_classes:
        raise _wrong(name, f"{operation.units} outputs", f"{num_classes}, one for each class")
    if len(inputs[0].shape) != 2:
        raise _wrong(name, f"features of shape {tuple(inputs[0].shape)}", "a vector for each image: flatten, or pool")
    return operation, inputs[0]


def _check_alike(name: str, trunk: Any, dressed: Any) -> None:
    """The network that was made anew answers as the person's does."""
    shape = (2, *dressed.input.shape[1:])
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    expected = np.asarray(trunk(images.astype(trunk.input.dtype), training=False), np.float32)
    answers = keras.Model(dressed.input, dressed.get_layer("features").output)(images, training=False).numpy()
    difference = float(np.abs(answers - expected).max())
    if not difference <= DIFFERENCE * float(np.abs(expected).max()):
        raise _wrong(
            name,
            f"layers that answer otherwise, by {difference:.2g}, when they are made again from their configuration",
            "layers whose `get_config` says all that they were made with, and that draw nothing when not training",
        )


def _check_operations(name: str, dressed: Any) -> None:
    """Its graph can be written as ONNX, which is seen before it has been trained for an hour."""
    import tf2onnx.tfonnx  # loads the rules for each operation
    from tf2onnx.handler import tf_op

    signature = [tf.TensorSpec(dressed.input.shape, dressed.input.dtype)]
    answer = tf.function(lambda image: dressed(image, training=False), input_signature=signature, autograph=False)
    used = {operation.type for operation in answer.get_concrete_function().graph.get_operations()}
    strange = used - set(tf_op.create_mapping(tf2onnx.constants.PREFERRED_OPSET, None)) - {"ReadVariableOp"}
    if strange:
        raise _wrong(
            name,
            f"operations of TensorFlow that ONNX does not have: {', '.join(sorted(strange))}",
            "layers that can be written as ONNX; convolutions in groups, for one, cannot",
        )


def _wrong(name: str, found: str, expected: str) -> RecipeError:
    return RecipeError(found=f"network {name}: {found}", expected=expected, fix="change the function")
