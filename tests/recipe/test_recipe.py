"""Recipe: every choice is checked at birth, named when it is wrong, and survives being saved."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.errors import RecipeError
from convscope.recipe.defaults import (
    AUTO,
    DEFAULT_EPOCHS,
    DEFAULTS,
    EFFICIENTNET,
    LEAST_SIZES,
    Kind,
    kind_of,
    names_of_networks,
)
from convscope.recipe.recipe import Fit, Optimizer, Precision, Recipe, Schedule

NETWORKS: dict[str, Kind] = {
    "classic": "classic",
    "compact": "compact",
    EFFICIENTNET: "pretrained",
    "keras:ResNet50": "pretrained",
    "my_networks:small": "own",
}
SHARES = st.floats(0, 1, exclude_min=True, exclude_max=True)
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


@st.composite
def lengths(draw: st.DrawFn, kind: Kind) -> dict[str, Any]:
    """How long to train, in one of the ways that a kind of network allows."""
    least = 0 if kind == "pretrained" else 1
    ways = {
        "epochs": st.integers(least, 10**6),
        "steps": st.integers(least, 10**9),
        "budget": st.floats(0, 1e9, exclude_min=True),
    }
    name = draw(st.sampled_from(["", *ways]))
    return {name: draw(ways[name])} if name else {}


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Any recipe whose network is said."""
    network, kind = draw(st.sampled_from(list(NETWORKS.items())))
    is_compact = kind == "compact"
    num_filters = {"classic": (1, 6), "compact": (3, 6)}.get(kind, (0, 0))
    filters = draw(st.lists(st.integers(1, 65536), min_size=num_filters[0], max_size=num_filters[1]).map(tuple))
    least = 2 * LEAST_SIZES[kind] if is_compact else max(LEAST_SIZES[kind], 2 ** len(filters))
    validation = draw(SHARES)
    num_sizes = draw(st.integers(0, 3)) if is_compact else 0
    return Recipe(
        network=network,
        weights=draw(st.sampled_from(["imagenet", "none", "my weights.h5"])) if kind == "pretrained" else "none",
        image_size=draw(st.integers(least, 4096)),
        sizes=draw(st.lists(st.floats(0.5, 1), min_size=num_sizes, max_size=num_sizes)),
        size_shares=draw(st.lists(st.floats(0.01, 0.3), min_size=num_sizes, max_size=num_sizes)),
        optimizer=draw(st.sampled_from([each for each in get_args(Optimizer) if each != "muon" or is_compact])),
        precision=draw(st.sampled_from(get_args(Precision))),
        schedule=draw(st.sampled_from(get_args(Schedule))),
        weight_decay=draw(st.floats(0, 1)),
        label_smoothing=draw(st.floats(0, 1, exclude_max=True)),
        flip=draw(st.booleans()),
        zoom=draw(st.floats(0, 0.95)),
        shift=draw(st.floats(0, 0.5)),
        erase=draw(st.floats(0, 0.95)),
        channels=3 if kind == "pretrained" else draw(st.sampled_from([1, 3])),
        fit=draw(st.sampled_from(get_args(Fit))),
        filters=filters,
        dense_units=draw(st.integers(1, 65536)),
        validation=validation,
        test=draw(st.floats(0, 1 - validation, exclude_max=True)),
        label_from_name=draw(st.booleans()),
        max_refused=draw(st.floats(0, 1)),
        batch_size=draw(st.integers(1, 65536)),
        learning_rate=draw(st.floats(0, 10, exclude_min=True)),
        patience=draw(st.integers(0, 10**6)),
        seed=draw(st.integers(0, 2**63 - 1)),
        **draw(lengths(kind)),
    )


def refusal(**choices: Any) -> RecipeError:
    """The error that choices end with."""
    with pytest.raises(RecipeError) as caught:
        Recipe(**choices)
    return caught.value


@settings(max_examples=60)
@given(recipes())
def test_a_recipe_survives_being_saved(recipe: Recipe) -> None:
    """Through TOML and back every choice is what it was, to the last bit."""
    assert Recipe.from_toml(recipe.to_toml()) == recipe


