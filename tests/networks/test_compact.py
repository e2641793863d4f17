"""networks/compact.py: named blocks, one set of weights for every image size, and it can be trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from localized_shapes import CLASSES, draw_shape

from convscope.networks.catalog import build_network, read_weights, submodel
from convscope.networks.compact import compact
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.training.optimizer import Muon
from convscope.training.step import Tally, make_evaluation_step, make_training_step

pytestmark = pytest.mark.tensorflow


def small(num_classes: int = 3, channels: int = 3, seed: int = 0) -> Any:
    """Two stages, narrow: (any, any, channels) to the classes."""
    return compact((None, None, channels), num_classes, filters=(4, 8, 12, 16), seed=seed)


def test_number_of_weights_of_the_default_recipe() -> None:
    """1,178,114 for two classes, moving statistics included; none of them in a layer as large as the image."""
    model = build_network(resolve(Recipe(network="compact")), 2)
    assert model.count_params() == 1_178_114
    assert model.get_layer("logits").kernel.shape == (256, 2)


def test_blocks_are_named_and_halve() -> None:
    """There is a block for each stage and one for the last convolution, each of half the side of the one before."""
    model = build_network(resolve(Recipe(network="compact")), 2)
    names = [f"block{number}" for number in range(1, 5)]
    outputs = submodel(model, "stem", *names, "features", "logits")(np.zeros((2, 64, 64, 3), np.uint8))
    shapes = {name: tuple(tensor.shape) for name, tensor in outputs.items()}
    assert shapes == {
        "stem": (2, 32, 32, 32),
        "block1": (2, 16, 16, 32),
        "block2": (2, 8, 8, 64),
        "block3": (2, 4, 4, 128),
        "block4": (2, 2, 2, 256),
        "features": (2, 256),
        "logits": (2, 2),
    }
    assert "block5" not in {layer.name for layer in model.layers}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [16, 17, 24, 33])
def test_every_size_has_the_same_weights(size: int, channels: int) -> None:
    """One network takes images of any size; its probabilities are float32 and add up to 1."""
    model = small(channels=channels)
    images = np.random.default_rng(0).integers(0, 256, (5, size, size, channels), np.uint8)
    probabilities = model(images, training=False).numpy()
    assert (probabilities.shape, probabilities.dtype) == ((5, 3), np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_first_weights_follow_from_the_seed() -> None:
    """The same seed gives the same bits, another seed other kernels; no two kernels of a shape are equal."""
    first, same, other = (read_weights(small(seed=seed)) for seed in (3, 3, 4))
    assert all((first[name] == same[name]).all() for name in first)
    kernels = [name for name in first if name.endswith("/kernel")]
    assert all((first[name] != other[name]).any() for name in kernels)
    assert len({first[name].tobytes() for name in kernels}) == len(kernels)


def test_each_pair_has_a_skip_connection() -> None:
    """At first the output of each pair is its input, and differs once the scale of its last normalisation is not 0."""
    model = small()
    model.get_layer("block1_second_norm").scale.assign(np.ones(8, np.float32))
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    outputs = submodel(model, "block1_down", "block1_pair1", "block1")(images, training=False)
    np.testing.assert_array_equal(outputs["block1_pair1"], outputs["block1_down"])
    assert (outputs["block1"].numpy() != outputs["block1_pair1"].numpy()).any()


def test_drawn_shapes_are_classified_after_training() -> None:
    """After 100 small steps the accuracy is above 0.9 on discs and rings that were not trained on."""
    labels = np.tile(np.arange(2, dtype=np.int32), 128)
    images = np.stack([draw_shape(CLASSES[label], seed // 2) for seed, label in enumerate(labels)])
    model = small(num_classes=2)
    weights = model.trainable_weights
    optimizer = Muon([weight.value for weight in weights], [weight.path for weight in weights], weight_decay=5e-4)
    step = make_training_step(model, optimizer, Tally(), batch_size=32, label_smoothing=0.1)
    tally = Tally()
    generator = np.random.default_rng(0)
    for number in range(100):
        rows = generator.permutation(192)[:32]
        step(images[rows], labels[rows], np.float32(0.015 * (1 - number / 100)))
    make_evaluation_step(model, tally)(images[192:], labels[192:])
    assert tally.read()[1] > 0.9
