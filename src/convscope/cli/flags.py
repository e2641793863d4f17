"""Parameter names of the library's texts as flags of the running command, and a function's arguments as a command."""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from convscope.environment import program_name

PARAMETER = re.compile(r"`([a-z_][a-z0-9_]*)(?:=([^`\n]*))?`")


def name_flags(text: str, command: Any) -> str:
    """Replace each parameter of `command` that `text` names in backticks by its flag.

    `out` becomes --out, `epochs=0` --epochs 0, `shrink=False` --no-shrink, `resume=True` --resume; an argument, which
    has no flag, becomes its name in the help: `data`, DATA. What is no parameter of the command stays as it is.

    Args:
        text: a message or a part of an error.
        command: a Typer command.
    """
    parameters = {parameter.name: parameter for parameter in command.params}

    def replace(match: re.Match[str]) -> str:
        parameter = parameters.get(match[1])
        if parameter is None:
            return match[0]
        if _is_argument(parameter):
            return match[0] if match[2] else str(parameter.metavar)
        return parameter.opts[0] if match[2] is None else _flag_with_value(parameter, match[2])

    return PARAMETER.sub(replace, text)


def command_line(context: Any, arguments: Mapping[str, Any]) -> str:
    """The command that calls the running command's function with `arguments`, quoted for a shell.

    Positional arguments come first. None is left out; True is a flag, False its `--no-` form where there is one; the
    items of a tuple are joined by commas; a dataclass that is not itself a parameter, such as a `Table`, stands for
    those of its fields that differ from their defaults.

    Args:
        context: the Typer context of the running command.
        arguments: by the names of the function's parameters, such as `Interrupted.resume`.
    """
    parameters = {parameter.name: parameter for parameter in context.command.params}
    positional: dict[str, list[str]] = {name: [] for name in parameters}
    flags: list[str] = []
    for name, value in _flatten(arguments, parameters):
        if _is_argument(parameters[name]):
            positional[name] = _positional_words(value)
        else:
            flags += _flag_words(parameters[name], value)
    words = [word for argument in positional.values() for word in argument]
    return f"{program_name()} {shlex.join([*_command_names(context), *words, *flags])}"


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _flag_with_value(parameter: Any, code: str) -> str:
    """The flag that sets a parameter to the value of a Python expression, or the expression itself if it is none."""
    value: Any = code
    with suppress(ValueError, SyntaxError):
        value = ast.literal_eval(code)
    return " ".join(_flag_words(parameter, value)) or f"without {parameter.opts[0]}"


def _flag_words(parameter: Any, value: Any) -> list[str]:
    """The words of a command that set an option to a value; none where leaving it out does."""
    if value is None:
        return []
    if isinstance(value, bool):
        return [parameter.opts[0]] if value else parameter.secondary_opts[:1]
    if isinstance(value, (list, tuple)):
        return [parameter.opts[0], ",".join(map(str, value))]
    return [parameter.opts[0], str(value)]


def _positional_words(value: Any) -> list[str]:
    if value is None:
        return []
    items = value if isinstance(value, (list, tuple)) else [value]
    return [f"./{item}" if isinstance(item, Path) and str(item).startswith("-") else str(item) for item in items]


def _flatten(arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The arguments that are parameters of the command, with dataclasses as their fields."""
    for name, value in arguments.items():
        if name in parameters:
            yield name, value
        elif dataclasses.is_dataclass(value):
            for field in dataclasses.fields(value):
                if field.name in parameters and getattr(value, field.name) != field.default:
                    yield field.name, getattr(value, field.name)


def _command_names(context: Any) -> list[str]:
    """`["cache", "list"]`: the names of the running command, without the program's."""
    names: list[str] = []
    while context.parent is not None:
        names.insert(0, str(context.info_name))
        context = context.parent
    return names
