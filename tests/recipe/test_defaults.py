"""recipe/defaults.py: every kind of network has a default for each choice, and every name has one kind."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.recipe.defaults import (
    AUTO,
    DEFAULT_EPOCHS,
    DEFAULTS,
    EFFICIENTNET,
    LEAST_SIZES,
    Kind,
    by_kind,
    kind_of,
    names_of_networks,
)
from convscope.recipe.recipe import Recipe

KINDS = get_args(Kind)


def test_every_kind_answers_every_choice() -> None:
    """No kind leaves out what another one chooses; these are the recipe's fields without a default of their own."""
    unset = {field.name for field in dataclasses.fields(Recipe) if field.default is None}
    assert DEFAULTS.keys() == DEFAULT_EPOCHS.keys() == LEAST_SIZES.keys() == set(KINDS)
    assert all(values.keys() == unset - {"epochs", "steps", "budget"} for values in DEFAULTS.values())


@pytest.mark.parametrize("network", ["classic", "compact", EFFICIENTNET, "keras:VGG16", "my.networks:small"])
def test_defaults_stand_their_own_check(network: str) -> None:
    """A recipe that says nothing but its network can be; its smallest images too, and no smaller ones."""
    recipe = Recipe(network=network)
    assert recipe.image_size >= LEAST_SIZES[recipe.kind]
    least = Recipe(network=network, image_size=LEAST_SIZES[recipe.kind])
    assert least.sizes == ()


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        (AUTO, None),
        ("classic", "classic"),
        ("compact", "compact"),
        ("efficientnet-lite0", "pretrained"),
        ("keras:ResNet50", "pretrained"),
        ("keras:NoSuchNetwork", "pretrained"),  # which ones there are, Keras knows
        ("networks:small", "own"),
        ("my.networks:small", "own"),
        ("netze:größe", "own"),
    ],
)
def test_names_have_a_kind(network: str, kind: Kind | None) -> None:
    """By the name alone; `auto` has none yet."""
    assert kind_of(network) == kind


@pytest.mark.parametrize(
    "network",
    [
        *("", "Compact", "compact ", "efficientnet", "keras", "keras:", "keras:a b", "keras:../x"),
        *(":f", "m:", "m:f:g", "m.:f", ".m:f", "a/b:f", "m.py:f()", "m:a.b", "__import__('os'):f"),
    ],
)
def test_other_names_are_none(network: str) -> None:
    """What names neither a network nor a function that can be imported is refused."""
    with pytest.raises(ValueError, match=r".*"):
        kind_of(network)


@given(st.text(max_size=20))
def test_any_text_has_a_kind_or_is_refused(network: str) -> None:
    """Nothing else happens."""
    try:
        kind = kind_of(network)
    except ValueError:
        return
    assert kind in (None, *KINDS)


def test_a_person_is_told_all_names() -> None:
    """Each name that can be typed as it is, and the two forms of the others."""
    told = names_of_networks()
    for name in (AUTO, "classic", "compact", EFFICIENTNET, "keras:NAME", "module:function"):
        assert f"`{name}`" in told


def test_values_by_kind() -> None:
    """What each kind chooses for a field; nothing where the recipe's own default is that of all."""
    assert by_kind("sizes") == {"classic": (), "compact": (0.5, 0.75), "pretrained": (), "own": ()}
    assert list(by_kind("weights").values()) == ["none", "none", "imagenet", "none"]
    assert by_kind("seed") == by_kind("epochs") == {}
