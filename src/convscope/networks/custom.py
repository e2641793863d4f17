"""Custom networks, `module:function`: called, checked, and cloned as one of convscope's.

`function(image_size, num_classes)` returns a functional or sequential `keras.Model` from pixels 0-255, which it scales
itself, to one value for each class: its last layer is a `Dense`, linear or softmax.
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
from convscope.networks.feature_maps import describe
from convscope.networks.frameworks import keras, tf
from convscope.networks.graph_cloning import clone_with_head, first_line, flatten
from convscope.networks.keras_internals import source_of
from convscope.networks.tf2onnx_internals import unsupported_operations

TOLERANCE = 0.02  # of the largest feature: more than rounding, also in bfloat16
FINAL_ACTIVATIONS = (keras.activations.linear, keras.activations.softmax)
EXPECTED = "a functional or sequential keras.Model from images to one value for each class"


def custom_network(name: str, shape: tuple[int, int, int], num_classes: int) -> Any:
    """Build a custom network, with the weights that its function returned it with.

    Args:
        name: `module:function`; the module is in the current folder or on Python's path.
        shape: (height, width, channels) of the images.
        num_classes: the number of classes.

    Returns: a `keras.Model` from `image` (B, height, width, channels) uint8 to `probabilities` (B, classes) float32,
        with the layers `block1`, `block2`, ..., `features` and `logits`.

    Raises:
        RecipeError: there is no such function, or it does not return such a network.
    """
    model = _call_function(name, shape[0], num_classes)
    _check_model(name, model, shape)
    flat = flatten(model, shape)
    _check_layers(name, flat)
    last, features = _last_dense(name, flat, num_classes)
    trunk = keras.Model(flat.input, features)
    image = blocks.image_input(shape)
    takes_integers = "int" in keras.backend.standardize_dtype(flat.input.dtype)
    pixels = image if takes_integers else layers.Rescaling(1.0, name="scale")(image)
    clone = clone_with_head(trunk, image, pixels, num_classes=num_classes)
    weights = [weight.numpy() for weight in last.weights]
    clone.get_layer("logits").set_weights(weights if last.use_bias else [*weights, np.zeros(num_classes, "f4")])
    _check_features(name, trunk, clone)
    _check_operations(name, clone)
    return clone


def _call_function(name: str, image_size: int, num_classes: int) -> Any:
    """The result of the custom function."""
    module_name, _, function_name = name.partition(":")
    try:
        with _current_folder_importable():
            module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the user's code
        raise RecipeError(
            found=f"network {name}: the module {module_name!r} cannot be imported: {_describe_error(error)}",
            expected=f"{module_name.replace('.', '/')}.py in {os.getcwd()}, or a module that is installed",
            fix="change into its folder, set PYTHONPATH, or fix the module",
        ) from None
    function = getattr(module, function_name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value) and key[0] != "_"]
        raise RecipeError(
            found=f"network {name}: no function {function_name!r} in {module.__file__}",
            expected=f"one of {', '.join(functions) or 'its functions'}",
            fix="change `network`",
        )
    try:
        return function(image_size, num_classes)
    except (Exception, SystemExit) as error:  # the user's code
        raise RecipeError(
            found=f"network {name}: {function_name}({image_size}, {num_classes}) raised {_describe_error(error)}",
            expected=EXPECTED,
            fix=f"fix the function: `python -c 'import {module_name};"
            f" {module_name}.{function_name}({image_size}, {num_classes})'` shows where it fails",
        ) from None


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    """Import modules from the current folder too, as `python -m` does, without writing bytecode there."""
    folder, before = os.getcwd(), sys.dont_write_bytecode
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)
        sys.dont_write_bytecode = before


def _describe_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _check_model(name: str, model: Any, shape: tuple[int, int, int]) -> None:
    """Check that it is a graph, from one image to one vector."""
    if isinstance(model, keras.Sequential) and not model.built:
        try:
            model.build((None, *shape))
        except Exception as error:  # the layers do not fit
            raise _error(name, f"layers that do not fit on each other: {_describe_error(error)}", EXPECTED) from None
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        kind = f"a subclass of keras.Model, {type(model).__name__}" if isinstance(model, keras.Model) else repr(model)
        raise _error(name, f"{kind[:200]}, which is no graph", f"{EXPECTED}: `keras.Model(inputs, outputs)`")
    if (len(model.inputs), len(model.outputs)) != (1, 1):
        counts = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise _error(name, counts, "one input, the images, and one output, the classes")
    input_shape = tuple(model.inputs[0].shape[1:])
    fits = len(input_shape) == 3 and all(
        size in (None, expected) for size, expected in zip(input_shape, shape, strict=True)
    )
    if not fits:
        raise _error(name, f"an input of shape {input_shape}", f"{shape}: the image size twice, and the channels")


def _check_layers(name: str, flat: Any) -> None:
    """Check that every layer can be cloned and trained."""
    for layer in flat.layers:
        if isinstance(layer, keras.Model):
            raise _error(name, f"{describe(layer)}, a nested subclass of keras.Model", "layers, or models like it")
        if isinstance(layer, layers.Lambda):
            raise _error(name, f"{describe(layer)}, whose code has no name", "keras.ops, or a custom `keras.Layer`")
        if any(getattr(weight, "regularizer", None) or getattr(weight, "constraint", None) for weight in layer.weights):
            expected = "none: the recipe's `weight_decay` regularizes"
            raise _error(name, f"a regularizer or constraint of {describe(layer)}", expected)
    if not any(type(layer) is layers.Conv2D and max(layer.kernel_size) > 1 for layer in flat.layers):
        raise _error(name, "no convolution", "at least one layer Conv2D with a kernel larger than 1 x 1")


def _last_dense(name: str, flat: Any, num_classes: int) -> tuple[Any, Tensor]:
    """The layer that computes the logits, and its input, the features."""
    operation, inputs = source_of(flat.output)
    has_softmax = False
    while isinstance(operation, layers.Softmax) or (
        isinstance(operation, layers.Activation) and operation.activation in FINAL_ACTIVATIONS
    ):
        has_softmax = has_softmax or getattr(operation, "activation", None) is not keras.activations.linear
        operation, inputs = source_of(inputs[0])
    expected = f"a Dense layer of {num_classes} units, linear or softmax, as the last one"
    if type(operation) is not layers.Dense:
        raise _error(name, f"{describe(operation)} as the last layer", expected)
    allowed = FINAL_ACTIVATIONS[: 1 if has_softmax else 2]
    if operation.activation not in allowed:
        activation = getattr(operation.activation, "__name__", operation.activation)
        twice = " before another softmax" if activation == "softmax" else ""
        raise _error(name, f"{describe(operation)} with the activation {activation}{twice} as the last layer", expected)
    if operation.units != num_classes:
        raise _error(name, f"{operation.units} outputs", f"{num_classes}, one for each class")
    if len(inputs[0].shape) != 2:
        raise _error(name, f"features of shape {tuple(inputs[0].shape)}", "a vector for each image: flatten, or pool")
    return operation, inputs[0]


def _check_features(name: str, trunk: Any, clone: Any) -> None:
    """Check that the clone computes the same features as the original."""
    shape = (2, *clone.input.shape[1:])
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    expected = np.asarray(trunk(images.astype(trunk.input.dtype), training=False), np.float32)
    features = keras.Model(clone.input, clone.get_layer("features").output)(images, training=False).numpy()
    difference = float(np.abs(features - expected).max())
    if not difference <= TOLERANCE * float(np.abs(expected).max()):
        raise _error(
            name,
            f"layers whose output differs, by {difference:.2g}, when they are cloned from their configuration",
            "layers whose `get_config` returns all their arguments, and without randomness outside of training",
        )


def _check_operations(name: str, clone: Any) -> None:
    """Check that the graph can be converted to ONNX, before it is trained for an hour."""
    signature = [tf.TensorSpec(clone.input.shape, clone.input.dtype)]
    predict = tf.function(lambda image: clone(image, training=False), input_signature=signature, autograph=False)
    operations = predict.get_concrete_function().graph.get_operations()
    if unsupported := unsupported_operations(operation.type for operation in operations):
        raise _error(
            name,
            f"operations of TensorFlow that ONNX does not have: {', '.join(sorted(unsupported))}",
            "layers that can be converted to ONNX; grouped convolutions, for example, cannot",
        )


def _error(name: str, found: str, expected: str) -> RecipeError:
    return RecipeError(found=f"network {name}: {found}", expected=expected, fix="change the function")
