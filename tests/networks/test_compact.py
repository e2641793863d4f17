"""networks/compact.py: few blocks with their names, one set of weights for every image size, and it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from halves import CLASSES, draw_half

from convscope.networks.catalog import build_network, outputs_of, read_weights
from convscope.networks.compact import compact
from convscope.recipe.recipe import Recipe
from convscope.training.optimizer import Muon
from convscope.training.step import Tally, make_evaluation_step, make_training_step

pytestmark = pytest.mark.tensorflow


def small(num_classes: int = 3, channels: int = 3, seed: int = 0) -> Any:
    """Two stages, narrow: (any, any, channels) to the classes."""
    return compact((None, None, channels), num_classes, filters=(4, 8, 12, 16), seed=seed)


def test_default_recipe_has_so_many_weights() -> None:
    """1,178,114 for two classes, moving statistics included; none of them in a layer as large as the image."""
    model = build_network(Recipe(network="compact"), 2)
    assert model.count_params() == 1_178_114
    assert model.get_layer("logits").kernel.shape == (256, 2)


def test_blocks_are_named_and_halve() -> None:
    """A block for each stage and one for the last convolution, each half as wide as the one before; then features."""
    model = build_network(Recipe(network="compact"), 2)
    names = [f"block{number}" for number in range(1, 5)]
    answers = outputs_of(model, "stem", *names, "features", "logits")(np.zeros((2, 64, 64, 3), np.uint8))
    shapes = {name: tuple(tensor.shape) for name, tensor in answers.items()}
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
    """One network answers images of any size, with probabilities in float32 that add up to 1."""
    model = small(channels=channels)
    images = np.random.default_rng(0).integers(0, 256, (5, size, size, channels), np.uint8)
    answer = model(images, training=False).numpy()
    assert (answer.shape, answer.dtype) == ((5, 3), np.float32)
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-6)


def test_first_weights_follow_from_the_seed() -> None:
    """The same seed gives the same bits, another seed other kernels; no two kernels of a shape start alike."""
    one, same, other = (read_weights(small(seed=seed)) for seed in (3, 3, 4))
    assert all((one[name] == same[name]).all() for name in one)
    kernels = [name for name in one if name.endswith("/kernel")]
    assert all((one[name] != other[name]).any() for name in kernels)
    assert len({one[name].tobytes() for name in kernels}) == len(kernels)


def test_input_goes_around_each_pair() -> None:
    """At first each pair answers what came in; once the scale of its last normalisation is not 0, something else."""
    model = small()
    model.get_layer("block1_second_norm").scale.assign(np.ones(8, np.float32))
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    answers = outputs_of(model, "block1_down", "block1_pair1", "block1")(images, training=False)
    np.testing.assert_array_equal(answers["block1_pair1"], answers["block1_down"])
    assert (answers["block1"].numpy() != answers["block1_pair1"].numpy()).any()


def test_drawn_shapes_are_learned() -> None:
    """Discs and rings anywhere are told apart after 100 small steps, also such as were never seen."""
    labels = np.tile(np.arange(2, dtype=np.int32), 128)
    images = np.stack([draw_half(CLASSES[label], seed // 2) for seed, label in enumerate(labels)])
    model = small(num_classes=2)
    weights = model.trainable_weights
    optimizer = Muon([each.value for each in weights], [each.path for each in weights], weight_decay=5e-4)
    step = make_training_step(model, optimizer, Tally(), batch_size=32, label_smoothing=0.1)
    tally = Tally()
    order = np.random.default_rng(0)
    for number in range(100):
        some = order.permutation(192)[:32]
        step(images[some], labels[some], np.float32(0.015 * (1 - number / 100)))
    make_evaluation_step(model, tally)(images[192:], labels[192:])
    assert tally.read()[1] > 0.9