def test_classic_is_the_reference() -> None:
    """The choices of the reference system: a drift here would change what every number is compared with."""
    recipe = Recipe(network="classic")
    assert (recipe.network, recipe.image_size, recipe.channels, recipe.fit) == ("classic", 128, 3, "stretch")
    assert (recipe.filters, recipe.dense_units, recipe.batch_size) == ((32, 32, 64), 128, 32)
    assert (recipe.learning_rate, recipe.validation, recipe.test, recipe.max_refused) == (1e-4, 0.16, 0.0, 0.05)
    assert (recipe.optimizer, recipe.schedule, recipe.weight_decay, recipe.label_smoothing) == (
        "adam",
        "constant",
        0,
        0,
    )
    assert (recipe.flip, recipe.shift, recipe.sizes, recipe.size_shares) == (False, 0.0, (), ())


@pytest.mark.parametrize(("network", "kind"), NETWORKS.items())
def test_each_network_has_its_own_defaults(network: str, kind: Kind) -> None:
    """What is not said is what an expert would choose for that network; what is said stays, also in a file."""
    recipe = Recipe(network=network)
    assert recipe.kind == kind
    assert {name: getattr(recipe, name) for name in DEFAULTS[kind]} == DEFAULTS[kind]
    assert Recipe.from_toml(f'network = "{network}"') == recipe
    said = Recipe(network=network, batch_size=7, flip=False, learning_rate=0.5)
    assert (said.batch_size, said.flip, said.learning_rate) == (7, False, 0.5)
    assert said.filters == DEFAULTS[kind]["filters"]


def test_by_default_the_network_is_chosen_later() -> None:
    """Until then what a network would choose is open, has no kind, and stands in no file; what is said is there."""
    recipe = Recipe(batch_size=7)
    assert recipe.network == AUTO
    assert kind_of(recipe.network) is None
    with pytest.raises(ValueError, match="auto"):
        _ = recipe.kind
    assert recipe.said("batch_size") == 7
    assert {recipe.said(name) for name in DEFAULTS["compact"] if name not in ("batch_size", "weights")} == {None}
    assert "image_size" not in recipe.to_toml()
    assert Recipe.from_toml(recipe.to_toml()) == recipe == Recipe.from_toml("batch_size = 7")


@pytest.mark.parametrize(("network", "kind"), NETWORKS.items())
def test_choosing_the_network_fills_in_what_was_open(network: str, kind: Kind) -> None:
    """It is the recipe that saying the network from the start makes; what was said stays, and `auto` opens it again."""
    chosen = Recipe(seed=3, batch_size=7, epochs=5).with_changes({"network": network})
    assert chosen == Recipe(network=network, seed=3, batch_size=7, epochs=5)
    assert chosen.kind == kind
    assert chosen.with_changes({"network": AUTO}) == Recipe(seed=3, batch_size=7, epochs=5)


def test_open_choices_suit_some_network() -> None:
    """With `auto` a choice is refused where none of the networks that may be chosen takes it, not before."""
    assert Recipe(filters=(8, 8, 8)).filters == (8, 8, 8)  # of `compact`
    assert Recipe(epochs=0).epochs == 0  # of a pretrained one
    assert refusal(filters=(8, 8, 8), epochs=0).found == "epochs = 0"
    assert refusal(filters=(8, 8)).found == "filters = (8, 8)"
    assert refusal(epochs=-1).found == "epochs = -1"
    assert refusal(channels=1, weights="imagenet").found == "weights = 'imagenet'"


