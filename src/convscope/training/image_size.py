"""The image size that a budget leaves time for: a short one trains better on more epochs of smaller images."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from convscope.formatting import format_duration
from convscope.networks.catalog import build_network, count_operations
from convscope.recipe.defaults import Kind
from convscope.recipe.resolved import ResolvedRecipe
from convscope.training.plan import image_sizes
from convscope.training.precision import measure_operations

logger = logging.getLogger(__name__)

MIN_EPOCHS = 4  # with fewer than these, smaller images give a better model in the same time
MIN_SIZES: Mapping[Kind, int] = {"compact": 64, "pretrained": 96}  # pixels that a budget shrinks images to
SIZE_STEP = 32  # pixels between the sizes that a pretrained network may have
FEATURES_SHARE = 0.5  # of a budget may go into the features that the head is fitted on
DEPTHWISE_PACE = 0.6  # of the operations a second of dense convolutions: what EfficientNet-Lite0's reach (measured)


def fit_image_size(recipe: ResolvedRecipe, *, num_images: int) -> ResolvedRecipe:
    """A recipe with a budget, at the largest image size that leaves time for enough epochs.

    Args:
        recipe: one with a budget; its image size stays where `shrink` is false, or nothing is known of its network.
        num_images: images of all splits.
    """
    has_features = recipe.weights != "none"
    if not recipe.shrink or recipe.kind not in MIN_SIZES or (recipe.kind == "pretrained" and not has_features):
        return recipe
    # floating-point operations that there is time for, for each image
    operations = measure_operations(recipe.precision) * recipe.length.amount / num_images
    if recipe.kind == "pretrained":
        return _fit_features(recipe, operations)
    return _fit_epochs(recipe, operations)


def _fit_epochs(recipe: ResolvedRecipe, operations: float) -> ResolvedRecipe:
    """Halve the image size of `compact` until the time is enough for `MIN_EPOCHS` epochs."""
    smaller = recipe
    while smaller.image_size >= 2 * MIN_SIZES["compact"] and operations < MIN_EPOCHS * _mean_operations(smaller):
        smaller = replace(smaller, image_size=smaller.image_size // 2)
    if smaller != recipe:
        num_epochs = operations / _mean_operations(recipe)
        logger.info(
            f"{format_duration(recipe.length.amount)} are enough for about {num_epochs:.1f} epochs at"
            f" {recipe.image_size} px: using {smaller.image_size} px (`shrink=False` keeps {recipe.image_size} px)"
        )
    return smaller


def _fit_features(recipe: ResolvedRecipe, operations: float) -> ResolvedRecipe:
    """Shrink the images of a pretrained network until its features leave time for fine-tuning."""
    size, smallest = recipe.image_size, MIN_SIZES["pretrained"] + SIZE_STEP
    network = build_network(recipe, 2, load_weights=False)  # some are built for images of this size alone
    needed = count_operations(network, size)
    available = FEATURES_SHARE * DEPTHWISE_PACE * operations
    while size >= smallest and needed * (size / recipe.image_size) ** 2 > available:
        size -= SIZE_STEP
    if size != recipe.image_size:
        logger.info(
            f"{format_duration(recipe.length.amount)} are too short for the features of all images at"
            f" {recipe.image_size} px: using {size} px (`shrink=False` keeps {recipe.image_size} px)"
        )
    return replace(recipe, image_size=size)


def _mean_operations(recipe: ResolvedRecipe) -> float:
    """Floating-point operations for an image in an epoch, forward and twice as many backward, over all its sizes."""
    network = build_network(recipe, 2)
    return sum(3 * share * count_operations(network, size) for size, share in image_sizes(recipe))
