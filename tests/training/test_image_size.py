"""training/image_size.py: a short budget takes smaller images, as far as its network can do with them."""

from __future__ import annotations

from typing import Any

import pytest

from convscope.networks.catalog import build_network, count_operations
from convscope.recipe.defaults import EFFICIENTNET
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.training import image_size
from convscope.training.image_size import DEPTHWISE_PACE, FEATURES_SHARE, fit_image_size

pytestmark = pytest.mark.tensorflow

OPERATIONS = 1e11  # per second


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose pace is known."""
    monkeypatch.setattr(image_size, "measure_operations", lambda _: OPERATIONS)


def fit(caplog: pytest.LogCaptureFixture, num_images: int = 10_000, **choices: Any) -> tuple[int, str]:
    """The image size for some choices, and the messages."""
    caplog.clear()
    caplog.set_level("INFO", logger="convscope")
    recipe = resolve(Recipe(**choices))
    fitted = fit_image_size(recipe, num_images=num_images)
    assert (fitted.length, fitted.sizes) == (recipe.length, recipe.sizes)
    return fitted.image_size, "\n".join(caplog.messages)


def test_short_budgets_halve_the_images_of_compact(caplog: pytest.LogCaptureFixture) -> None:
    """Where the time is enough for hardly an epoch, and with a message; where it is enough for many, the size stays."""
    size, message = fit(caplog, network="compact", image_size=256, budget=1e-4)
    assert size == 64
    assert message.endswith("epochs at 256 px: using 64 px (`shrink=False` keeps 256 px)")
    assert fit(caplog, network="compact", image_size=256, budget=1e9) == (256, "")
    assert fit(caplog, network="compact", image_size=256, budget=1e-4, shrink=False) == (256, "")
    assert fit(caplog, network="compact", image_size=100, budget=1e-4) == (100, "")  # half would be too small


@pytest.mark.parametrize(
    ("seconds", "size", "expected"), [(1e-4, 224, 96), (1e9, 224, 224), (1e-4, 96, 96), (1e-4, 64, 64), (1e-4, 130, 98)]
)
def test_short_budgets_shrink_images_of_pretrained_networks_in_steps(
    caplog: pytest.LogCaptureFixture, seconds: float, size: int, expected: int
) -> None:
    """By 32 pixels until the features leave time for fine-tuning, never below 96; with a message."""
    fitted, message = fit(caplog, network=EFFICIENTNET, image_size=size, budget=seconds)
    assert fitted == expected
    assert (f"at {size} px: using {expected} px (`shrink=False` keeps {size} px)" in message) == (expected < size)
    assert fit(caplog, network=EFFICIENTNET, image_size=size, budget=seconds, shrink=False) == (size, "")


def test_networks_of_keras_shrink_too(caplog: pytest.LogCaptureFixture) -> None:
    """They are built for the size that they get; with random weights there are no features to shrink for."""
    choices: dict[str, Any] = {"network": "keras:MobileNet", "image_size": 160, "budget": 1e-4}
    size, message = fit(caplog, **choices)
    assert size == 96
    assert "at 160 px: using 96 px" in message
    assert fit(caplog, **choices, weights="none") == (160, "")


@pytest.mark.parametrize("size", [128, 192, 224])
def test_features_may_take_half_of_a_budget(caplog: pytest.LogCaptureFixture, size: int) -> None:
    """The largest size is used whose features fit into half of the time, at the measured pace."""
    network = build_network(resolve(Recipe(network=EFFICIENTNET)), 2, load_weights=False)
    seconds = 1000 * count_operations(network, size) / (DEPTHWISE_PACE * OPERATIONS) / FEATURES_SHARE
    for factor, expected in ((1.01, size), (0.99, size - 32)):
        assert fit(caplog, 1000, network=EFFICIENTNET, budget=factor * seconds)[0] == expected
