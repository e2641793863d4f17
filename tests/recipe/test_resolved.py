"""recipe/resolved.py: choices are completed once, saved completely, and old files keep their meaning."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.errors import RecipeError
from convscope.recipe import defaults
from convscope.recipe.defaults import AUTO, COMMON_DEFAULTS, DEFAULT_EPOCHS, DEFAULTS, EFFICIENTNET, Kind
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import Length, ResolvedRecipe, resolve

OLD = Path(__file__).parents[1] / "old"
NETWORKS: dict[str, Kind] = {
    "classic": "classic",
    "compact": "compact",
    EFFICIENTNET: "pretrained",
    "keras:ResNet50": "pretrained",
    "my_networks:small": "custom",
}
SAVED_BEFORE = """format = 1
network = "compact"
image_size = 64
channels = 3
fit = "stretch"
filters = [32, 32, 64, 128, 256]
dense_units = 128
validation = 0.16
test = 0.0
label_from_name = false
max_refused = 0.05
batch_size = 64
optimizer = "muon"
learning_rate = 0.015
schedule = "one-cycle"
weight_decay = 0.0005
label_smoothing = 0.1
flip = true
shift = 0.1
sizes = [0.5, 0.75]
size_shares = [0.52, 0.26]
steps = 7
shrink = true
patience = 0
precision = "float32"
license = ""
seed = 3
"""
CHOICES = st.fixed_dictionaries(
    {"network": st.sampled_from(list(NETWORKS))},
    optional={
        "image_size": st.integers(32, 4096),
        "batch_size": st.integers(1, 65536),
        "learning_rate": st.floats(0, 10, exclude_min=True),
        "validation": st.floats(0.01, 0.9),
        "flip": st.booleans(),
        "patience": st.integers(0, 100),
        "seed": st.integers(0, 2**63 - 1),
    },
)
LENGTHS = st.one_of(
    st.tuples(st.sampled_from(["epochs", "steps"]), st.integers(1, 10**9)),
    st.tuples(st.just("budget"), st.floats(0, 1e9, exclude_min=True)),
    st.none(),
)


def read(text: str, tmp_path: Path) -> ResolvedRecipe:
    """The recipe of a run whose recipe.toml is `text`."""
    (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
    return ResolvedRecipe.from_file(tmp_path / "recipe.toml")


def test_classic_is_the_reference() -> None:
    """The choices of the reference system: a drift here would change what every number is compared with."""
    recipe = resolve(Recipe(network="classic"))
    assert (recipe.network, recipe.image_size, recipe.channels, recipe.fit) == ("classic", 128, 3, "stretch")
    assert (recipe.filters, recipe.dense_units, recipe.batch_size) == ((32, 32, 64), 128, 32)
    assert (recipe.learning_rate, recipe.validation, recipe.test, recipe.max_refused) == (1e-4, 0.16, 0.0, 0.05)
    assert (recipe.optimizer, recipe.schedule) == ("adam", "constant")
    assert (recipe.weight_decay, recipe.label_smoothing) == (0, 0)
    assert (recipe.flip, recipe.shift, recipe.sizes, recipe.size_shares) == (False, 0.0, (), ())


@pytest.mark.parametrize(("network", "kind"), NETWORKS.items())
def test_open_choices_get_the_defaults_of_the_network(network: str, kind: Kind) -> None:
    """What is open gets the default of that kind of network, its length included; nothing is left open."""
    recipe = resolve(Recipe(network=network))
    expected = {**COMMON_DEFAULTS, **DEFAULTS[kind], "network": network, "precision": "float32"}
    assert recipe.values() == {**expected, "epochs": DEFAULT_EPOCHS[kind]}
    assert recipe.kind == kind
    assert None not in asdict(recipe).values()


def test_choices_stay_when_the_network_changes() -> None:
    """A choice that equals the default of the network before is still a choice: it was ignored once."""
    choices = Recipe(network="compact", image_size=128, learning_rate=0.015).with_changes({"network": EFFICIENTNET})
    recipe = resolve(choices)
    assert (recipe.image_size, recipe.learning_rate) == (128, 0.015)
    assert recipe.batch_size == DEFAULTS["pretrained"]["batch_size"]


def test_auto_is_resolved_to_what_is_given() -> None:
    """The network and the precision; without a network a recipe that leaves it open cannot be complete."""
    recipe = resolve(Recipe(image_size=64), network="compact", precision="bfloat16")
    assert recipe == replace(resolve(Recipe(network="compact", image_size=64)), precision="bfloat16")
    assert resolve(Recipe(network=AUTO, precision="auto"), network="compact").precision == "float32"
    chosen = resolve(Recipe(network="classic", precision="float32"), network="compact", precision="bfloat16")
    assert (chosen.network, chosen.precision) == ("classic", "float32")
    with pytest.raises(RecipeError, match="a recipe without a network"):
        resolve(Recipe())
    with pytest.raises(RecipeError, match="epochs = 0"):
        resolve(Recipe(epochs=0), network="compact")


@pytest.mark.slow
@settings(max_examples=60)
@given(CHOICES, LENGTHS)
def test_a_complete_recipe_survives_being_saved(
    tmp_path_factory: pytest.TempPathFactory, choices: dict[str, Any], length: tuple[str, float] | None
) -> None:
    """Through TOML and back every value is what it was, to the last bit, and its length is in the file."""
    recipe = resolve(Recipe(**choices, **(dict([length]) if length else {})))
    text = recipe.to_toml()
    assert read(text, tmp_path_factory.mktemp("saved")) == recipe
    assert f"\n{recipe.length.unit} = " in text


def test_other_defaults_change_no_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A saved recipe stays the same when a later version has other defaults."""
    recipe = resolve(Recipe(network="compact"))
    monkeypatch.setattr(defaults, "DEFAULTS", {**DEFAULTS, "compact": {**DEFAULTS["compact"], "batch_size": 9}})
    monkeypatch.setattr(defaults, "COMMON_DEFAULTS", {**COMMON_DEFAULTS, "validation": 0.5})
    assert resolve(Recipe(network="compact")) != recipe
    assert read(recipe.to_toml(), tmp_path) == recipe


