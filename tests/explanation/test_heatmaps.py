"""explanation/heatmaps.py: a heat map has meaning: it is where the class was seen, and nowhere else.

Each image has its class, a disc or a ring, in one half. What the network learned there is what the map has to show;
from a network that has learned nothing it must show nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from halves import CLASSES, draw_half

from convscope.run import Run

if TYPE_CHECKING:
    from convscope.exporting.trained_network import Network

pytestmark = pytest.mark.tensorflow

FRESH = 10**6  # seeds from here on are of images that nobody learned from
IMAGES = [(kind, FRESH + number) for number in range(20) for kind in CLASSES]  # as many left as right


@pytest.fixture(scope="module")
def network(trained: Run) -> Network:
    """A network that tells discs from rings."""
    from convscope.exporting.trained_network import load_network

    return load_network(trained)


def share_in_its_half(model: object, kind: str, seed: int) -> float:
    """How much of the heat for the image's class is in the half where the class is drawn, 0..1."""
    from convscope.explanation.heatmaps import grad_cam

    heat = grad_cam(model, draw_half(kind, seed), CLASSES.index(kind))
    middle = heat.shape[1] // 2
    half = heat[:, :middle] if seed % 2 == 0 else heat[:, middle:]
    return float(half.sum() / heat.sum())


def test_heat_is_where_the_class_is(network: Network) -> None:
    """After training, far more than half of the heat is in the half with the class, for discs and for rings."""
    shares = {
        kind: [share_in_its_half(network.model, kind, seed) for of, seed in IMAGES if of == kind] for kind in CLASSES
    }
    assert np.mean([*shares["disc"], *shares["ring"]]) > 0.65
    assert all(np.mean(each) > 0.6 for each in shares.values())


def test_random_weights_point_nowhere(network: Network) -> None:
    """The same network before training, from three seeds, spreads its heat over both halves alike."""
    from convscope.networks.catalog import build_network

    for seed in range(3):
        model = build_network(network.recipe.with_changes({"seed": seed}), len(CLASSES))
        assert 0.4 < np.mean([share_in_its_half(model, *image) for image in IMAGES[:24]]) < 0.6


def test_heat_is_the_part_of_each_place_in_the_logit(network: Network) -> None:
    """Up to the dense layer's bend the logit is linear: a small change of the block moves it by heat's own parts."""
    from convscope.explanation.activations import activations_of
    from convscope.explanation.heatmaps import grad_cam
    from convscope.networks.catalog import read_weights
    from convscope.networks.hirescam import blocks_of

    model = network.model
    image = draw_half("ring", FRESH)
    weights = {name: np.asarray(array, np.float64) for name, array in read_weights(model).items()}
    last = blocks_of(model)[-1]
    seen = activations_of(model, image, [last, "features"])
    block = seen[last].astype(np.float64)
    is_on = seen["features"] > 0
    gradient = weights["dense/kernel"][:, is_on] @ weights["logits/kernel"][is_on, 1]
    expected = np.maximum((block * gradient.reshape(block.shape)).sum(axis=2), 0)
    heat = grad_cam(model, image, 1)
    assert expected.max() > 0
    np.testing.assert_allclose(heat, expected, atol=1e-4 * expected.max())


def test_heat_has_the_shape_of_the_last_block(network: Network) -> None:
    """(height, width) float32 of the last block, never negative, and another one for another class."""
    from convscope.explanation.heatmaps import grad_cam

    maps = [grad_cam(network.model, draw_half("disc", FRESH), index) for index in range(2)]
    for heat in maps:
        assert (heat.shape, heat.dtype) == ((8, 8), np.float32)
        assert heat.min() >= 0
    assert not np.array_equal(*maps)
