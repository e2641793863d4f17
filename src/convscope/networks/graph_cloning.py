"""Makes a third-party network one of convscope's: a flat clone with our layer names, from uint8 to probabilities.

`keras.models.clone_model` repeats the graph with new layers, made from the configuration of the old ones, and their
weights. Names that Keras numbered (`conv2d_17`) are numbered anew in the order of the graph, so that the names of the
weights, under which these are saved, depend on the network alone.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.errors import RecipeError
from convscope.networks.blocks import Tensor, layers
from convscope.networks.feature_maps import describe, last_calls_of_resolutions
from convscope.networks.frameworks import keras
from convscope.networks.keras_internals import layers_within
from convscope.networks.normalization import ChannelRescaling

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESERVED = re.compile(r"image|scale|features|logits|probabilities|block\d+")  # layer names of convscope's own

Operation = Callable[..., Any]  # tensors -> tensors


def flatten(model: Any, shape: tuple[int, int, int]) -> Any:
    """The same layers as one flat `keras.Model` for `shape` images, however deep models are nested in each other.

    Args:
        model: a functional or sequential `keras.Model` with one input and one output.
        shape: (height, width, channels).
    """
    owners: dict[str, Any] = {}  # of the names of operations, which have to be unique in a graph

    def unnest(operation: Any) -> Operation:
        if _is_graph(operation):
            function = keras.Function(operation.inputs, operation.outputs)
            for inner in function.operations:
                _make_name_unique(inner, owners)
            return lambda inputs, training=None, mask=None: _call_flat(operation, function, inputs, training)  # noqa: ARG005
        _make_name_unique(operation, owners)
        call: Operation = operation
        return call

    flat = keras.Model(model.inputs[0], model.outputs[0])
    while True:  # each time round opens the models of one level
        image = keras.Input(shape, dtype=flat.input.dtype)
        flat = keras.models.clone_model(flat, input_tensors=image, clone_function=unnest)
        if not any(map(_is_graph, flat.operations)):
            return flat


def clone_with_head(
    trunk: Any,
    image: Tensor,
    pixels: Tensor,
    *,
    num_classes: int,
    insert_after: Mapping[Any, Any] | None = None,
) -> Any:
    """A classifier around a clone of a network that makes features.

    Args:
        trunk: a flat `keras.Model`, from pixels to features (B, d).
        image: the input, (B, height, width, channels) uint8.
        pixels: what `trunk` takes, made of `image`.
        num_classes: the number of classes.
        insert_after: new layers, each by the layer of `trunk` after whose first call it is inserted.

    Returns: a `keras.Model` from `image` to `probabilities` (B, classes) float32, with the layers `block1`, `block2`,
        ... (where each resolution ends), `features` (B, d) and `logits`, whose weights are 0.

    Raises:
        RecipeError: a layer cannot be cloned, or a heat map cannot be computed through the last layers.
    """
    inserted = {(id(layer), 1): new_layer for layer, new_layer in (insert_after or {}).items()}
    for number, call in enumerate(last_calls_of_resolutions(trunk), start=1):
        inserted[id(call.operation), call.number] = layers.Activation("linear", name=f"block{number}")
    cloner = _Cloner(image, pixels, inserted)
    clone = keras.models.clone_model(
        keras.Model(trunk.inputs[0], trunk.outputs[0]),
        input_tensors=image,
        clone_function=cloner.clone,
        call_function=cloner.call,
    )
    cloner.copy_weights()
    tensor = layers.Activation("linear", name="features", dtype="float32")(clone.output)
    tensor = layers.Dense(num_classes, kernel_initializer="zeros", name="logits", dtype="float32")(tensor)
    return keras.Model(image, layers.Softmax(name="probabilities", dtype="float32")(tensor), name="cloned")


def first_line(error: BaseException) -> str:
    """The message of an error in one line; Keras writes in bold, and begins with where it was."""
    lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", str(error)).splitlines()]
    messages = [line for line in lines if line and not line.startswith("Exception encountered when calling")]
    return messages[0] if messages else type(error).__name__


def freeze_normalization(model: Any) -> None:
    """Keep the statistics, scale and offset of all batch normalisation within a model as they are during training."""
    for layer in layers_within(model):
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


def _is_graph(operation: Any) -> bool:
    """Whether an operation is a functional or sequential model; other subclasses of `keras.Model` have no graph."""
    return isinstance(operation, keras.Model) and bool(getattr(operation, "inputs", None))


def _make_name_unique(operation: Any, owners: dict[str, Any]) -> None:
    while owners.setdefault(operation.name, operation) is not operation:
        operation.name += "_2"


def _call_flat(model: Any, function: Any, inputs: Any, training: bool | None) -> Any:
    """Call the operations of a nested model, `function`, one by one in place of the model."""
    if training is False:  # as one fine-tunes a pretrained network
        freeze_normalization(model)
    return function.call(keras.tree.flatten(inputs))


class _Cloner:
    """The hooks for `keras.models.clone_model`.

    Attributes:
        image, pixels: where the graph takes `image`, its clone takes `pixels`.
        inserted: layers to insert after calls, by (`id` of the operation, number of its call).
    """

    def __init__(self, image: Tensor, pixels: Tensor, inserted: Mapping[tuple[int, int], Any]) -> None:
        self.image, self.pixels, self.inserted = image, pixels, inserted
        self._names: set[str] = set()
        self._original_ids: dict[int, int] = {}  # by the `id` of the clone
        self._num_calls: Counter[int] = Counter()
        self._clones: list[tuple[Any, list[NDArray[np.generic]]]] = []

    def clone(self, operation: Any) -> Any:
        """A new operation like `operation`, under a name that follows from the order of the calls of this method."""
        try:
            clone, weights = _clone(operation)
        except RecipeError:
            raise
        except Exception as error:  # the code of whoever wrote the layer
            raise RecipeError(
                found=f"{describe(operation)}, which cannot be cloned from its configuration: {first_line(error)}",
                expected="a `get_config` that returns all arguments that the layer was made with",
                fix=f"write `{type(operation).__name__}.get_config`, or use a layer of Keras",
            ) from None
        clone.name = self._name(operation)
        self._original_ids[id(clone)] = id(operation)
        self._clones.append((clone, weights))  # also keeps the clone alive, and so its id its own
        return clone

    def call(self, clone: Any, *args: Any, **kwargs: Any) -> Any:
        """The output of a clone, with the layer that is inserted after it."""
        args, kwargs = keras.tree.map_structure(
            lambda value: self.pixels if value is self.image else value, (args, kwargs)
        )
        output = clone(*args, **kwargs)
        original = self._original_ids[id(clone)]
        self._num_calls[original] += 1
        layer = self.inserted.get((original, self._num_calls[original]))
        return output if layer is None else layer(output)

    def copy_weights(self) -> None:
        """Give the clones, which have been called, the weights of the originals."""
        for clone, weights in self._clones:
            if weights:
                clone.set_weights(weights)

    def _name(self, operation: Any) -> str:
        """The name that its author gave it, or its kind and a number; each name once."""
        kind = re.sub(r"\W", "", type(operation).__name__)
        for boundary in (r"(.)([A-Z][a-z]+)", r"([a-z])([A-Z])"):  # as Keras does: Conv2D, conv2d
            kind = re.sub(boundary, r"\1_\2", kind)
        kind = kind.lower()
        is_given = not re.fullmatch(rf"{kind}(_\d+)?", operation.name) and not RESERVED.fullmatch(operation.name)
        numbered = (f"{operation.name if is_given else kind}_{number}" for number in itertools.count(1 + is_given))
        candidates = itertools.chain([operation.name] * is_given, numbered)
        name: str = next(candidate for candidate in candidates if candidate not in self._names)
        self._names.add(name)
        return name


def _clone(operation: Any) -> tuple[Any, list[NDArray[np.generic]]]:
    """A new operation like `operation`, and the weights for it, made of what TensorFlow can turn into ONNX."""
    weights = [weight.numpy() for weight in getattr(operation, "weights", ())]
    if isinstance(operation, layers.Normalization):
        return _as_batch_normalization(operation, operation.input.shape[-1])
    if type(operation) is layers.Rescaling and np.ndim(operation.scale):
        return ChannelRescaling(operation.scale, operation.offset, dtype=operation.dtype_policy), weights
    config = operation.get_config()
    if type(operation) is layers.Conv2D and operation.groups == operation.input.shape[-1] > 1:
        for name in ("filters", "groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"):
            del config[name]
        multiplier = operation.filters // operation.groups
        weights[0] = weights[0].reshape(*weights[0].shape[:2], operation.groups, multiplier)
        clone = layers.DepthwiseConv2D.from_config({**config, "depth_multiplier": multiplier})
    else:
        clone = type(operation).from_config(config)
    if getattr(clone, "activation", None) is keras.activations.gelu:
        clone.activation = _gelu
    return clone, weights


def _gelu(tensor: Tensor) -> Tensor:
    """x times the probability of a standard normal value below x (Hendrycks and Gimpel, arXiv 1606.08415), by `erf`.

    TensorFlow's own is written with `erfc`, which has no counterpart in ONNX.
    """
    return 0.5 * tensor * (1 + keras.ops.erf(tensor * 0.5**0.5))


def _as_batch_normalization(layer: Any, channels: int) -> tuple[Any, list[NDArray[np.generic]]]:
    """`layers.Normalization` over channels as a batch normalisation that is not trained, and the weights of that.

    Keras's layer keeps what it divides by beside its weights, where neither loading them nor ONNX finds it.
    """
    mean, variance = (np.asarray(statistic, np.float32) for statistic in (layer.mean, layer.variance))
    if layer.invert or max(mean.size, variance.size) != max(mean.shape[-1], variance.shape[-1]):
        raise RecipeError(
            found=f"{describe(layer)}, which is inverted, or over other axes than the last",
            expected="`Normalization(axis=-1)`",
            fix="change the layer",
        )
    clone = layers.BatchNormalization(center=False, scale=False, epsilon=0.0, trainable=False)
    variance = np.maximum(variance, np.float32(keras.config.epsilon()) ** 2)
    return clone, [np.broadcast_to(statistic.ravel(), channels).copy() for statistic in (mean, variance)]