def test_pretrained_networks_take_what_they_were_made_for() -> None:
    """Colour, 32 pixels, no filters of their own; and they may learn their head alone."""
    assert Recipe(network=EFFICIENTNET, epochs=0).num_steps(100) == 0
    assert Recipe(network=EFFICIENTNET, steps=0).num_steps(100) == 0
    assert Recipe(network=EFFICIENTNET, weights="none").weights == "none"
    assert "colour" in refusal(network=EFFICIENTNET, channels=1).expected
    assert refusal(network=EFFICIENTNET, image_size=31).expected.startswith("32 to 4096")
    assert refusal(network=EFFICIENTNET, filters=(8, 8, 8)).found.startswith("filters = ")
    assert refusal(network=EFFICIENTNET, sizes=(0.5,), size_shares=(0.5,)).found.startswith("sizes = ")
    assert refusal(network=EFFICIENTNET, optimizer="muon").found.startswith("optimizer = ")
    for network in ("classic", "compact", "my_networks:small"):
        assert "learns from scratch" in refusal(network=network, weights="imagenet").expected


def test_recipes_of_runs_before_pretrained_networks_still_load() -> None:
    """A recipe.toml that says nothing of weights is the one that it was."""
    expected = Recipe(network="compact", image_size=64, steps=7, precision="float32", seed=3)
    assert Recipe.from_toml(SAVED_BEFORE) == expected
    assert expected.weights == "none"


def test_defaults_follow_the_network() -> None:
    """Another network over a recipe brings its own defaults; what was chosen otherwise, or is chosen now, stays."""
    changed = Recipe(network="classic", seed=3, learning_rate=0.5).with_changes({"network": "compact", "batch_size": 7})
    assert changed == Recipe(network="compact", seed=3, learning_rate=0.5, batch_size=7)
    back = Recipe(network="classic", seed=3, learning_rate=0.5, batch_size=7)
    assert changed.with_changes({"network": "classic"}) == back
    assert changed.with_changes({"network": "compact", "seed": 4}).batch_size == 7


def test_sizes_fit_their_shares_and_their_network() -> None:
    """As many shares as sizes, together below the whole, none too small to see; `classic` has one size only."""
    assert Recipe(network="compact", image_size=32).sizes == (0.5, 0.75)  # 16 pixels are the least
    assert Recipe(network="compact", image_size=31).sizes == ()  # so small images have one size, unless others are said
    assert Recipe(network="compact", image_size=31).size_shares == ()
    assert refusal(network="compact", image_size=31, sizes=(0.5, 0.75)).found.startswith("sizes = ")
    assert refusal(network="compact", image_size=15).found.startswith("image_size = ")
    assert refusal(network="compact", image_size=0).found.startswith("image_size = ")
    assert refusal(network="compact", sizes=(0.5, 1.5)).found.startswith("sizes = ")
    for shares in ((0.5,), (0.5, 0.5), (0.9, 0.0), (1.2, -0.4)):
        assert refusal(network="compact", size_shares=shares).found.startswith("size_shares = ")
    assert "none but for `compact`" in refusal(network="classic", sizes=(0.5,), size_shares=(0.5,)).expected
    assert refusal(network="compact", filters=(8, 8)).found.startswith("filters = ")
    assert "`muon` is for `compact`" in refusal(network="classic", optimizer="muon").expected


def test_every_choice_explains_itself() -> None:
    """Each field has a help text, from which flags and pages are made."""
    for field in dataclasses.fields(Recipe):
        assert len(field.metadata["help"]) > 10