@pytest.mark.parametrize(
    ("network", "epochs"), [("classic", 20), ("compact", 20), (EFFICIENTNET, 3), ("my_networks:small", 20)]
)
def test_old_files_without_a_length_have_that_of_their_time(network: str, epochs: int, tmp_path: Path) -> None:
    """Before the length was saved these were the defaults: written out here, they are those whatever they are now."""
    assert read(f'network = "{network}"', tmp_path).length == Length("epochs", epochs)


def test_old_runs_open() -> None:
    """The recipe.toml of runs of the version before, stopped and finished, with nothing changed but the length."""
    expected = Recipe(
        network="classic", image_size=16, filters=(4, 4), dense_units=8, test=0.15, learning_rate=3e-3, weights="none"
    )
    for name, epochs in (("unfinished", 20), ("finished", 3)):
        recipe = ResolvedRecipe.from_file(OLD / name / "recipe.toml")
        assert recipe == resolve(expected.with_changes({"epochs": epochs}))


def test_runs_from_before_pretrained_networks_open(tmp_path: Path) -> None:
    """A recipe.toml without `weights` is one that trained from scratch."""
    expected = resolve(Recipe(network="compact", image_size=64, steps=7, seed=3))
    assert read(SAVED_BEFORE, tmp_path) == expected
    assert expected.weights == "none"


def test_a_recipe_that_is_not_complete_is_no_run(tmp_path: Path) -> None:
    """A recipe.toml without a network is refused, not completed with another guess."""
    with pytest.raises(RecipeError, match="a recipe without a network"):
        read("seed = 3", tmp_path)


@pytest.mark.parametrize(
    ("choices", "num_steps"),
    [
        ({"steps": 7}, 7),
        ({"epochs": 3}, 300),
        ({"network": EFFICIENTNET, "epochs": 0}, 0),
        ({}, 100 * DEFAULT_EPOCHS["compact"]),
        ({"budget": 60.0}, 0),
    ],
)
def test_length_in_steps(choices: dict[str, Any], num_steps: int) -> None:
    """Steps as chosen, or epochs times their steps, or the default; those of a budget have to be measured."""
    assert resolve(Recipe(**{"network": "compact", **choices})).length.num_steps(100) == num_steps


def test_a_measured_budget_becomes_steps() -> None:
    """It is the same recipe with a length in steps."""
    recipe = resolve(Recipe(network="compact", budget=600))
    assert recipe.length == Length("budget", 600.0)
    assert recipe.with_steps(123) == resolve(Recipe(network="compact", steps=123))


def test_it_is_frozen_and_checked() -> None:
    """A changed copy is checked as the recipe was, and the recipe itself cannot change."""
    recipe = resolve(Recipe(network="compact"))
    with pytest.raises(RecipeError, match="image_size = 15"):
        replace(recipe, image_size=15)
    with pytest.raises(FrozenInstanceError):
        recipe.seed = 1  # type: ignore[misc]
    assert {field.name for field in fields(ResolvedRecipe)} - {field.name for field in fields(Recipe)} == {"length"}
