"""A trained network as a bundle, in float32 whatever it was trained in."""

from __future__ import annotations

from pathlib import Path

from convscope.exporting.bundle_writer import write_bundle
from convscope.networks.catalog import build_network, read_weights, set_weights
from convscope.training.learner import Learner


def save_bundle(learner: Learner, folder: str | Path) -> Path:
    """Write the network of a learner as a bundle, which `evaluate` and `predict` take.

    Returns: the folder.

    Raises:
        BundleError: the probabilities of the bundle differ from the network's, or `folder` holds other files.
    """
    path = Path(folder)
    model = learner.model
    if learner.recipe.precision != "float32":
        model = build_network(learner.recipe, len(learner.dataset.classes), load_weights=False)
        set_weights(model, read_weights(learner.model))
    write_bundle(model, path, recipe=learner.recipe, dataset=learner.dataset)
    return path
