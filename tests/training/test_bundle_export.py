"""training/bundle_export.py: a network becomes a bundle with the same probabilities, or nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learners import make_learner

from convscope.bundle.bundle import open_bundle
from convscope.datasets.dataset import open_dataset
from convscope.errors import BundleError
from convscope.networks.catalog import read_weights, set_weights
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.training.bundle_export import save_bundle
from convscope.training.learner import Learner

pytestmark = pytest.mark.tensorflow

RECIPE = resolve(Recipe(network="classic", image_size=8, filters=(4,), dense_units=8, batch_size=8))


@pytest.fixture
def learner(photos: Path) -> Learner:
    """A small network that was not trained yet."""
    return make_learner(open_dataset(photos, RECIPE), RECIPE)


def test_a_bundle_has_the_probabilities_of_the_network(learner: Learner, tmp_path: Path) -> None:
    """Without Keras; saving again replaces it."""
    images: Any = learner.dataset.images[:20]
    for steps in (2, 30):
        learner.fit(steps=steps)
        folder = save_bundle(learner, tmp_path / "model")
        np.testing.assert_allclose(open_bundle(folder).predict(images), learner.predict(images), atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_only_a_model_is_replaced(learner: Learner, tmp_path: Path) -> None:
    """A folder with any other file is refused, and stays as it was."""
    kept = tmp_path / "thesis" / "chapter.txt"
    kept.parent.mkdir()
    kept.write_text("years of work")
    for path in (kept.parent, kept):
        with pytest.raises(BundleError):
            save_bundle(learner, path)
    assert kept.read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


def test_a_diverged_network_is_not_saved(learner: Learner, tmp_path: Path) -> None:
    """Probabilities of NaN are an error that names the learning rate, and nothing is written."""
    set_weights(learner.model, {name: array * np.nan for name, array in read_weights(learner.model).items()})
    with pytest.raises(BundleError, match=r"learning.rate"):
        save_bundle(learner, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
