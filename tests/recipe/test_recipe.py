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
    COMMON_DEFAULTS,
    EFFICIENTNET,
    MIN_IMAGE_SIZES,
    Kind,
    describe_networks,
)
from convscope.recipe.recipe import Recipe, field_types
from convscope.recipe.validation import Fit, Optimizer, PrecisionChoice, Schedule

NETWORKS: dict[str, Kind] = {
    "classic": "classic",
    "compact": "compact",
    EFFICIENTNET: "pretrained",
    "keras:ResNet50": "pretrained",
    "my_networks:small": "custom",
}
SHARES = st.floats(0, 1, exclude_min=True, exclude_max=True)


@st.composite
def lengths(draw: st.DrawFn, kind: Kind) -> dict[str, Any]:
    """A length of the training, in one of the units, as a kind of network allows."""
    least = 0 if kind == "pretrained" else 1
    units = {
        "epochs": st.integers(least, 10**6),
        "steps": st.integers(least, 10**9),
        "budget": st.floats(0, 1e9, exclude_min=True),
    }
    name = draw(st.sampled_from(["", *units]))
    return {name: draw(units[name])} if name else {}


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Any recipe that names its network."""
    network, kind = draw(st.sampled_from(list(NETWORKS.items())))
    is_compact = kind == "compact"
    num_filters = {"classic": (1, 6), "compact": (3, 6)}.get(kind, (0, 0))
    filters = draw(st.lists(st.integers(1, 65536), min_size=num_filters[0], max_size=num_filters[1]).map(tuple))
    least = 2 * MIN_IMAGE_SIZES[kind] if is_compact else max(MIN_IMAGE_SIZES[kind], 2 ** len(filters))
    validation = draw(SHARES)
    num_sizes = draw(st.integers(0, 3)) if is_compact else 0
    return Recipe(
        network=network,
        weights=draw(st.sampled_from(["imagenet", "none", "my weights.h5"])) if kind == "pretrained" else "none",
        image_size=draw(st.integers(least, 4096)),
        sizes=draw(st.lists(st.floats(0.5, 1), min_size=num_sizes, max_size=num_sizes).map(tuple)),
        size_shares=draw(st.lists(st.floats(0.01, 0.3), min_size=num_sizes, max_size=num_sizes).map(tuple)),
        optimizer=draw(st.sampled_from([name for name in get_args(Optimizer) if name != "muon" or is_compact])),
        precision=draw(st.sampled_from(get_args(PrecisionChoice))),
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


@pytest.mark.slow
@settings(max_examples=60)
@given(recipes())
def test_a_recipe_survives_being_saved(recipe: Recipe) -> None:
    """Through TOML and back every choice is what it was, to the last bit."""
    assert Recipe.from_toml(recipe.to_toml()) == recipe


def test_what_is_not_chosen_is_open() -> None:
    """An empty recipe chooses nothing, has no kind, and is an empty file; `auto` leaves the network open as well."""
    recipe = Recipe(batch_size=7)
    assert recipe.chosen() == {"batch_size": 7}
    assert (recipe.has_network, recipe.kind, recipe.image_size) == (False, None, None)
    assert recipe.to_toml() == "format = 1\nbatch_size = 7\n"
    assert Recipe.from_toml(recipe.to_toml()) == recipe == Recipe.from_toml("batch_size = 7")
    assert (Recipe(network=AUTO).has_network, Recipe(network=AUTO).kind) == (False, None)


@pytest.mark.parametrize(("network", "kind"), NETWORKS.items())
def test_choosing_a_network_leaves_all_other_choices(network: str, kind: Kind) -> None:
    """What was chosen stays, what was open stays open, whatever the defaults of the networks."""
    recipe = Recipe(seed=3, batch_size=7, epochs=5).with_changes({"network": network})
    assert recipe == Recipe(network=network, seed=3, batch_size=7, epochs=5)
    assert (recipe.has_network, recipe.kind) == (True, kind)
    assert recipe.with_changes({"network": None}) == Recipe(seed=3, batch_size=7, epochs=5)


def test_open_choices_suit_some_network() -> None:
    """Without a network a choice is refused only if none of the networks that `auto` chooses from takes it."""
    assert Recipe(filters=(8, 8, 8)).filters == (8, 8, 8)  # of `compact`
    assert Recipe(epochs=0).epochs == 0  # of a pretrained one
    assert refusal(filters=(8, 8, 8), epochs=0).found == "epochs = 0"
    assert refusal(filters=(8, 8)).found == "filters = (8, 8)"
    assert refusal(epochs=-1).found == "epochs = -1"
    assert refusal(channels=1, weights="imagenet").found == "weights = 'imagenet'"


def test_pretrained_networks_have_their_own_ranges() -> None:
    """Colour, 32 pixels, no filters; and no step at all, where the fitted head is the model."""
    assert Recipe(network=EFFICIENTNET, epochs=0).epochs == 0
    assert Recipe(network=EFFICIENTNET, steps=0).steps == 0
    assert Recipe(network=EFFICIENTNET, weights="none").weights == "none"
    assert "colour" in refusal(network=EFFICIENTNET, channels=1).expected
    assert refusal(network=EFFICIENTNET, image_size=31).expected.startswith("32 to 4096")
    assert refusal(network=EFFICIENTNET, filters=(8, 8, 8)).found.startswith("filters = ")
    assert refusal(network=EFFICIENTNET, sizes=(0.5,), size_shares=(0.5,)).found.startswith("sizes = ")
    assert refusal(network=EFFICIENTNET, optimizer="muon").found.startswith("optimizer = ")
    for network in ("classic", "compact", "my_networks:small"):
        assert "trained from scratch" in refusal(network=network, weights="imagenet").expected


def test_sizes_fit_their_shares_and_their_network() -> None:
    """As many shares as sizes, with a sum below 1, none too small; `classic` has one size only."""
    assert refusal(network="compact", image_size=31, sizes=(0.5, 0.75)).found.startswith("sizes = ")
    assert refusal(network="compact", image_size=15).found.startswith("image_size = ")
    assert refusal(network="compact", image_size=0).found.startswith("image_size = ")
    assert refusal(network="compact", sizes=(0.5, 1.5)).found.startswith("sizes = ")
    for shares in ((0.5,), (0.5, 0.5), (0.9, 0.0), (1.2, -0.4)):
        assert refusal(network="compact", size_shares=shares).found.startswith("size_shares = ")
    assert "none but for `compact`" in refusal(network="classic", sizes=(0.5,), size_shares=(0.5,)).expected
    assert refusal(network="compact", filters=(8, 8)).found.startswith("filters = ")
    assert "`muon` is for `compact`" in refusal(network="classic", optimizer="muon").expected


def test_every_choice_has_a_help_text_and_a_default() -> None:
    """Flags and pages are made from these; the default is None where it follows the network, or there is none."""
    for field in dataclasses.fields(Recipe):
        assert len(field.metadata["help"]) > 5
        assert field.metadata["default"] == COMMON_DEFAULTS.get(field.name)
    assert field_types()["image_size"] is int
    assert field_types()["fit"] == Fit


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
    """From a file and from flags."""
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
        ({"network": "resnet"}, describe_networks()),
        ({"network": "keras:"}, describe_networks()),
        ({"network": "my file.py:small"}, describe_networks()),
        ({"network": ":"}, describe_networks()),
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
    """Nothing is converted silently: the error names the field, its value and what is expected."""
    error = refusal(**choices)
    (name,) = choices
    assert error.found.startswith(f"{name} = ")
    assert error.expected == expected
    assert error.fix == f"change `{name}`"


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


def test_choices_have_exact_types() -> None:
    """Whole numbers pass for floats, lists for tuples, and NumPy's numbers, as a notebook has them, for Python's."""
    recipe = Recipe(learning_rate=1, filters=[np.int64(4), 8, 9], batch_size=np.int32(5), validation=np.float32(0.5))  # type: ignore[arg-type]
    expected = {"filters": (4, 8, 9), "validation": 0.5, "batch_size": 5, "learning_rate": 1.0}
    assert repr(recipe.chosen()) == repr(expected)  # 1 and 1.0 differ
    assert Recipe.from_toml(recipe.to_toml()).chosen() == expected


def test_steps_and_epochs_exclude_each_other() -> None:
    """Both at once is an error, from a file too; setting one of them over a recipe unsets the other."""
    assert "`epochs` and `steps`" in refusal(epochs=1, steps=1).found
    in_steps = Recipe(epochs=3).with_changes({"steps": 7})
    assert (in_steps.steps, in_steps.epochs) == (7, None)
    in_epochs = in_steps.with_changes({"epochs": 2})
    assert (in_epochs.steps, in_epochs.epochs) == (None, 2)
    assert in_steps.with_changes({"seed": 1}).steps == 7
    in_seconds = in_steps.with_changes({"budget": 600})
    assert (in_seconds.steps, in_seconds.epochs, in_seconds.budget) == (None, None, 600.0)
    assert "`epochs` and `budget`" in refusal(epochs=1, budget=60.0).found
    with pytest.raises(RecipeError):
        Recipe().with_changes({"epochs": 1, "steps": 1})


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


@pytest.mark.slow
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
