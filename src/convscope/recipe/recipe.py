"""Recipe: the user's choices, frozen and validated when it is made; what was not chosen is None.

`resolve` (recipe/resolved.py) completes it. A recipe is read from TOML, its fields are the flags of the command line,
and `Recipe.from_toml(recipe.to_toml()) == recipe` holds for every recipe.
"""

from __future__ import annotations

import difflib
import functools
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from convscope.errors import RecipeError
from convscope.recipe.defaults import (
    AUTO,
    COMMON_DEFAULTS,
    DEFAULT_EPOCHS,
    EFFICIENTNET,
    Kind,
    complete,
    describe_networks,
    kind_of,
)
from convscope.recipe.toml import format_toml, parse_toml
from convscope.recipe.validation import (
    LENGTHS,
    Fit,
    Optimizer,
    PrecisionChoice,
    Schedule,
    as_type,
    check_values,
    without_none,
    wrong_value,
)


def _choice(name: str, help: str) -> Any:
    """A field that may be left open; `metadata` has its help text and, where all networks share one, its default."""
    return field(default=None, metadata={"help": help, "default": COMMON_DEFAULTS.get(name)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The choices that shape a model; None where a choice is left to convscope.

    Lists pass for tuples, whole numbers for floats, and NumPy's numbers for Python's.

    Example:
        >>> Recipe(network="compact", image_size=64, steps=1000).image_size
        64
        >>> Recipe().image_size is None
        True

    Raises:
        RecipeError: a value is of the wrong type or out of its range, or two choices exclude each other.
    """

    network: str | None = _choice("network", f"the network: {describe_networks()}")
    weights: str | None = _choice(
        "weights", "initial weights of a pretrained network: `imagenet`, `none`, or a file of Keras weights"
    )
    image_size: int | None = _choice("image_size", "side of the square that every image is fitted to, in pixels")
    channels: int | None = _choice("channels", "3 for colour, 1 for grey")
    fit: Fit | None = _choice(
        "fit", "how an image becomes square: `stretch` it, `pad` it with white, or `crop` its middle"
    )
    filters: tuple[int, ...] | None = _choice(
        "filters", "filters of each block of `classic`; of stem, stages and last block of `compact`"
    )
    dense_units: int | None = _choice("dense_units", "units of the hidden dense layer of `classic`")
    validation: float | None = _choice("validation", "share of the images held out to validate with while training")
    test: float | None = _choice("test", "share of the images held out for testing, unused while training")
    label_from_name: bool | None = _choice(
        "label_from_name", "take the class from the file's name: `cat.0.jpg` is a cat"
    )
    max_refused: float | None = _choice(
        "max_refused", "largest share of refused images with which training still starts"
    )
    batch_size: int | None = _choice("batch_size", "images per optimisation step")
    optimizer: Optimizer | None = _choice(
        "optimizer", "`adam`, `lamb`, `sgd` with Nesterov momentum 0.9, or `muon` (for `compact`)"
    )
    learning_rate: float | None = _choice("learning_rate", "the learning rate; with `one-cycle` its peak")
    schedule: Schedule | None = _choice(
        "schedule", "learning rate schedule: `constant`, or `one-cycle`: linear warm-up, then linear decay to 0"
    )
    weight_decay: float | None = _choice(
        "weight_decay",
        "weight decay of kernels, times the learning rate: added to the gradient (`sgd`) or to the update (`lamb`);"
        " with `muon` for dense kernels only, with `adam` for none",
    )
    label_smoothing: float | None = _choice("label_smoothing", "label smoothing factor")
    zoom: float | None = _choice("zoom", "random resized crops that cut away up to this share of the area")
    flip: bool | None = _choice("flip", "flip each image horizontally in every other epoch")
    shift: float | None = _choice("shift", "shift images at random by up to this share of their side")
    erase: float | None = _choice("erase", "random erasing of a rectangle of up to this share of the area")
    sizes: tuple[float, ...] | None = _choice(
        "sizes", "progressive resizing: smaller sizes to start with, as shares of the image size"
    )
    size_shares: tuple[float, ...] | None = _choice("size_shares", "share of the steps at each of the smaller sizes")
    epochs: int | None = _choice(
        "epochs",
        f"passes over the training images, in full batches (default {DEFAULT_EPOCHS['compact']}, pretrained"
        f" {DEFAULT_EPOCHS['pretrained']}, unless steps are set; 0 fits the head alone, of pretrained networks)",
    )
    steps: int | None = _choice("steps", "optimisation steps, in place of epochs")
    budget: float | None = _choice("budget", "time to train in, in place of epochs: `10m`, `25s`, `1h`, or seconds")
    shrink: bool | None = _choice("shrink", "resize images smaller where the budget is too short for the full size")
    patience: int | None = _choice(
        "patience",
        "early stopping: epochs without a lower validation loss until training stops and the best weights are"
        " restored; 0: never",
    )
    precision: PrecisionChoice | None = _choice(
        "precision", "of the activations while training; `auto`: bfloat16 where that is faster"
    )
    license: str | None = _choice("license", "licence of the model, for its metadata")
    seed: int | None = _choice("seed", "seed of everything that is drawn at random: split, initial weights, order")

    def __post_init__(self) -> None:
        chosen = self.chosen()
        lengths = [name for name in LENGTHS if name in chosen]
        if len(lengths) > 1:
            raise RecipeError(
                found=" and ".join(f"`{name}`" for name in lengths), expected="one of them", fix="leave one out"
            )
        if self.has_network:
            _check_network_name(chosen["network"])
            check_values(complete(chosen, network=chosen["network"]))
        else:
            _check_open(chosen)

    @property
    def has_network(self) -> bool:
        """Whether a network was chosen, so that none is left to choose for the images."""
        return self.network not in (None, AUTO)

    @property
    def kind(self) -> Kind | None:
        """The kind of the network; None where it is left open."""
        return kind_of(self.network) if self.network is not None and self.has_network else None

    def chosen(self) -> dict[str, Any]:
        """The choices that were made, by field, each as the exact type of its field."""
        kinds = field_types()
        values = {choice.name: getattr(self, choice.name) for choice in fields(self)}
        return {name: as_type(name, value, kinds[name]) for name, value in values.items() if value is not None}

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read a recipe; an unknown key is an error that names the nearest one."""
        return cls().with_changes(parse_toml(text))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a recipe from a TOML file in UTF-8."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(
                found=f"{path} cannot be read: {error}", expected="a TOML file in UTF-8", fix="check the path"
            ) from None
        try:
            return cls.from_toml(text)
        except RecipeError as error:
            raise RecipeError(found=f"{path}: {error.found}", expected=error.expected, fix=error.fix) from None

    def to_toml(self) -> str:
        """The choices that were made as TOML, in the order of the fields."""
        return format_toml(self.chosen())

    def with_changes(self, changes: Mapping[str, Any]) -> Self:
        """This recipe with some choices changed; setting one of `epochs`, `steps` and `budget` unsets the others.

        Args:
            changes: values by field; None opens a choice again.

        Raises:
            RecipeError: a name is not that of a field, or a value is not valid.
        """
        kinds = _check_names(changes)
        exact = {name: value if value is None else as_type(name, value, kinds[name]) for name, value in changes.items()}
        if any(exact.get(name) is not None for name in LENGTHS):
            exact = dict.fromkeys(LENGTHS) | exact
        return replace(self, **exact)


@functools.cache
def field_types() -> dict[str, Any]:
    """The type of each field's value, without the None of a choice that is left open."""
    return {name: without_none(annotation) for name, annotation in typing.get_type_hints(Recipe).items()}


def _check_names(table: Mapping[str, Any]) -> dict[str, Any]:
    """The types of the fields, when every key of `table` names one of them."""
    kinds = field_types()
    for key in table:
        if key not in kinds:
            near = difflib.get_close_matches(key, kinds, n=1, cutoff=0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"the keys are {', '.join(kinds)}"
            raise RecipeError(found=f"an unknown key `{key}`", expected="a key of the recipe", fix=hint)
    return kinds


def _check_network_name(network: str) -> None:
    try:
        kind_of(network)
    except ValueError:
        raise wrong_value("network", network, describe_networks()) from None


def _check_open(chosen: Mapping[str, Any]) -> None:
    """Check that the choices suit one of the networks that `auto` chooses from."""
    try:
        check_values(complete(chosen, network="compact"))
    except RecipeError as error:
        try:
            check_values(complete(chosen, network=EFFICIENTNET))
        except RecipeError:
            raise error from None
