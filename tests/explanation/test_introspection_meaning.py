"""What introspection shows has a meaning: heat is where the class is, activations are arithmetic, filters are weights.

Each image has its class, a disc or a ring, in one half. The heat map of a trained network has to be in that half; that
of an untrained network must not be.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from localized_shapes import CLASSES, SIZE, draw_shape
from numpy.typing import NDArray
from numpy_network import convolve, largest_of_four

from convscope.bundle.introspection import Introspection, open_introspection
from convscope.recipe.recipe import Recipe
from convscope.run import Run

pytestmark = pytest.mark.tensorflow

NEW = 10**6  # seeds from here on are of images that no network was trained on
IMAGES = [(kind, NEW + number) for number in range(20) for kind in CLASSES]  # as many left as right


@pytest.fixture(scope="module")
def inside(trained: Run) -> Introspection:
    """A network that tells discs from rings."""
    return open_introspection(trained.path)


def save_untrained(localized_shapes: Path, folder: Path, *, seed: int, channels: int = 3) -> Introspection:
    """A network of the shape of `trained` with its initial weights, saved and opened; and its weights file."""
    from convscope.training.bundle_export import save_bundle
    from convscope.training.learner import Learner

    recipe = Recipe(
        network="classic", image_size=SIZE, channels=channels, filters=(8, 16), dense_units=32, steps=1, seed=seed
    )
    return open_introspection(save_bundle(Learner.open(localized_shapes, recipe), folder))


def weights_beside(inside: Introspection) -> dict[str, NDArray[np.float64]]:
    """The arrays of weights.safetensors, by layer and name, in float64."""
    from safetensors.numpy import load_file

    weights = load_file(inside.bundle.path.with_name("weights.safetensors"))
    return {name: array.astype(np.float64) for name, array in weights.items()}


def share_in_its_half(inside: Introspection, kind: str, seed: int) -> float:
    """The proportion (0..1) of the heat for the image's class that is in the half where the class is drawn."""
    heat = inside.run(draw_shape(kind, seed)).heat[..., CLASSES.index(kind)]
    middle = heat.shape[1] // 2
    half = heat[:, :middle] if seed % 2 == 0 else heat[:, middle:]
    return float(half.sum() / heat.sum())


def test_heat_is_where_the_class_is(inside: Introspection) -> None:
    """After training, far more than half of the heat is in the half with the class, for discs and for rings."""
    shares = {kind: [share_in_its_half(inside, kind, seed) for of, seed in IMAGES if of == kind] for kind in CLASSES}
    assert np.mean([*shares["disc"], *shares["ring"]]) > 0.65
    assert all(np.mean(of_class) > 0.6 for of_class in shares.values())


def test_heat_of_an_untrained_network_is_everywhere(localized_shapes: Path, tmp_path: Path) -> None:
    """The same network with initial weights, from three seeds, has as much heat in either half."""
    for seed in range(3):
        untrained = save_untrained(localized_shapes, tmp_path / str(seed), seed=seed)
        assert 0.4 < np.mean([share_in_its_half(untrained, *image) for image in IMAGES[:24]]) < 0.6


def test_heat_is_the_contribution_of_each_place_to_the_logit(inside: Introspection) -> None:
    """Between the ReLUs the logit is linear in the last block: its gradient times the activations, where positive."""
    weights = weights_beside(inside)
    look = inside.run(draw_shape("ring", NEW))
    block = look.activations[inside.blocks[-1]].astype(np.float64)
    is_active = look.features > 0
    for class_index in range(len(CLASSES)):
        gradient = weights["dense/kernel"][:, is_active] @ weights["logits/kernel"][is_active, class_index]
        expected = np.maximum((block * gradient.reshape(block.shape)).sum(axis=2), 0)
        assert expected.max() > 0
        np.testing.assert_allclose(look.heat[..., class_index], expected, atol=1e-4 * expected.max())


def test_heat_has_the_shape_of_the_last_block(inside: Introspection) -> None:
    """(height, width, classes) float32, never negative, and different for different classes."""
    heat = inside.run(draw_shape("disc", NEW)).heat
    assert (heat.shape, heat.dtype) == ((8, 8, len(CLASSES)), np.float32)
    assert heat.min() >= 0
    assert not np.array_equal(heat[..., 0], heat[..., 1])


@pytest.mark.parametrize("channels", [1, 3])
def test_activations_are_those_that_numpy_computes(localized_shapes: Path, tmp_path: Path, channels: int) -> None:
    """Every channel at every place of both blocks agrees with an independent computation in float64."""
    untrained = save_untrained(localized_shapes, tmp_path / "model", seed=1, channels=channels)
    weights = weights_beside(untrained)
    image = draw_shape("ring", NEW)[..., :channels]
    look = untrained.run(image)
    assert list(look.activations) == ["block1", "block2"]
    expected = image[np.newaxis] / 255
    for block, activations in look.activations.items():
        expected = convolve(expected, weights[f"{block}_convolution/kernel"]) + weights[f"{block}_convolution/bias"]
        expected = np.maximum(largest_of_four(expected), 0)
        assert (activations.shape, activations.dtype) == (expected.shape[1:], np.float32)
        np.testing.assert_allclose(activations, expected[0], atol=1e-5)
    assert (look.features.shape, look.features.dtype) == ((32,), np.float32)
    assert look.probabilities.sum() == pytest.approx(1.0)


def test_filters_are_the_weights_of_the_network(trained: Run, inside: Introspection) -> None:
    """(height, width, inputs, filters) float32 of every convolution, first to last: those that Keras multiplies by."""
    from convscope.exporting.trained_network import load_network
    from convscope.networks.catalog import convolution_names, read_weights

    model = load_network(trained).model
    assert inside.convolutions == convolution_names(model) == ("block1_convolution", "block2_convolution")
    weights = read_weights(model)
    for name, shape in zip(inside.convolutions, ((3, 3, 3, 8), (3, 3, 8, 16)), strict=True):
        filters = inside.filters(name)
        assert (filters.shape, filters.dtype) == (shape, np.float32)
        np.testing.assert_array_equal(filters, weights[f"{name}/kernel"])


@pytest.mark.parametrize("layer", ["dense", "nothing"])
def test_layer_without_filters_is_rejected(inside: Introspection, layer: str) -> None:
    """The error names the convolutions that there are."""
    with pytest.raises(ValueError, match=f"found layer '{layer}'; expected one of block1_convolution"):
        inside.filters(layer)
