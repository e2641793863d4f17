"""exporting/trained_network.py: the network of a finished run is rebuilt, and predicts as its bundle does."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from localized_shapes import CLASSES, draw_shape

from convscope.bundle.bundle import open_bundle
from convscope.errors import BundleError, RunError
from convscope.run import Run

pytestmark = pytest.mark.tensorflow


def test_network_predicts_as_the_bundle(trained: Run) -> None:
    """The same probabilities within 1e-5, the classes in the same order, the recipe of the run."""
    from convscope.exporting.trained_network import load_network

    network = load_network(trained)
    images = np.stack([draw_shape(kind, seed) for kind in CLASSES for seed in range(10)])
    probabilities = network.model(images, training=False).numpy()
    np.testing.assert_allclose(probabilities, open_bundle(trained.path).predict(images), atol=1e-5)
    assert network.classes == open_bundle(trained.path).classes == CLASSES
    assert network.recipe == trained.recipe


def test_unfinished_run_is_an_error(trained: Run, tmp_path: Path) -> None:
    """A run without a model has no network yet."""
    from convscope.exporting.trained_network import load_network

    shutil.copy(trained.recipe_file, tmp_path)
    with pytest.raises(BundleError, match="its training is not finished"):
        load_network(Run(tmp_path))


@pytest.mark.parametrize("damage", ["missing", "truncated", "of another network"])
def test_damaged_weights_are_an_error(trained: Run, tmp_path: Path, damage: str) -> None:
    """A file of weights that is missing, truncated or another network's is named, and never partly loaded."""
    from safetensors.numpy import load_file, save_file

    from convscope.exporting.trained_network import load_network

    shutil.copytree(trained.path, tmp_path / "run")
    run = Run(tmp_path / "run")
    file = run.model / "weights.safetensors"
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        weights = load_file(file)
        weights["logits/bias"] = np.zeros(3, np.float32)
        save_file(weights, file)
    with pytest.raises(RunError) as caught:
        load_network(run)
    assert str(file) in caught.value.found
