"""Words of the command line to values: numbers, times, shards, and a flag for each field of the recipe."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from convscope.recipe.defaults import by_kind
from convscope.recipe.recipe import Recipe

SHARD = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})")
SECONDS = {"s": 1, "m": 60, "h": 3600}


def with_recipe_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one flag for each field of the recipe; those that the user sets arrive in `changes`."""
    signature = inspect.signature(command, eval_str=True)
    types = typing.get_type_hints(Recipe)
    parameters = [parameter for parameter in signature.parameters.values() if parameter.name != "changes"]
    flags = [_flag(field, types[field.name]) for field in dataclasses.fields(Recipe)]

    def run(**arguments: Any) -> None:
        values = {flag.name: arguments.pop(flag.name) for flag in flags}
        command(**arguments, changes={name: value for name, value in values.items() if value is not None})

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = signature.replace(parameters=[*parameters, *flags])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*parameters, *flags)}
    return run


def _flag(field: dataclasses.Field[Any], annotation: Any) -> inspect.Parameter:
    """The parameter of a command for a field of the recipe; None: the user did not set it."""
    kind = _without_none(annotation)
    name = field.name.replace("_", "-")
    declaration = f"--{name}/--no-{name}" if kind is bool else f"--{name}"
    settings: dict[str, Any] = {}
    if typing.get_origin(kind) is tuple:
        settings = {"parser": partial(numbers, kind=typing.get_args(kind)[0]), "metavar": "N,N,..."}
        kind = str
    elif field.name == "budget":
        settings = {"parser": duration, "metavar": "TIME"}
    elif kind is float:
        settings = {"parser": number, "metavar": "NUMBER"}
    help = field.metadata["help"] + _default_of(field)
    option = typer.Option(declaration, help=help, show_default=False, **settings)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _without_none(annotation: Any) -> Any:
    """`int` for `int | None`."""
    kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
    return kinds[0] if type(None) in typing.get_args(annotation) else annotation


def _default_of(field: dataclasses.Field[Any]) -> str:
    """` [default: 32; compact: 64]`, or nothing if the field has no default or an empty one."""
    by_network = {kind: _text(value) for kind, value in by_kind(field.name).items()}
    if by_network:
        texts = list(dict.fromkeys(by_network.values()))
        groups = [f"{', '.join(kind for kind in by_network if by_network[kind] == text)} {text}" for text in texts]
        return f" [default: {texts[0] if len(texts) == 1 else '; '.join(groups)}]"
    default = field.metadata.get("default", field.default)
    return "" if default is None or default == "" else f" [default: {_text(default)}]"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value).lower()


def number(word: str | float) -> float:
    """`0.05` or `5%`; a default value arrives as the number that it is."""
    text = str(word)
    try:
        if not text.isascii() or "_" in text:  # Python also reads digits of other scripts, and 1_000
            raise ValueError
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number such as 0.05 or 5%") from None


def share(word: str | float) -> float:
    """A number from 0 to 1."""
    value = number(word)
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{str(word)!r} is not a share, 0 to 1, such as 0.05 or 5%")
    return value


def shard_numbers(text: str) -> tuple[int, int]:
    """`3/16`: the third of sixteen."""
    match = SHARD.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a shard such as 3/16")
    return int(match[1]), int(match[2])


def duration(text: str) -> float:
    """`10m`, `25s`, `1h`, or seconds. Returns: seconds."""
    try:
        return float(text[:-1]) * SECONDS[text[-1:]] if text[-1:] in SECONDS else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time such as 10m, 25s or 1h") from None


def numbers(text: str, *, kind: type) -> tuple[Any, ...]:
    """`32,32,64`, or `0.5,0.75`."""
    try:
        return tuple(kind(word) for word in text.split(",") if word)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as 32,32,64") from None
