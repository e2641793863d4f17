"""Words of the command line to values: numbers, times, shards, and a flag for each field of the recipe."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any

import typer

from convscope.recipe.defaults import by_kind
from convscope.recipe.recipe import Recipe

SHARD = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})")
SECONDS = {"s": 1, "m": 60, "h": 3600}


def with_recipe_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one flag for each field of the recipe; those that are used arrive in `changes`."""
    signature = inspect.signature(command, eval_str=True)
    kinds = typing.get_type_hints(Recipe)
    own = [each for each in signature.parameters.values() if each.name != "changes"]
    flags = [_flag(field, kinds[field.name]) for field in dataclasses.fields(Recipe)]

    def run(**words: Any) -> None:
        chosen = {flag.name: words.pop(flag.name) for flag in flags}
        command(**words, changes={name: value for name, value in chosen.items() if value is not None})

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*own, *flags)}
    return run


def _flag(field: dataclasses.Field[Any], kind: Any) -> inspect.Parameter:
    says = field.metadata["help"] + _default_of(field)
    name = "--" + field.name.replace("_", "-")
    words = (name, "--no-" + field.name.replace("_", "-")) if kind is bool else (name,)
    if typing.get_origin(kind) is UnionType:  # `int | None` is a flag of type int
        kind = typing.get_args(kind)[0]
    how: dict[str, Any] = {}
    if typing.get_origin(kind) is tuple:
        part = typing.get_args(kind)[0]
        kind, how = str, {"parser": partial(numbers, kind=part), "metavar": "N,N,..."}
    elif field.name == "budget":
        how = {"parser": duration, "metavar": "TIME"}
    elif kind is float:
        how = {"parser": number, "metavar": "NUMBER"}
    option = typer.Option("/".join(words), help=says, show_default=False, **how)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _default_of(field: dataclasses.Field[Any]) -> str:
    """` [default: 32; compact: 64]`, or nothing where a field has no default."""

    def text(value: Any) -> str:
        return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value).lower()

    if values := by_kind(field.name):
        different = dict.fromkeys(map(text, values.values()))
        said = [f"{', '.join(kind for kind in values if text(values[kind]) == each)} {each}" for each in different]
        return f" [default: {text(values['compact']) if len(different) == 1 else '; '.join(said)}]"
    return "" if field.default is None else f" [default: {text(field.default)}]"


def number(word: str | float) -> float:
    """`0.05` or `5%`; a default comes as the number that it is."""
    text = str(word)
    try:
        if not text.isascii() or "_" in text:  # Python also reads digits of other scripts, and 1_000
            raise ValueError
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number such as 0.05 or 5%") from None


def share(word: str | float) -> float:
    """`0.05` or `5%`: a part of a whole."""
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
    """`10m`, `25s`, `1h`, or seconds."""
    try:
        return float(text[:-1]) * SECONDS[text[-1:]] if text[-1:] in SECONDS else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time such as 10m, 25s or 1h") from None


def numbers(text: str, *, kind: type) -> tuple[Any, ...]:
    """`32,32,64`, or `0.5,0.75`."""
    try:
        return tuple(kind(part) for part in text.split(",") if part)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as 32,32,64") from None


RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="a run folder, as `convscope train` leaves it", show_default=False)
]
ModelArgument = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, or a .onnx file", show_default=False)]
CacheOption = Annotated[Path | None, typer.Option("--cache", metavar="DIR", help="where decoded images are kept")]
MirrorOption = Annotated[
    bool, typer.Option("--mirror", help="average each answer with that to the image's mirror image: twice the work")
]
UnreadableOption = Annotated[
    float,
    typer.Option(parser=share, metavar="NUMBER", help="share of unreadable images above which the exit code is 3"),
]
