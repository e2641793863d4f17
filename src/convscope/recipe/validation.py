"""Values of a recipe's fields: closed sets of names, exact types, and ranges; what is outside raises a RecipeError."""

from __future__ import annotations

import math
import numbers
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from convscope.errors import RecipeError
from convscope.recipe.defaults import MIN_IMAGE_SIZES, Kind, kind_of

Fit = Literal["stretch", "pad", "crop"]
Optimizer = Literal["adam", "lamb", "sgd", "muon"]
Schedule = Literal["constant", "one-cycle"]
Precision = Literal["float32", "bfloat16"]
PrecisionChoice = Literal["auto", "float32", "bfloat16"]
LengthUnit = Literal["epochs", "steps", "budget"]

LENGTHS: tuple[LengthUnit, ...] = ("epochs", "steps", "budget")  # the length of the training is set by one of these
MAX_IMAGE_SIZE = 4096  # pixels
MAX_COUNT = 65536  # filters, units, images of a batch
NUMBERS = {int: numbers.Integral, float: numbers.Real}


def without_none(annotation: Any) -> Any:
    """The type of a field's value: `int | None` without its None."""
    if typing.get_origin(annotation) not in (types.UnionType, typing.Union):
        return annotation
    (kind,) = (argument for argument in typing.get_args(annotation) if argument is not type(None))
    return kind


def as_type(name: str, value: Any, kind: Any) -> Any:
    """`value` as an exact `kind`: whole numbers pass for floats, lists for tuples, NumPy's numbers for Python's.

    Args:
        name: the field, for the message.
        kind: int, float, bool, str, a Literal, or a tuple of numbers.

    Raises:
        RecipeError: it has another type.
    """
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        if value in arguments:
            return value
        raise wrong_value(name, value, " or ".join(f"`{argument}`" for argument in arguments))
    if typing.get_origin(kind) is tuple:
        if isinstance(value, (list, tuple)):
            return tuple(as_type(name, number, arguments[0]) for number in value)
        raise wrong_value(name, value, f"a list of {'whole ' * (arguments[0] is int)}numbers")
    if type(value) is kind:
        return value
    if isinstance(value, NUMBERS.get(kind, ())) and not isinstance(value, bool):
        try:
            return kind(value)
        except OverflowError:
            pass
    expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    raise wrong_value(name, value, expected[kind])


def check_values(values: Mapping[str, Any]) -> None:
    """Check the range of every value, and that the values suit the network.

    Args:
        values: every field but the length, and one field of the length at most.

    Raises:
        RecipeError: a value is out of its range, or does not suit the network.
    """
    kind = kind_of(values["network"])
    for name, is_valid, expected in (
        *_check_network(values, kind),
        *_check_data(values),
        *_check_training(values, kind),
    ):
        if not is_valid:
            raise wrong_value(name, values[name], expected)


def wrong_value(name: str, value: Any, expected: str) -> RecipeError:
    """The error for a field that has another value than it may have."""
    return RecipeError(found=f"{name} = {value!r}", expected=expected, fix=f"change `{name}`")


Check = tuple[str, bool, str]  # field, whether its value is valid, what is expected


def min_image_size(kind: Kind, filters: tuple[int, ...]) -> int:
    """The smallest image side in pixels that a network takes: each block of `classic` halves it."""
    return max(MIN_IMAGE_SIZES[kind], 2 ** len(filters) if kind == "classic" else 0)


def _check_network(values: Mapping[str, Any], kind: Kind) -> Iterator[Check]:
    filters, size = values["filters"], values["image_size"]
    smallest = min_image_size(kind, filters)
    yield (
        "weights",
        kind == "pretrained" or values["weights"] == "none",
        f"`none`, since `{values['network']}` is trained from scratch",
    )
    yield "image_size", smallest <= size <= MAX_IMAGE_SIZE, f"{smallest} to {MAX_IMAGE_SIZE} (blocks halve it)"
    if kind == "pretrained":
        yield "channels", values["channels"] == 3, "3, since ImageNet is in colour"
    else:
        yield "channels", values["channels"] in (1, 3), "1 or 3"
    num_filters = {"classic": len(filters) >= 1, "compact": len(filters) >= 3}
    yield (
        "filters",
        num_filters.get(kind, not filters) and all(1 <= count <= MAX_COUNT for count in filters),
        "counts from 1, three or more for `compact`, none for pretrained and custom networks",
    )
    yield "dense_units", 1 <= values["dense_units"] <= MAX_COUNT, f"1 to {MAX_COUNT}"


def _check_data(values: Mapping[str, Any]) -> Iterator[Check]:
    yield "validation", 0 < values["validation"] < 1, "a share between 0 and 1, such as 0.16"
    yield "test", 0 <= values["test"] < 1 - values["validation"], "a share that leaves images to train on"
    yield "max_refused", 0 <= values["max_refused"] <= 1, "a share from 0 to 1, such as 0.05"
    yield "batch_size", 1 <= values["batch_size"] <= MAX_COUNT, f"1 to {MAX_COUNT}"
    yield "zoom", 0 <= values["zoom"] <= 0.95, "0 to 0.95"
    yield "erase", 0 <= values["erase"] <= 0.95, "0 to 0.95"
    yield "shift", 0 <= values["shift"] <= 0.5, "0 to 0.5"
    yield "seed", 0 <= values["seed"] < 2**63, "0 or more"


def _check_training(values: Mapping[str, Any], kind: Kind) -> Iterator[Check]:
    is_compact, size, sizes, shares = kind == "compact", values["image_size"], values["sizes"], values["size_shares"]
    smallest = min_image_size(kind, values["filters"])
    least_length = 0 if kind == "pretrained" else 1  # the fitted head of a pretrained network is a model already
    yield "learning_rate", 0 < values["learning_rate"] <= 10, "above 0, at most 10"
    yield "weight_decay", 0 <= values["weight_decay"] <= 1, "0 to 1"
    yield "label_smoothing", 0 <= values["label_smoothing"] < 1, "0, or a factor below 1 such as 0.1"
    yield (
        "sizes",
        all(smallest <= share * size <= size for share in sizes) and (is_compact or not sizes),
        f"shares of the image size that leave {smallest} pixels; none but for `compact`, the others have one size",
    )
    yield (
        "size_shares",
        len(shares) == len(sizes) and sum(shares) < 1 and min(shares, default=1) > 0,
        "as many shares as sizes, together below 1",
    )
    for name in ("epochs", "steps"):
        if name in values:
            yield name, values[name] >= least_length, f"{least_length} or more"
    if "budget" in values:
        yield "budget", 0 < values["budget"] < math.inf, "a time such as 10m"
    yield "optimizer", values["optimizer"] != "muon" or is_compact, "`adam`, `lamb` or `sgd`; `muon` is for `compact`"
    yield "patience", values["patience"] >= 0, "0 or more"
