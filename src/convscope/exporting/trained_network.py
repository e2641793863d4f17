"""The Keras network of a finished run, rebuilt from its recipe and weights; no graph or code is loaded from the run.

A recipe may name a custom network, `module:function`, which is imported from where the user works, as when it was
trained.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load

from convscope.bundle.bundle import WEIGHTS_FILE, open_bundle
from convscope.errors import RunError
from convscope.networks.catalog import build_network, set_weights
from convscope.recipe.resolved import ResolvedRecipe
from convscope.run import Run


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A trained `keras.Model`, the recipe that it was built by, and the names of its classes."""

    model: Any
    recipe: ResolvedRecipe
    classes: tuple[str, ...]


def load_network(run: Run) -> TrainedNetwork:
    """Rebuild the network of a finished run.

    Raises:
        BundleError: the training is not finished. RunError: the weights are damaged, or another model's.
    """
    bundle = open_bundle(run.path)
    model = build_network(run.recipe, len(bundle.classes), load_weights=False)
    file = run.model / WEIGHTS_FILE
    try:
        data = file.read_bytes()
        if bundle.facts.get("weights") != hashlib.sha256(data).hexdigest():
            raise ValueError(f"other weights than those of {bundle.path.name}")
        set_weights(model, load(data))
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise RunError(
            found=f"{file}: {error}", expected="the weights of this run's network", fix="train again"
        ) from None
    return TrainedNetwork(model, run.recipe, bundle.classes)
