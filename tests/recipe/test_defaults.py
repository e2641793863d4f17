"""recipe/defaults.py: every kind of network has a default for each choice, and every name has one kind."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.recipe.defaults import (
    AUTO,
    COMMON_DEFAULTS,
    DEFAULT_EPOCHS,
    DEFAULTS,
    EFFICIENTNET,
    MIN_IMAGE_SIZES,
    Kind,
    by_kind,
    complete,
    describe_networks,
    kind_of,
)
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve

KINDS = get_args(Kind)


def test_every_choice_has_one_default() -> None:
    """Either one for all networks or one for each kind; only the length, of which one field is enough, has none."""
    names = {field.name for field in dataclasses.fields(Recipe)}
    assert DEFAULTS.keys() == DEFAULT_EPOCHS.keys() == MIN_IMAGE_SIZES.keys() == set(KINDS)
    for values in DEFAULTS.values():
        assert not values.keys() & COMMON_DEFAULTS.keys()
        assert values.keys() | COMMON_DEFAULTS.keys() == names - {"epochs", "steps", "budget"}


@pytest.mark.parametrize("network", ["classic", "compact", EFFICIENTNET, "keras:VGG16", "my.networks:small"])
def test_defaults_are_valid(network: str) -> None:
    """A recipe that chooses nothing but its network is valid; with its smallest images too, in one size."""
    recipe = resolve(Recipe(network=network))
    assert recipe.image_size >= MIN_IMAGE_SIZES[recipe.kind]
    assert resolve(Recipe(network=network, image_size=MIN_IMAGE_SIZES[recipe.kind])).sizes == ()


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        ("classic", "classic"),
        ("compact", "compact"),
        ("efficientnet-lite0", "pretrained"),
        ("keras:ResNet50", "pretrained"),
        ("keras:NoSuchNetwork", "pretrained"),  # which ones there are, Keras knows
        ("networks:small", "custom"),
        ("my.networks:small", "custom"),
        ("netze:größe", "custom"),
    ],
)
def test_names_have_a_kind(network: str, kind: Kind) -> None:
    """By the name alone, before anything is imported."""
    assert kind_of(network) == kind


@pytest.mark.parametrize(
    "network",
    [
        *("", AUTO, "Compact", "compact ", "efficientnet", "keras", "keras:", "keras:a b", "keras:../x"),
        *(":f", "m:", "m:f:g", "m.:f", ".m:f", "a/b:f", "m.py:f()", "m:a.b", "__import__('os'):f"),
    ],
)
def test_other_names_are_none(network: str) -> None:
    """A name of neither a network nor a function that can be imported is refused; `auto` is not chosen yet."""
    with pytest.raises(ValueError, match=r".*"):
        kind_of(network)


@given(st.text(max_size=20))
def test_any_text_has_a_kind_or_is_refused(network: str) -> None:
    """Nothing else happens."""
    try:
        kind = kind_of(network)
    except ValueError:
        return
    assert kind in KINDS


def test_all_networks_are_described() -> None:
    """Each name that can be typed as it is, and the two forms of the others."""
    description = describe_networks()
    for name in (AUTO, "classic", "compact", EFFICIENTNET, "keras:NAME", "module:function"):
        assert f"`{name}`" in description


def test_values_by_kind() -> None:
    """The default of each kind for a field; nothing where all kinds share one."""
    assert by_kind("sizes") == {"classic": (), "compact": (0.5, 0.75), "pretrained": (), "custom": ()}
    assert list(by_kind("weights").values()) == ["none", "none", "imagenet", "none"]
    assert by_kind("seed") == by_kind("epochs") == {}


def test_choices_go_over_the_defaults() -> None:
    """A chosen value stays, even one that equals the default of another kind; small images have one size."""
    assert complete({"learning_rate": 0.015}, network=EFFICIENTNET)["learning_rate"] == 0.015
    assert complete({}, network="compact")["sizes"] == (0.5, 0.75)
    assert complete({"image_size": 31}, network="compact")["sizes"] == ()
    assert complete({"image_size": 31, "sizes": (0.9,)}, network="compact")["sizes"] == (0.9,)
