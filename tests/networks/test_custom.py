"""networks/custom.py: a function of the person's own becomes a network of ours, or is told what it lacks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convscope.errors import RecipeError
from convscope.networks.catalog import build_network, outputs_of, random_states, read_weights
from convscope.networks.custom import own_network
from convscope.networks.frameworks import keras
from convscope.networks.hirescam import blocks_of
from convscope.recipe.recipe import Recipe

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
    """Write the end of a function into a module in the current folder; the answer is the network's name."""
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
    "in a row": "return keras.Sequential([layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.Flatten(),"
    " layers.Dense(8, activation='relu'), layers.Dropout(0.5), layers.Dense(num_classes, 'softmax')])",
}


@pytest.mark.parametrize("end", ENDS)
def test_networks_of_every_usual_form_are_dressed(write: Write, end: str) -> None:
    """Bytes in, probabilities out, our names inside; the answers are those of the person's network."""
    name = write(ENDS[end])
    model = own_network(name, SHAPE, 3)
    assert (model.input.dtype, tuple(model.output.shape)) == ("uint8", (None, 3))
    assert blocks_of(model) == ("block1",)
    given = sys.modules[name.partition(":")[0]].network(16, 3)  # draws other weights; these are put in
    dressed = [array for weight, array in read_weights(model).items()]
    if end != "in a row":
        bias = [] if end == "linear" else dressed[-1:]
        given.set_weights([*dressed[:-2], dressed[-2], *bias])
        images = IMAGES if end == "bytes" else IMAGES.astype("f4")
        expected = np.asarray(given([images] if end == "linear" else images)).reshape(4, 3)
        if end in ("linear", "bytes", "any size"):
            expected = np.asarray(keras.ops.softmax(expected))
        np.testing.assert_allclose(model(IMAGES), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(model(IMAGES)).sum(axis=1), 1, atol=1e-5)


def test_network_that_takes_more_than_one_form_of_layers() -> None:
    """The one of the tests has operations, a layer of its own, moving statistics and dropout."""
    model = own_network("homemade:network", SHAPE, 3)
    assert blocks_of(model) == ("block1", "block2", "block3")
    assert "gate_1/variable" in read_weights(model)
    assert list(random_states(model)) == ["random/dropout_1/1"]


def test_first_weights_follow_from_the_seed() -> None:
    """Layers that were given no seed start as the recipe's seed says, dropout among them; Python's own draws go on."""
    import random

    def built(seed: int) -> dict[str, Any]:
        model = build_network(Recipe(network="homemade:network", image_size=16, seed=seed), 3)
        return read_weights(model) | {name: state.numpy() for name, state in random_states(model).items()}

    random.seed(5)
    expected = random.random()
    random.seed(5)
    one, same, other = built(1), built(1), built(2)
    assert random.random() == expected
    assert one.keys() == same.keys() == other.keys()
    assert all((one[name] == same[name]).all() for name in one)
    assert (one["conv2d_1/kernel"] != other["conv2d_1/kernel"]).any()
    assert (one["random/dropout_1/1"] != other["random/dropout_1/1"]).any()


WRONG = {
    "1 / 0": r"network\(16, 3\) raised ZeroDivisionError: division by zero",
    "return 'vgg'": "'vgg', which is no graph",
    "return None": "None, which is no graph",
    "class Own(keras.Model):\n    pass\nreturn Own()": "a subclass of keras.Model, Own, which is no graph",
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
    "return keras.Model(image, layers.Dense(3)(layers.Lambda(lambda x: x)(vector)))": "Lambda 'lambda.*nowhere named",
    "return keras.Model(image, layers.Dense(3)(layers.Dense(4, kernel_regularizer='l2')(vector)))": (
        "a regularizer or constraint of Dense"
    ),
    "return keras.Model(image, layers.Dense(3)(layers.Flatten()(layers.Conv2D(2, 1)(image))))": "no convolution",
    "return keras.Model(image, layers.Dense(3)(layers.Dense(2, activation='gelu')(vector)))": "no heat map leads",
    "tensor = layers.Conv2D(8, 3, groups=2)(tensor)\n"
    "return keras.Model(image, layers.Dense(3)(layers.Flatten()(tensor)))": "ONNX does not have: .*PartitionedCall",
    "return keras.Sequential([layers.Flatten(), layers.Conv2D(2, 3)])": "layers that do not fit .*min_ndim=4",
    "class Half(layers.Layer):\n"
    "    factor = 1\n"
    "    def call(self, inputs):\n"
    "        return inputs * self.factor\n"
    "half = Half()\n"
    "half.factor = 0.5\n"
    "return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(half(tensor))))": "answer otherwise",
}


@pytest.mark.parametrize("code", WRONG)
def test_what_is_no_network_is_told(write: Write, code: str) -> None:
    """Each way to miss the contract has its own words, and names the network."""
    name = write(code)
    with pytest.raises(RecipeError, match=WRONG[code]) as caught:
        own_network(name, SHAPE, 3)
    assert name in caught.value.found or "no heat map" in caught.value.found


def test_model_inside_that_is_no_graph_is_told(write: Write) -> None:
    """A subclass inside of a graph cannot be laid open."""
    code = """
class Own(keras.Model):
    def call(self, inputs):
        return inputs
return keras.Model(image, layers.Dense(3)(Own()(vector)))
"""
    with pytest.raises(RecipeError, match=r"a subclass of keras\.Model, inside of it"):
        own_network(write(code), SHAPE, 3)


def test_module_that_cannot_be_imported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that is missing, nor one that fails, nor a function that is not there ends in a traceback."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "written_broken.py").write_text("import nothing_of_that_name", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"No module named 'written_missing'.*written_missing.py in .*PYTHONPATH"):
        own_network("written_missing:network", SHAPE, 3)
    with pytest.raises(RecipeError, match="No module named 'nothing_of_that_name'"):
        own_network("written_broken:network", SHAPE, 3)
    with pytest.raises(RecipeError, match=r"no function 'net' in .*homemade.py; expected: one of .*network"):
        own_network("homemade:net", SHAPE, 3)
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "def network(size, count): raise SystemExit"])
def test_module_that_wants_to_end_the_program_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """Neither when it is imported nor when it is called: a script would believe that it trained."""
    monkeypatch.chdir(tmp_path)
    name = f"written_exit{len(code)}"
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    with pytest.raises(RecipeError, match="SystemExit"):
        own_network(f"{name}:network", SHAPE, 3)


def test_features_are_a_vector_and_logits_are_linear() -> None:
    """What stands before the last layer is `features`, whatever the activation of the last one was."""
    model = own_network("homemade:network", SHAPE, 3)
    answers = outputs_of(model, "features", "logits", "probabilities")(IMAGES, training=False)
    assert tuple(answers["features"].shape) == (4, 12)
    np.testing.assert_allclose(keras.ops.softmax(answers["logits"]), answers["probabilities"], atol=1e-6)


def test_nothing_is_written_beside_the_module(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The person's folder is as it was: Python leaves nothing that it compiled there."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    own_network(write(ENDS["linear"]), SHAPE, 3)
    assert {file.suffix for file in tmp_path.iterdir()} == {".py"}
    assert not sys.dont_write_bytecode
