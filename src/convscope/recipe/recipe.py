"""Recipe: every choice that shapes a model, in one frozen value that is checked at birth and saved with the result.

A recipe is read from TOML, may be overruled field by field (the command line's flags are its fields), and
`Recipe.from_toml(recipe.to_toml()) == recipe` holds for every recipe.
"""

from __future__ import annotations

import difflib
import math
import numbers
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from convscope.errors import MissingExtra, RecipeError
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

FORMAT = 1
SIZES = ("sizes", "size_shares")
LENGTHS = ("epochs", "steps", "budget")  # how long to train is said in one of these
NUMBERS = {int: numbers.Integral, float: numbers.Real}

Fit = Literal["stretch", "pad", "crop"]
Optimizer = Literal["adam", "lamb", "sgd", "muon"]
Precision = Literal["auto", "float32", "bfloat16"]
Schedule = Literal["constant", "one-cycle"]


def _says(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


def _by_network(help: str) -> Any:
    return _says(None, help)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Every choice that shapes a model.

    With the network `auto` what was not said stays None, until the images are known and a network is chosen.

    Raises:
        RecipeError: a value is of the wrong type or out of its range, or two choices exclude each other.
    """

    network: str = _says(AUTO, f"the network: {names_of_networks()}")
    weights: str = _by_network(
        "what a network of others starts from: `imagenet`, `none`, or a file with Keras's weights"
    )
    image_size: int = _by_network("side of the square that every image is fitted to, in pixels")
    channels: int = _says(3, "3 for colour, 1 for grey")
    fit: Fit = _says("stretch", "how an image becomes square: `stretch` it, `pad` it with white, or `crop` its middle")
    filters: tuple[int, ...] = _by_network("filters of each block of `classic`; of stem, stages and end of `compact`")
    dense_units: int = _says(128, "width of the dense layer before the classes, of `classic`")
    validation: float = _says(0.16, "share of the images that is held back to judge the training by")
    test: float = _says(0.0, "share of the images that is held back and never looked at while training")
    label_from_name: bool = _says(False, "take the class from the file's name: `cat.0.jpg` is a cat")
    max_refused: float = _says(0.05, "largest share of unusable images that training still starts with")
    batch_size: int = _by_network("images per optimisation step")
    optimizer: Optimizer = _by_network("`adam`, `lamb`, `sgd` with Nesterov momentum 0.9, or `muon` (for `compact`)")
    learning_rate: float = _by_network("the learning rate, the highest one where the schedule changes it")
    schedule: Schedule = _by_network("`constant`, or `one-cycle`: straight up, then straight down to nothing")
    weight_decay: float = _by_network("pull of every kernel towards 0, times the learning rate; not for `adam`")
    label_smoothing: float = _by_network("share of the truth that is spread over all classes")
    zoom: float = _says(0.0, "enlarge a random part of each image, which loses up to this share of its area")
    flip: bool = _by_network("mirror each image in every other epoch")
    shift: float = _by_network("move images by up to this share of their side")
    erase: float = _says(0.0, "hide a random part of each image, of up to this share of its area")
    sizes: tuple[float, ...] = _by_network("smaller sizes to begin with, as shares of the image size")
    size_shares: tuple[float, ...] = _by_network("share of the steps at each of these sizes")
    epochs: int | None = _says(
        None,
        f"passes over the training images, in full batches (default {DEFAULT_EPOCHS['compact']}, pretrained"
        f" {DEFAULT_EPOCHS['pretrained']}, unless steps are set; pretrained 0: its head alone)",
    )
    steps: int | None = _says(None, "optimisation steps, in place of epochs")
    budget: float | None = _says(None, "time to train in, in place of epochs: `10m`, `25s`, `1h`, or seconds")
    shrink: bool = _says(True, "halve the image size where the budget is too short to learn from larger images")
    patience: int = _by_network(
        "epochs without a better validation loss until training stops and gives back the best weights; 0: never"
    )
    precision: Precision = _says("auto", "of the activations while training; `auto`: bfloat16 where that is faster")
    license: str = _says("", "the licence that the model is given away under, for its metadata")
    seed: int = _says(0, "everything drawn at random follows from it: split, first weights, order")

    def __post_init__(self) -> None:
        kinds = _kinds()
        try:
            kind = kind_of(_typed("network", self.network, str))
        except ValueError:
            raise _wrong("network", self.network, names_of_networks()) from None
        for name, value in ({} if kind is None else _defaults(kind, self)).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name in kinds:
            value = getattr(self, name)
            if kind is not None or value is not None:
                object.__setattr__(self, name, _typed(name, value, kinds[name]))
        if kind is None:
            _check_open(self)
        else:
            _check_ranges(self, kind)

    @property
    def kind(self) -> Kind:
        """What kind of network it is.

        Raises:
            ValueError: it is not chosen yet.
        """
        kind = kind_of(self.network)
        if kind is None:
            raise ValueError(self.network)
        return kind

    def said(self, name: str) -> Any:
        """What a field says; None where that is left to a network which is not chosen yet."""
        return getattr(self, name)

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read a recipe; an unknown key is an error that names the nearest one."""
        try:
            table = tomllib.loads(text)
        except ValueError as error:  # also a number with more digits than Python reads
            raise RecipeError(
                found=f"not TOML: {error}", expected="lines like `image_size = 128`", fix="mend the file"
            ) from None
        if (version := table.pop("format", FORMAT)) != FORMAT:
            raise RecipeError(
                found=f"a recipe of format {version!r}",
                expected=f"format {FORMAT}",
                fix="use the convscope that wrote it",
            )
        return cls(**_known(table))

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
        """The recipe as TOML, fields in their order, unset ones left out."""
        try:
            import tomli_w
        except ModuleNotFoundError:
            raise MissingExtra(command="saving a recipe", module="tomli_w", extra="train") from None
        chosen = {name: value for name, value in asdict(self).items() if value is not None}
        return tomli_w.dumps({"format": FORMAT, **chosen})

    def with_changes(self, changes: Mapping[str, Any]) -> Self:
        """This recipe with some fields changed; setting one of `epochs`, `steps` and `budget` unsets the others."""
        known = _known(changes)
        if known.get("network", self.network) != self.network:  # what was not chosen follows the network
            ours = {} if self.network == AUTO else _defaults(self.kind, self)
            known = {name: None for name, value in ours.items() if getattr(self, name) == value} | known
        if any(known.get(name) is not None for name in LENGTHS):
            known = dict.fromkeys(LENGTHS) | known
        return replace(self, **known)

    def num_steps(self, steps_per_epoch: int) -> int:
        """How many optimisation steps the training has in all."""
        if self.steps is not None:
            return self.steps
        return steps_per_epoch * (DEFAULT_EPOCHS[self.kind] if self.epochs is None else self.epochs)


def _defaults(kind: Kind, recipe: Recipe) -> Mapping[str, Any]:
    """The values of a kind of network for what a recipe does not say."""
    defaults = DEFAULTS[kind]
    said = recipe.said("image_size")
    size = _typed("image_size", defaults["image_size"] if said is None else said, int)
    unsaid = all(getattr(recipe, name) is None or getattr(recipe, name) == defaults[name] for name in SIZES)
    smallest = size * min(defaults["sizes"], default=1.0)
    if unsaid and smallest < LEAST_SIZES[kind]:  # too small to begin with smaller ones
        return {**defaults, **dict.fromkeys(SIZES, ())}
    return defaults


def _kinds() -> dict[str, Any]:
    return typing.get_type_hints(Recipe)


def _known(table: Mapping[str, Any]) -> dict[str, Any]:
    """`table` as it is, when every key names a field."""
    names = [each.name for each in fields(Recipe)]
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"the keys are {', '.join(names)}"
            raise RecipeError(found=f"an unknown key `{key}`", expected="a key of the recipe", fix=hint)
    return dict(table)


def _typed(name: str, value: Any, kind: Any) -> Any:
    """`value` as its field's type: whole numbers pass for floats, lists for tuples, NumPy's numbers for Python's."""
    options = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        if value in options:
            return value
        raise _wrong(name, value, " or ".join(f"`{option}`" for option in options))
    if typing.get_origin(kind) is types.UnionType:
        return None if value is None else _typed(name, value, options[0])
    if typing.get_origin(kind) is tuple:
        if isinstance(value, (list, tuple)):
            return tuple(_typed(name, each, options[0]) for each in value)
        raise _wrong(name, value, f"a list of {'whole ' * (options[0] is int)}numbers")
    if type(value) is kind:
        return value
    if isinstance(value, NUMBERS.get(kind, ())) and not isinstance(value, bool):
        try:
            return kind(value)
        except OverflowError:
            pass
    raise _wrong(name, value, {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind])


def _check_open(recipe: Recipe) -> None:
    """What was said suits one of the networks that `auto` chooses from."""
    try:
        replace(recipe, network="compact")
    except RecipeError as error:
        try:
            replace(recipe, network=EFFICIENTNET)
        except RecipeError:
            raise error from None


def _check_ranges(recipe: Recipe, kind: Kind) -> None:
    halvings = len(recipe.filters)
    least = max(LEAST_SIZES[kind], 2**halvings if kind == "classic" else 0)
    sizes, is_compact = recipe.sizes, kind == "compact"
    least_length = 0 if kind == "pretrained" else 1  # a pretrained network may learn its head alone
    has_filters = kind in ("classic", "compact")
    checks = (
        (
            "weights",
            kind == "pretrained" or recipe.weights == "none",
            f"`none`, since `{recipe.network}` learns from scratch",
        ),
        ("image_size", least <= recipe.image_size <= 4096, f"{least} to 4096 (blocks halve it)"),
        (
            "channels",
            recipe.channels == 3 or (recipe.channels == 1 and kind != "pretrained"),
            "3, since ImageNet is in colour" if kind == "pretrained" else "1 or 3",
        ),
        (
            "filters",
            (halvings > 2 * is_compact if has_filters else not halvings)
            and all(1 <= count <= 65536 for count in recipe.filters),
            "counts from 1, three or more for `compact`, none for networks of others",
        ),
        ("dense_units", 1 <= recipe.dense_units <= 65536, "1 to 65536"),
        ("validation", 0 < recipe.validation < 1, "a share between 0 and 1, such as 0.16"),
        ("test", 0 <= recipe.test < 1 - recipe.validation, "a share that leaves images to train on"),
        ("max_refused", 0 <= recipe.max_refused <= 1, "a share from 0 to 1, such as 0.05"),
        ("batch_size", 1 <= recipe.batch_size <= 65536, "1 to 65536"),
        ("learning_rate", 0 < recipe.learning_rate <= 10, "above 0, at most 10"),
        ("weight_decay", 0 <= recipe.weight_decay <= 1, "0 to 1"),
        ("label_smoothing", 0 <= recipe.label_smoothing < 1, "0, or a share below 1 such as 0.1"),
        ("zoom", 0 <= recipe.zoom <= 0.95, "0 to 0.95"),
        ("erase", 0 <= recipe.erase <= 0.95, "0 to 0.95"),
        ("shift", 0 <= recipe.shift <= 0.5, "0 to 0.5"),
        (
            "sizes",
            all(least <= share * recipe.image_size <= recipe.image_size for share in sizes)
            and (is_compact or not sizes),
            f"shares of the image size that leave {least} pixels; none but for `compact`, the others have one size",
        ),
        (
            "size_shares",
            len(recipe.size_shares) == len(sizes)
            and sum(recipe.size_shares) < 1
            and min(recipe.size_shares, default=1) > 0,
            "as many shares as sizes, together below 1",
        ),
        ("epochs", recipe.epochs is None or recipe.epochs >= least_length, f"{least_length} or more"),
        ("steps", recipe.steps is None or recipe.steps >= least_length, f"{least_length} or more"),
        ("budget", recipe.budget is None or 0 < recipe.budget < math.inf, "a time such as 10m"),
        ("optimizer", recipe.optimizer != "muon" or is_compact, "`adam`, `lamb` or `sgd`; `muon` is for `compact`"),
        ("patience", recipe.patience >= 0, "0 or more"),
        ("seed", 0 <= recipe.seed < 2**63, "0 or more"),
    )
    for name, holds, expected in checks:
        if not holds:
            raise _wrong(name, getattr(recipe, name), expected)
    _check_length(recipe)


def _check_length(recipe: Recipe) -> None:
    """How long to train is said once at most."""
    said = [name for name in LENGTHS if getattr(recipe, name) is not None]
    if len(said) > 1:
        raise RecipeError(found=" and ".join(f"`{name}`" for name in said), expected="one of them", fix="leave one out")


def _wrong(name: str, value: Any, expected: str) -> RecipeError:
    return RecipeError(
        found=f"{name} = {value!r}", expected=expected, fix=f"change `{name}` (flag --{name.replace('_', '-')})"
    )
