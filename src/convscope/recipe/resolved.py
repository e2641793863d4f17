"""ResolvedRecipe: a recipe that is complete, as a run is started with and saves it.

`resolve` makes it once from the choices and what is known of the images. It is saved with every value in it, so that a
default that changes later never changes how a run is resumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from convscope.errors import RecipeError
from convscope.recipe.defaults import AUTO, DEFAULT_EPOCHS, Kind, complete, kind_of
from convscope.recipe.recipe import Recipe
from convscope.recipe.toml import format_toml
from convscope.recipe.validation import LENGTHS, Fit, LengthUnit, Optimizer, Precision, Schedule, check_values

# a recipe.toml in which no length was saved is from a time when these were the defaults
OLD_DEFAULT_EPOCHS: Mapping[Kind, int] = {"classic": 20, "compact": 20, "pretrained": 3, "custom": 20}


@dataclass(frozen=True, slots=True)
class Length:
    """How long to train: so many epochs or optimisation steps, or the steps that fit into a budget of seconds."""

    unit: LengthUnit
    amount: float

    def num_steps(self, steps_per_epoch: int) -> int:
        """How many optimisation steps it is in all; 0 for a budget, whose steps are not measured yet."""
        if self.unit == "budget":
            return 0
        return int(self.amount) * (steps_per_epoch if self.unit == "epochs" else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRecipe:
    """Everything that shapes a model, by the names of `Recipe`'s fields, of which `length` replaces three.

    Raises:
        RecipeError: a value is out of its range, or does not suit the network.
    """

    network: str
    weights: str
    image_size: int
    channels: int
    fit: Fit
    filters: tuple[int, ...]
    dense_units: int
    validation: float
    test: float
    label_from_name: bool
    max_refused: float
    batch_size: int
    optimizer: Optimizer
    learning_rate: float
    schedule: Schedule
    weight_decay: float
    label_smoothing: float
    zoom: float
    flip: bool
    shift: float
    erase: float
    sizes: tuple[float, ...]
    size_shares: tuple[float, ...]
    length: Length
    shrink: bool
    patience: int
    precision: Precision
    license: str
    seed: int

    def __post_init__(self) -> None:
        check_values(self.values())

    @property
    def kind(self) -> Kind:
        """The kind of the network."""
        return kind_of(self.network)

    def values(self) -> dict[str, Any]:
        """Every value by the name of its field in `Recipe`: the length is one of `epochs`, `steps` and `budget`."""
        values = asdict(self) | {self.length.unit: self.length.amount}
        return {choice.name: values[choice.name] for choice in fields(Recipe) if choice.name in values}

    def with_steps(self, num_steps: int) -> Self:
        """This recipe with a length of so many optimisation steps."""
        return replace(self, length=Length("steps", num_steps))

    def to_toml(self) -> str:
        """Every value as TOML."""
        return format_toml(self.values())

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read the recipe.toml of a run; one of an earlier version gets the default length of its time.

        Raises:
            RecipeError: the file cannot be read, or its recipe is not complete.
        """
        choices = Recipe.from_file(path)
        if choices.kind is not None and not choices.chosen().keys() & set(LENGTHS):
            choices = choices.with_changes({"epochs": OLD_DEFAULT_EPOCHS[choices.kind]})
        return cls(**_complete(choices))


def resolve(choices: Recipe, *, network: str | None = None, precision: Precision = "float32") -> ResolvedRecipe:
    """Complete a recipe: the network, the defaults of its kind, and the length.

    Args:
        choices: what was chosen.
        network: the network that `auto` stands for; needed where `choices` leave it open.
        precision: what the precision `auto` stands for on this machine.

    Raises:
        RecipeError: there is no network, or a choice does not suit it.
    """
    return ResolvedRecipe(**_complete(choices, network=network, precision=precision))


def _complete(choices: Recipe, *, network: str | None = None, precision: Precision = "float32") -> dict[str, Any]:
    """The values of a `ResolvedRecipe`, by name."""
    chosen = choices.chosen()
    network = chosen["network"] if choices.has_network else network
    if network is None:
        raise RecipeError(
            found="a recipe without a network",
            expected="one that names its network",
            fix=f"choose one: `network` is `{AUTO}` only until the images are known",
        )
    values = complete(chosen, network=network)
    lengths = [Length(name, values.pop(name)) for name in LENGTHS if name in values]
    if values["precision"] == AUTO:
        values["precision"] = precision
    return {**values, "length": lengths[0] if lengths else Length("epochs", DEFAULT_EPOCHS[kind_of(network)])}