def test_a_recipe_cannot_be_changed() -> None:
    """It is frozen: what a run was started with stays what it was."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("imagesize", "image_size"),
        ("image-size", "image_size"),
        ("size", "sizes"),
        ("epoch", "epochs"),
        ("batchsize", "batch_size"),
        ("learn_rate", "learning_rate"),
        ("validaton", "validation"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, near: str) -> None:
    """From a file and from flags alike."""
    for make in (lambda: Recipe.from_toml(f"{key} = 3"), lambda: Recipe().with_changes({key: 3})):
        with pytest.raises(RecipeError) as caught:
            make()
        assert caught.value.found == f"an unknown key `{key}`"
        assert caught.value.fix == f"did you mean `{near}`?"


def test_a_key_like_no_other_names_them_all() -> None:
    """Where nothing is near, the keys are listed."""
    with pytest.raises(RecipeError) as caught:
        Recipe.from_toml("zzz = 1")
    assert all(field.name in caught.value.fix for field in dataclasses.fields(Recipe))


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({"network": "resnet"}, names_of_networks()),
        ({"network": "keras:"}, names_of_networks()),
        ({"network": "my file.py:small"}, names_of_networks()),
        ({"network": ":"}, names_of_networks()),
        ({"network": 1}, "text"),
        ({"weights": 1}, "text"),
        ({"license": 1}, "text"),
        ({"fit": "squash"}, "`stretch` or `pad` or `crop`"),
        ({"image_size": "128"}, "a whole number"),
        ({"image_size": 128.0}, "a whole number"),
        ({"image_size": True}, "a whole number"),
        ({"epochs": 1.5}, "a whole number"),
        ({"learning_rate": "1e-4"}, "a number"),
        ({"learning_rate": False}, "a number"),
        ({"learning_rate": 10**400}, "a number"),
        ({"label_from_name": 1}, "true or false"),
        ({"label_from_name": "yes"}, "true or false"),
        ({"filters": 32}, "a list of whole numbers"),
        ({"filters": "32"}, "a list of whole numbers"),
        ({"filters": [32, 1.5]}, "a whole number"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(choices: dict[str, Any], expected: str) -> None:
    """Nothing is bent quietly: the value, what is expected, and the flag are named."""
    error = refusal(**choices)
    (name,) = choices
    assert error.found.startswith(f"{name} = ")
    assert error.expected == expected
    assert f"--{name.replace('_', '-')}" in error.fix


@pytest.mark.parametrize(
    ("name", "best", "worst"),
    [
        ("image_size", [16, 4096], [15, 0, -1, 4097]),
        ("channels", [1, 3], [0, 2, 4]),
        ("filters", [(1,) * 3, (65536,) * 3], [(), (8, 8), (0,) * 3, (65537,) * 3, (-1,) * 3]),
        ("dense_units", [1, 65536], [0, 65537]),
        ("validation", [0.001, 0.999], [0, 1, -0.1, float("nan"), float("inf")]),
        ("test", [0, 0.83], [0.84, 1, -0.1, float("nan")]),
        ("max_refused", [0, 1], [-0.01, 1.01, float("nan")]),
        ("batch_size", [1, 65536], [0, 65537]),
        ("learning_rate", [1e-12, 10], [0, -1e-4, 10.1, float("nan"), float("inf")]),
        ("epochs", [1, None], [0, -1]),
        ("steps", [1, None], [0, -1]),
        ("budget", [0.001, 1e9, None], [0, -1, float("nan"), float("inf")]),
        ("weight_decay", [0, 1], [-0.1, 1.1, float("nan")]),
        ("label_smoothing", [0, 0.999], [-0.1, 1, float("nan")]),
        ("zoom", [0, 0.95], [-0.1, 0.96, float("nan")]),
        ("shift", [0, 0.5], [-0.1, 0.51, float("nan")]),
        ("erase", [0, 0.95], [-0.1, 0.96, float("nan")]),
        ("patience", [0], [-1]),
        ("seed", [0, 2**63 - 1], [-1, 2**63]),
    ],
)
def test_each_range_ends_where_it_says(name: str, best: list[Any], worst: list[Any]) -> None:
    """The last values that are allowed are, and the first that are not are refused by name."""
    for value in best:
        assert getattr(Recipe(network="compact", **{name: value}), name) == value
        assert getattr(Recipe(**{name: value}), name) == value
    for value in worst:
        assert refusal(network="compact", **{name: value}).found.startswith(f"{name} = ")
    for value in worst[name in ("epochs", "steps", "filters") :]:  # 0, 0 and none suit one that `auto` may choose
        assert refusal(**{name: value}).found.startswith(f"{name} = ")


def test_an_image_has_room_for_every_halving() -> None:
    """Each block of `classic` halves the image: 8 blocks need 256 pixels."""
    assert Recipe(network="classic", filters=(8,) * 8, image_size=256).image_size == 256
    assert refusal(network="classic", filters=(8,) * 8, image_size=255).expected.startswith("256 to 4096")


def test_numbers_are_made_exact() -> None:
    """Whole numbers pass for floats, lists for tuples, and NumPy's numbers, as a notebook has them, for Python's."""
    recipe = Recipe(learning_rate=1, filters=[np.int64(4), 8, 9], batch_size=np.int32(5), validation=np.float32(0.5))
    values = (recipe.learning_rate, *recipe.filters, recipe.batch_size, recipe.validation)
    assert values == (1.0, 4, 8, 9, 5, 0.5)
    assert [type(value) for value in values] == [float, int, int, int, int, float]
    assert Recipe.from_toml(recipe.to_toml()) == recipe


def test_steps_and_epochs_exclude_each_other() -> None:
    """Both at once is an error, from a file too; setting one of them over a recipe unsets the other."""
    assert "`epochs` and `steps`" in refusal(epochs=1, steps=1).found
    by_steps = Recipe(epochs=3).with_changes({"steps": 7})
    assert (by_steps.steps, by_steps.epochs) == (7, None)
    by_epochs = by_steps.with_changes({"epochs": 2})
    assert (by_epochs.steps, by_epochs.epochs) == (None, 2)
    assert by_steps.with_changes({"seed": 1}).steps == 7
    by_budget = by_steps.with_changes({"budget": 600})
    assert (by_budget.steps, by_budget.epochs, by_budget.budget) == (None, None, 600.0)
    assert "`epochs` and `budget`" in refusal(epochs=1, budget=60.0).found
    with pytest.raises(RecipeError):
        Recipe().with_changes({"epochs": 1, "steps": 1})


def test_how_long_training_is() -> None:
    """Steps as said, or epochs times their steps, or the default."""
    for network, kind in NETWORKS.items():
        assert Recipe(network=network, steps=7).num_steps(100) == 7
        assert Recipe(network=network, epochs=3).num_steps(100) == 300
        assert Recipe(network=network).num_steps(100) == 100 * DEFAULT_EPOCHS[kind]


WORDS = [field.name for field in dataclasses.fields(Recipe)]
WORDS += [
    " = ",
    "\n",
    "3",
    "0.5",
    "1e9",
    "nan",
    "-1",
    "true",
    "[8, 8]",
    "[",
    "]",
    '"classic"',
    '"auto"',
    '"keras:ResNet50"',
    "weights",
    "{}",
    "#",
    ".",
    "format",
]


@settings(max_examples=150)
@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from(WORDS), max_size=9).map("".join)
    | st.tuples(st.sampled_from(WORDS[:15]), st.sampled_from(WORDS[17:])).map(" = ".join)
    | st.sampled_from(["seed = " + "9" * 5000, "format = 2", "format = 'x'"])
)
def test_any_text_is_a_recipe_or_an_error_of_its_own(text: str) -> None:
    """Whatever a file holds, reading it ends with a recipe or with a RecipeError."""
    try:
        recipe = Recipe.from_toml(text)
    except RecipeError:
        return
    assert isinstance(recipe, Recipe)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, not UTF-8, not TOML, or of a later format."""
    (tmp_path / "latin.toml").write_bytes("# café".encode("latin-1"))
    for name in ("gone.toml", ".", "latin.toml"):
        with pytest.raises(RecipeError, match="cannot be read"):
            Recipe.from_file(tmp_path / name)
    for text, found in (("seed : 1", "not TOML"), ("format = 2", "a recipe of format 2")):
        (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
        with pytest.raises(RecipeError, match=rf"recipe\.toml: {found}"):
            Recipe.from_file(tmp_path / "recipe.toml")
    (tmp_path / "recipe.toml").write_text("seed = 3\nfilters = [8, 8, 9]\n", encoding="utf-8")
    assert Recipe.from_file(tmp_path / "recipe.toml") == Recipe(seed=3, filters=(8, 8, 9))
