"""networks/custom.py: a custom function becomes one of convscope's networks, or an error says what is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convscope.errors import RecipeError
from convscope.networks.catalog import build_network, random_states, read_weights, submodel
from convscope.networks.custom import custom_network
from convscope.networks.frameworks import keras
from convscope.networks.hirescam import block_names
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve

pytestmark = pytest.mark.tensorflow

SHAPE = (16, 16, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), np.uint8)
HEAD = """
import keras
from keras import layers

def network(image_size, num_classes):
    image = keras.Input((image_size, image_size, 3))
    tensor = layers.Conv2D(4, 3, strides=2, activation="relu")(layers.Rescaling(1 / 255)(image))
    vector = layers.GlobalMaxPooling2D()(tensor)
"""
NAMES = iter(range(1000))  # a module is imported once

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write the end of a function into a module in the current folder; returns the network's name."""
    monkeypatch.chdir(tmp_path)
    modules = set(sys.modules)

    def write_module(code: str) -> str:
        name = f"written{next(NAMES)}"
        lines = "".join(f"    {line}\n" for line in code.splitlines())
        (tmp_path / f"{name}.py").write_text(HEAD + lines, encoding="utf-8")
        return f"{name}:network"

    yield write_module
    for name in set(sys.modules) - modules:
        if name.startswith("written"):
            del sys.modules[name]


ENDS = {
    "softmax in the layer": "return keras.Model(image, layers.Dense(num_classes, activation='softmax')(vector))",
    "softmax after it": "return keras.Model(image, layers.Softmax()(layers.Dense(num_classes)(vector)))",
    "linear": "return keras.Model([image], [layers.Dense(num_classes, use_bias=False)(vector)])",
    "activations": "tensor = layers.Activation('softmax')(layers.Dense(num_classes)(vector))\n"
    "return keras.Model(image, layers.Activation('linear', dtype='float32')(tensor))",
    "bytes": "image = keras.Input((image_size, image_size, 3), dtype='uint8')\n"
    "tensor = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image))\n"
    "return keras.Model(image, layers.Dense(num_classes)(layers.Flatten()(tensor)))",
    "any size": "image = keras.Input((None, None, 3))\n"
    "tensor = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))\n"
    "return keras.Model(image, layers.Dense(num_classes)(tensor))",
    "sequential": "return keras.Sequential([layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.Flatten(),"
    " layers.Dense(8, activation='relu'), layers.Dropout(0.5), layers.Dense(num_classes, 'softmax')])",
}


@pytest.mark.parametrize("end", ENDS)
def test_networks_of_every_usual_form_are_cloned(write: Write, end: str) -> None:
    """From uint8 images to probabilities, with convscope's layer names; the outputs are those of the user's network."""
    name = write(ENDS[end])
    model = custom_network(name, SHAPE, 3)
    assert (model.input.dtype, tuple(model.output.shape)) == ("uint8", (None, 3))
    assert block_names(model) == ("block1",)
    original = sys.modules[name.partition(":")[0]].network(16, 3)  # has other weights; those of the clone are set
    weights = list(read_weights(model).values())
    if end != "sequential":
        bias = [] if end == "linear" else weights[-1:]
        original.set_weights([*weights[:-1], *bias])
        images = IMAGES if end == "bytes" else IMAGES.astype("f4")
        expected = np.asarray(original([images] if end == "linear" else images)).reshape(4, 3)
        if end in ("linear", "bytes", "any size"):
            expected = np.asarray(keras.ops.softmax(expected))
        np.testing.assert_allclose(model(IMAGES), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(model(IMAGES)).sum(axis=1), 1, atol=1e-5)


def test_network_with_operations_and_custom_layers_is_cloned() -> None:
    """The one of the tests has operations, a custom layer, moving statistics and dropout."""
    model = custom_network("user_network:network", SHAPE, 3)
    assert block_names(model) == ("block1", "block2", "block3")
    assert "gate_1/variable" in read_weights(model)
    assert list(random_states(model)) == ["random/dropout_1/1"]


def test_first_weights_follow_from_the_seed() -> None:
    """Layers without a seed are seeded by the recipe, dropout among them; Python's own generator is not changed."""
    import random

    def arrays(seed: int) -> dict[str, Any]:
        model = build_network(resolve(Recipe(network="user_network:network", image_size=16, seed=seed)), 3)
        return read_weights(model) | {name: state.numpy() for name, state in random_states(model).items()}

    random.seed(5)
    expected = random.random()
    random.seed(5)
    first, same, other = arrays(1), arrays(1), arrays(2)
    assert random.random() == expected
    assert first.keys() == same.keys() == other.keys()
    assert all((first[name] == same[name]).all() for name in first)
    assert (first["conv2d_1/kernel"] != other["conv2d_1/kernel"]).any()
    assert (first["random/dropout_1/1"] != other["random/dropout_1/1"]).any()


