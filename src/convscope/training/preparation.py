"""What comes before a training: the choices become a complete recipe, the listed images a data set that is checked."""

from __future__ import annotations

import logging
from pathlib import Path

from convscope.datasets.dataset import Dataset, check_dataset, open_dataset
from convscope.datasets.listing import Listing, list_folder
from convscope.networks.catalog import build_network
from convscope.recipe.defaults import KERAS
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import ResolvedRecipe, resolve
from convscope.training.auto_network import choose_network
from convscope.training.dataset_summary import describe_dataset
from convscope.training.image_size import fit_image_size
from convscope.training.precision import choose_precision

logger = logging.getLogger(__name__)

MIN_CLASSES = 2


def list_images(data: Path, choices: Recipe | ResolvedRecipe) -> Listing:
    """List the images of a folder or a manifest as a recipe says; none is opened.

    Raises:
        FolderError: there is nothing to list, or no class can be read off a name.
    """
    return list_folder(data, label_from_name=choices.label_from_name or False)


def resolve_recipe(choices: Recipe, listing: Listing) -> ResolvedRecipe:
    """Complete a recipe for the listed images: network, precision, defaults, and the image size of a budget.

    Raises:
        RecipeError: a custom network, or a file of weights, cannot be used.
    """
    num_images = len(listing.items)
    network = choose_network(choices, num_images=num_images)
    recipe = resolve(choices, network=network, precision=choose_precision(choices.precision or "auto"))
    check_network(recipe, load_weights=recipe.weights != "imagenet")
    return fit_image_size(recipe, num_images=num_images) if recipe.length.unit == "budget" else recipe


def check_network(recipe: ResolvedRecipe, *, load_weights: bool) -> None:
    """Build a third-party network once, so that an error in it is raised before images are decoded.

    Raises:
        RecipeError: it cannot be built, or its file of weights cannot be read.
    """
    if recipe.network.startswith(KERAS) or recipe.kind == "custom":
        build_network(recipe, MIN_CLASSES, load_weights=load_weights)


def open_images(listing: Listing, recipe: ResolvedRecipe, *, cache: Path | None = None) -> Dataset:
    """Decode, group and split the listed images, with a summary as a message, and check that they can be trained on.

    Raises:
        CacheError: the decoded images cannot be kept.
        FolderError: too many images are refused, or a class or a split has none left.
    """
    dataset = open_dataset(listing, recipe, cache=cache)
    logger.info(describe_dataset(dataset))
    check_dataset(dataset, max_refused=recipe.max_refused)
    return dataset
