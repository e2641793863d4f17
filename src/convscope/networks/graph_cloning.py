"""A network of others as one of ours: flat, under our names, from bytes to probabilities.

Its graph is walked through once more with new layers, made from the configuration of the old ones, and with their
weights. Names that Keras numbered as it went along (`conv2d_17`) are numbered anew in the order of the graph, so that
those of the weights, under which these are saved, depend on the network alone.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.errors import RecipeError
from convscope.networks.blocks import Tensor, layers
from convscope.networks.frameworks import keras
from convscope.networks.hirescam import POOLS, has_rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

OURS = re.compile(r"image|scale|features|logits|probabilities|block\d+")  # names that nobody else may have
SAME_SIDE = 0.6  # of a resolution: a feature map that is larger has the same one, but for an edge
EDGES = (layers.ZeroPadding2D, layers.Cropping2D)  # they add or leave out one, and make no block

Call = Callable[..., Any]  # an operation: tensors -> tensors


def flatten(model: Any, shape: tuple[int, int, int]) -> Any:
    """The same graph and layers as one flat `keras.Model` for `shape` images, however deep models lie in each other."""
    named: dict[str, Any] = {}

    def with_a_name_of_its_own(operation: Any) -> Call:
        while named.setdefault(operation.name, operation) is not operation:
            operation.name += "_2"
        call: Call = operation
        return call

    image = keras.Input(shape, dtype=model.inputs[0].dtype)
    (output,) = _run(model, [image], with_a_name_of_its_own)
    return keras.Model(image, output)


def dress(
    trunk: Any, image: Tensor, pixels: Tensor, *, num_classes: int, after: Mapping[int, Any] | None = None
) -> Any:
    """A network of ours around the part of one of others that makes features.

    Args:
        trunk: a flat `keras.Model`, from images to features (B, d).
        image: the input, (B, height, width, channels) uint8.
        pixels: what is made of it for `trunk`.
        num_classes: how many classes it tells apart.
        after: layers to put after some tensors of `trunk`, by their `id`.

    Returns: a `keras.Model` from `image` to `probabilities` (B, classes) float32, with the layers `block1`, `block2`,
        ... (where each resolution ends), `features` (B, d) and `logits`, whose weights are 0.

    Raises:
        RecipeError: a layer cannot be made again, or no heat map would lead through the last ones.
    """
    put = dict(after or {})
    for number, tensor in enumerate(blocks_of(trunk), start=1):
        put[id(tensor)] = layers.Activation("linear", name=f"block{number}")
    (tensor,) = _run(trunk, [pixels], _Maker().make, after=put)
    tensor = layers.Activation("linear", name="features", dtype="float32")(tensor)
    tensor = layers.Dense(num_classes, kernel_initializer="zeros", name="logits", dtype="float32")(tensor)
    return keras.Model(image, layers.Softmax(name="probabilities", dtype="float32")(tensor), name="dressed")


def blocks_of(trunk: Any) -> list[Tensor]:
    """The last feature map (B, h, w, c) of each resolution from which all that follows is made, first to last.

    Raises:
        RecipeError: no heat map leads from the features back to a feature map.
    """
    last = _last_map(trunk)
    chosen: list[Tensor] = []
    side = 0.0  # of the first feature map of a resolution
    for tensor in _waists(trunk):
        if len(tensor.shape) == 4 and (tensor is last or not isinstance(source_of(tensor)[0], EDGES)):
            if chosen and tensor.shape[1] > SAME_SIDE * side:
                chosen[-1] = tensor
            else:
                side = tensor.shape[1]
                chosen.append(tensor)
        if tensor is last:
            break
    return chosen


def source_of(tensor: Tensor) -> tuple[Any, list[Tensor]]:
    """The operation that made a symbolic tensor, and the tensors that it made it from."""
    operation, place, _ = tensor._keras_history
    return operation, operation._inbound_nodes[place].input_tensors


def describe(operation: Any) -> str:
    """An operation for a person."""
    return f"{type(operation).__name__} {operation.name!r}"


def first_line(error: BaseException) -> str:
    """What an error says, in one line; Keras writes in bold, and begins with where it was."""
    lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", str(error)).splitlines()]
    said = [line for line in lines if line and not line.startswith("Exception encountered when calling")]
    return said[0] if said else type(error).__name__


def freeze_normalization(model: Any) -> None:
    """Keep the statistics of a network's batch normalisation, scale and offset as they are, also while it learns."""
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


