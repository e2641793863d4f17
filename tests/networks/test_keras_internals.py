"""networks/keras_internals.py: what convscope needs of Keras's private parts is there."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.networks.blocks import layers
from convscope.networks.frameworks import keras
from convscope.networks.keras_internals import (
    application_module,
    application_module_name,
    calls_of,
    layers_within,
    source_of,
)

pytestmark = pytest.mark.tensorflow


def test_calls_are_those_of_the_graph_in_the_order_of_clone_model() -> None:
    """Breaks when `_nodes_by_depth` or nodes change: pretrained and custom networks get no blocks, or wrong ones."""
    image = keras.Input((4,), name="image")
    shared, other = layers.Dense(4, name="shared"), layers.Dense(4, name="other")
    tensors = [shared(image)]
    tensors.append(other(tensors[0]))
    tensors.append(layers.Add(name="sum")([tensors[0], tensors[1]]))
    tensors.append(shared(tensors[2]))
    model = keras.Model(image, tensors[3])
    calls = calls_of(model)
    assert [(call.operation.name, call.number) for call in calls] == [
        ("shared", 1),
        ("other", 1),
        ("sum", 1),
        ("shared", 2),
    ]
    assert [call.outputs[0] is tensor for call, tensor in zip(calls, tensors, strict=True)] == [True] * 4
    assert calls[2].inputs[0] is tensors[0]
    repeated = []
    keras.models.clone_model(model, call_function=lambda layer, *args: (repeated.append(layer.name), layer(*args))[1])
    assert repeated == [call.operation.name for call in calls]


def test_source_of_a_tensor_is_the_call_that_made_it() -> None:
    """Breaks when `_keras_history` or `_inbound_nodes` change: heat maps and features of networks are not found."""
    image = keras.Input((4,))
    dense = layers.Dense(4)
    once = dense(image)
    twice = dense(once)
    assert source_of(once)[0] is source_of(twice)[0] is dense
    assert source_of(once)[1][0] is image
    assert source_of(twice)[1][0] is once


def test_layers_within_are_those_of_every_depth() -> None:
    """Breaks when `_flatten_layers` changes: batch normalisation of a pretrained network is not frozen."""

    class Custom(layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = layers.BatchNormalization(name="inside")

        def call(self, inputs: object) -> object:
            return self.inner(inputs)

    nested = keras.Sequential([keras.Input((4,)), layers.Dense(4), Custom()])
    model = keras.Sequential([keras.Input((4,)), nested])
    model(np.zeros((1, 4), np.float32))
    assert "inside" in {layer.name for layer in layers_within(model)}


def test_module_of_an_application_is_public() -> None:
    """Breaks when `keras.src.applications` is arranged otherwise: pixels are not preprocessed as a network expects."""
    for name, module in {
        "MobileNetV2": "mobilenet_v2",
        "ResNet50V2": "resnet_v2",
        "EfficientNetB0": "efficientnet",
    }.items():
        build = getattr(keras.applications, name)
        assert application_module_name(build) == module
        assert application_module(build) is getattr(keras.applications, module)
        assert callable(application_module(build).preprocess_input)