WRONG = {
    "1 / 0": r"network\(16, 3\) raised ZeroDivisionError: division by zero",
    "return 'vgg'": "'vgg', which is no graph",
    "return None": "None, which is no graph",
    "class Custom(keras.Model):\n    pass\nreturn Custom()": "a subclass of keras.Model, Custom, which is no graph",
    "return keras.Model([image, keras.Input((3,))], layers.Dense(3)(vector))": "2 inputs and 1 outputs",
    "return keras.Model(image, [vector, layers.Dense(3)(vector)])": "1 inputs and 2 outputs",
    "image = keras.Input((16, 16, 1))\nreturn keras.Model(image, layers.Dense(3)(layers.Flatten()(image)))": (
        r"an input of shape \(16, 16, 1\); expected: \(16, 16, 3\)"
    ),
    "image = keras.Input((48,))\nreturn keras.Model(image, layers.Dense(3)(image))": r"an input of shape \(48,\)",
    "return keras.Model(image, layers.Dense(2)(vector))": "2 outputs; expected: 3, one for each class",
    "return keras.Model(image, layers.Dense(3, activation='sigmoid')(vector))": "with the activation sigmoid",
    "return keras.Model(image, layers.Softmax()(layers.Dense(3, activation='softmax')(vector)))": (
        "softmax before another softmax"
    ),
    "return keras.Model(image, layers.Dropout(0.1)(layers.Dense(3)(vector)))": "Dropout 'dropout.*' as the last layer",
    "return keras.Model(image, layers.Dense(3)(tensor))": "features of shape",
    "return keras.Model(image, layers.Dense(3)(layers.Lambda(lambda x: x)(vector)))": "Lambda 'lambda.*no name",
    "return keras.Model(image, layers.Dense(3)(layers.Dense(4, kernel_regularizer='l2')(vector)))": (
        "a regularizer or constraint of Dense"
    ),
    "return keras.Model(image, layers.Dense(3)(layers.Flatten()(layers.Conv2D(2, 1)(image))))": "no convolution",
    "return keras.Model(image, layers.Dense(3)(layers.Dense(2, activation='gelu')(vector)))": "no heat map can",
    "tensor = layers.Conv2D(8, 3, groups=2)(tensor)\n"
    "return keras.Model(image, layers.Dense(3)(layers.Flatten()(tensor)))": "ONNX does not have: .*PartitionedCall",
    "return keras.Sequential([layers.Flatten(), layers.Conv2D(2, 3)])": "layers that do not fit .*min_ndim=4",
    "class Half(layers.Layer):\n"
    "    factor = 1\n"
    "    def call(self, inputs):\n"
    "        return inputs * self.factor\n"
    "half = Half()\n"
    "half.factor = 0.5\n"
    "return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(half(tensor))))": "output differs",
}


@pytest.mark.parametrize("code", WRONG)
def test_functions_that_return_no_such_network_are_an_error(write: Write, code: str) -> None:
    """Each mistake has its own message, which names the network."""
    name = write(code)
    with pytest.raises(RecipeError, match=WRONG[code]) as caught:
        custom_network(name, SHAPE, 3)
    assert name in caught.value.found or "no heat map" in caught.value.found


def test_nested_model_without_a_graph_is_an_error(write: Write) -> None:
    """A nested subclass of `keras.Model` cannot be flattened."""
    code = """
class Custom(keras.Model):
    def call(self, inputs):
        return inputs
return keras.Model(image, layers.Dense(3)(Custom()(vector)))
"""
    with pytest.raises(RecipeError, match=r"a nested subclass of keras\.Model"):
        custom_network(write(code), SHAPE, 3)


def test_module_that_cannot_be_imported_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is missing, one that fails, and a function that is not there, each with a message of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "written_broken.py").write_text("import nothing_of_that_name", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"No module named 'written_missing'.*written_missing.py in .*PYTHONPATH"):
        custom_network("written_missing:network", SHAPE, 3)
    with pytest.raises(RecipeError, match="No module named 'nothing_of_that_name'"):
        custom_network("written_broken:network", SHAPE, 3)
    with pytest.raises(RecipeError, match=r"no function 'net' in .*user_network.py; expected: one of .*network"):
        custom_network("user_network:net", SHAPE, 3)
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "def network(size, count): raise SystemExit"])
def test_module_that_exits_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """When it is imported as when it is called: with exit code 0 a script would take it for success."""
    monkeypatch.chdir(tmp_path)
    name = f"written_exit{len(code)}"
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    with pytest.raises(RecipeError, match="SystemExit"):
        custom_network(f"{name}:network", SHAPE, 3)


def test_features_are_a_vector_and_logits_are_linear() -> None:
    """The input of the last layer is `features`, whatever the activation of that layer was."""
    model = custom_network("user_network:network", SHAPE, 3)
    outputs = submodel(model, "features", "logits", "probabilities")(IMAGES, training=False)
    assert tuple(outputs["features"].shape) == (4, 12)
    np.testing.assert_allclose(keras.ops.softmax(outputs["logits"]), outputs["probabilities"], atol=1e-6)


def test_no_bytecode_is_written_beside_the_module(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's folder is not changed."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    custom_network(write(ENDS["linear"]), SHAPE, 3)
    assert {file.suffix for file in tmp_path.iterdir()} == {".py"}
    assert not sys.dont_write_bytecode