def _last_map(trunk: Any) -> Tensor:
    """The feature map that the features are made of, by nothing but what a heat map leads back through."""
    tensor = trunk.output
    while len(tensor.shape) != 4:
        operation, inputs = source_of(tensor)
        if not has_rule(operation) or len(inputs) != 1:
            raise RecipeError(
                found=f"{describe(operation)} between the convolutions and the classes: no heat map leads through it",
                expected="there: Flatten, GlobalAveragePooling2D or GlobalMaxPooling2D, then Dense, ReLU, Dropout or"
                " BatchNormalization",
                fix="build the end of the network of these",
            )
        (tensor,) = inputs
    operation, _ = source_of(tensor)
    if isinstance(operation, (*POOLS, layers.InputLayer)):
        raise RecipeError(
            found=f"{describe(operation)} as the last feature map",
            expected="convolutions, then Flatten, or a global pooling without `keepdims`",
            fix="change the network",
        )
    return tensor


def _waists(trunk: Any) -> Iterator[Tensor]:
    """The tensors that nothing goes past, so that all later ones follow from each; from the first kernel on."""
    nodes = _nodes(trunk)
    uses: dict[int, int] = {}  # of each tensor, by nodes that are still to come
    for node in nodes:
        for tensor in node.input_tensors:
            uses[id(tensor)] = uses.get(id(tensor), 0) + 1
    alive = {id(tensor) for tensor in trunk.inputs}
    is_learned = False
    for node in nodes:
        for tensor in node.input_tensors:
            uses[id(tensor)] -= 1
            if not uses[id(tensor)]:
                alive.discard(id(tensor))
        alive.update(id(tensor) for tensor in node.outputs)
        is_learned = is_learned or any(len(weight.shape) > 1 for weight in getattr(node.operation, "weights", ()))
        if is_learned and alive == {id(node.outputs[0])}:
            yield node.outputs[0]


class _Maker:
    """Makes operations once more, under names that follow from the order in which they are asked for."""

    def __init__(self) -> None:
        self._made: dict[int, Call] = {}
        self._names: set[str] = set()

    def make(self, operation: Any) -> Call:
        """An operation like `operation`, the same one each time."""
        if id(operation) not in self._made:
            self._made[id(operation)] = self._copy(operation)
        return self._made[id(operation)]

    def _copy(self, operation: Any) -> Call:
        try:
            copy, weights = _again(operation)
        except RecipeError:
            raise
        except Exception as error:  # whatever the code of whoever wrote the layer raises
            raise RecipeError(
                found=f"{describe(operation)}, which cannot be made again from its configuration: {first_line(error)}",
                expected="a `get_config` that says all that the layer was made with",
                fix=f"write `{type(operation).__name__}.get_config`, or use a layer of Keras",
            ) from None
        copy.name = self._name(operation)

        def call(*words: Any, **more: Any) -> Any:
            outputs = copy(*words, **more)
            if weights:  # the first call made those of the copy
                copy.set_weights(weights)
                weights.clear()
            return outputs

        return call

    def _name(self, operation: Any) -> str:
        """The name that it was given, or its kind and a number; each once."""
        kind = re.sub(r"\W", "", type(operation).__name__)
        for border in (r"(.)([A-Z][a-z]+)", r"([a-z])([A-Z])"):  # as Keras has it: Conv2D, conv2d
            kind = re.sub(border, r"\1_\2", kind)
        kind = kind.lower()
        is_given = not re.fullmatch(rf"{kind}(_\d+)?", operation.name) and not OURS.fullmatch(operation.name)
        tried = (f"{operation.name if is_given else kind}_{number}" for number in itertools.count(1 + is_given))
        found: str = next(
            name for name in itertools.chain([operation.name] * is_given, tried) if name not in self._names
        )
        self._names.add(found)
        return found


def _again(operation: Any) -> tuple[Any, list[NDArray[np.generic]]]:
    """A new operation like `operation`, and the weights for it, made of what TensorFlow can turn into ONNX."""
    weights = [weight.numpy() for weight in getattr(operation, "weights", ())]
    if isinstance(operation, layers.Normalization):
        return _normalization(operation, operation.input.shape[-1])
    config = operation.get_config()
    if type(operation) is layers.Conv2D and operation.groups == operation.input.shape[-1] > 1:
        for name in ("filters", "groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"):
            del config[name]
        multiplier = operation.filters // operation.groups
        weights[0] = weights[0].reshape(*weights[0].shape[:2], operation.groups, multiplier)
        copy = layers.DepthwiseConv2D.from_config({**config, "depth_multiplier": multiplier})
    else:
        copy = type(operation).from_config(config)
    if getattr(copy, "activation", None) is keras.activations.gelu:
        copy.activation = _gelu
    return copy, weights


def _gelu(tensor: Tensor) -> Tensor:
    """x times the share of a normal distribution below x (Hendrycks and Gimpel, arXiv 1606.08415), by `erf`.

    TensorFlow's own is written with `erfc`, which has no counterpart in ONNX.
    """
    return 0.5 * tensor * (1 + keras.ops.erf(tensor * 0.5**0.5))


def _normalization(layer: Any, channels: int) -> tuple[Any, list[NDArray[np.generic]]]:
    """`layers.Normalization` over channels, and its weights, as a batch normalisation that does not learn.

    Keras's layer keeps what it divides by beside its weights, where neither loading them nor ONNX finds it.
    """
    mean, variance = (np.asarray(each, np.float32) for each in (layer.mean, layer.variance))
    if layer.invert or max(mean.size, variance.size) != max(mean.shape[-1], variance.shape[-1]):
        raise RecipeError(
            found=f"{describe(layer)}, which is inverted, or over other axes than the last",
            expected="`Normalization(axis=-1)`",
            fix="change the layer",
        )
    copy = layers.BatchNormalization(center=False, scale=False, epsilon=0.0, trainable=False)
    least = np.maximum(variance, np.float32(keras.config.epsilon()) ** 2)
    return copy, [np.broadcast_to(each.ravel(), channels).copy() for each in (mean, least)]


def _nodes(model: Any) -> list[Any]:
    """The calls of a functional model's graph but for its inputs, each after those that it needs."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth] if not node.is_input]


def _run(
    model: Any, inputs: list[Tensor], make: Callable[[Any], Call], *, after: Mapping[int, Any] | None = None
) -> list[Tensor]:
    """Walk through a graph once more, from other inputs.

    Args:
        model: a functional or sequential `keras.Model`; those inside of it are walked through too.
        inputs: in place of the model's.
        make: what is called in place of an operation.
        after: layers to put after some tensors of the model, by their `id`.

    Returns: what its outputs are now.
    """
    graph = keras.Model(model.inputs, model.outputs)
    known = dict(zip(map(id, model.inputs), inputs, strict=True))
    for node in _nodes(graph):
        words, more = node.arguments.fill_in(known)
        if isinstance(node.operation, keras.Model) and getattr(node.operation, "inputs", None):
            if more.get("training") is False:  # as one fine-tunes a network that has learned before
                freeze_normalization(node.operation)
            outputs = _run(node.operation, [known[id(tensor)] for tensor in node.input_tensors], make)
        else:
            outputs = keras.tree.flatten(make(node.operation)(*words, **more))
        for tensor, output in zip(node.outputs, outputs, strict=True):
            put = (after or {}).get(id(tensor))
            known[id(tensor)] = output if put is None else put(output)
    return [known[id(tensor)] for tensor in model.outputs]
