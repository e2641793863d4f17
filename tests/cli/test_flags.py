"""cli/flags.py: parameters in texts become the flags of the running command; arguments become a command to type."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from convscope.cli.commands import app
from convscope.cli.flags import command_line, name_flags
from convscope.prediction.provenance import Shard
from convscope.prediction.rows import Table
from convscope.recipe.recipe import Recipe

ROOT = typer.main.get_command(app)


def contexts(command: Any = ROOT, parent: Any = None, name: str = "convscope") -> Iterator[Any]:
    """The context of every command, as it has it while it runs."""
    context = command.context_class(command, info_name=name, parent=parent)
    if not hasattr(command, "commands"):
        yield context
    for inner_name, inner in getattr(command, "commands", {}).items():
        yield from contexts(inner, context, inner_name)


CONTEXTS = {context.command_path: context for context in contexts()}
EVERY_COMMAND = pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
TRAIN, PREDICT = CONTEXTS["convscope train"], CONTEXTS["convscope predict"]


def parse(context: Any, tokens: list[str]) -> dict[str, Any]:
    """The parameters that a command reads from command-line tokens."""
    return dict(context.command.make_context(context.info_name, tokens, parent=context.parent).params)


@EVERY_COMMAND
def test_every_parameter_of_a_command_becomes_its_flag(context: Any) -> None:
    """Flags that can be typed; an argument has no flag, and gets the name that the help has for it."""
    assert context.command.params
    for parameter in context.command.params:
        text = name_flags(f"choose another `{parameter.name}`, or none", context.command)
        name = text.removeprefix("choose another ").removesuffix(", or none")
        if parameter.param_type_name == "argument":
            assert name.isupper()
            assert name in context.command.get_help(context)
        else:
            assert name in parameter.opts
            assert f" {name}" in context.command.get_help(context)


@EVERY_COMMAND
def test_values_become_words_that_the_command_reads(context: Any) -> None:
    """`epochs=0` is --epochs 0, `shrink=False` --no-shrink, `resume=True` --resume; None and no flag: without it."""
    for parameter in context.command.params:
        if parameter.param_type_name == "argument":
            continue
        flag = parameter.opts[0]
        if parameter.is_flag:
            no = parameter.secondary_opts[0] if parameter.secondary_opts else f"without {flag}"
            expected = {"True": flag, "False": no}
        else:
            expected = {"0": f"{flag} 0", "'a b'": f"{flag} a b", "(8, 16)": f"{flag} 8,16", "FILE": f"{flag} FILE"}
        for value, text in (expected | {"None": f"without {flag}"}).items():
            assert name_flags(f"`{parameter.name}={value}`", context.command) == text


@EVERY_COMMAND
def test_other_words_stay(context: Any) -> None:
    """What is no parameter of the command keeps its backticks."""
    text = "`convscope train`, `nothing`, `image_size = 128`, `keras:NAME`, `nothing=1`, out, ``, `--out`"
    assert name_flags(text, context.command) == text


def test_every_field_of_the_recipe_is_named_by_train() -> None:
    """The recipe's errors speak of flags there, and of fields elsewhere."""
    for field in dataclasses.fields(Recipe):
        assert name_flags(f"`{field.name}`", TRAIN.command) == f"--{field.name.replace('_', '-')}"
    assert name_flags("`image_size`", PREDICT.command) == "`image_size`"


def test_command_line_a_training_can_be_typed() -> None:
    """The images first, then flags; quoted for a shell; what is None or False is left out."""
    arguments = {"out": Path("my run"), "data": Path("it's"), "resume": True, "cache": None, "tensorboard": False}
    command = command_line(TRAIN, arguments)
    program, *tokens = shlex.split(command)
    assert command.startswith(f"{program} train ")
    assert tokens == ["train", "it's", "--out", "my run", "--resume"]
    parameters = parse(TRAIN, tokens[1:])
    assert (parameters["data"], parameters["out"], parameters["resume"]) == (Path("it's"), Path("my run"), True)


def test_command_line_a_table_has_its_choices() -> None:
    """A `Table` stands for those of its fields that are not the default, a shard for its two numbers."""
    table = Table(format="jsonl", top=2, min_confidence=0.1, mirror=True)
    arguments = {"model": Path("m.onnx"), "out": Path("t"), "table": table, "shard": Shard(3, 16), "resume": True}
    tokens = shlex.split(command_line(PREDICT, arguments))[1:]
    parameters = parse(PREDICT, tokens[1:])
    assert parameters["shard"] == (3, 16)
    assert tokens[:2] == ["predict", "m.onnx"]
    for name in ("format", "top", "min_confidence", "mirror", "neighbours"):
        assert parameters[name] == getattr(table, name)


def test_every_kind_of_value_is_read_back() -> None:
    """Tuples, floats, both forms of a flag, several arguments, and a path that looks like a flag."""
    recipe = {"filters": (8, 16), "sizes": (), "learning_rate": 1e-05, "flip": False, "shrink": True, "budget": 600.0}
    tokens = shlex.split(command_line(TRAIN, {"data": Path("-photos"), **recipe}))[2:]
    parameters = parse(TRAIN, tokens)
    assert parameters["data"] == Path("-photos")
    assert {name: parameters[name] for name in recipe} == recipe
    explain = CONTEXTS["convscope explain"]
    images = [Path("a b.png"), Path("c.png")]
    tokens = shlex.split(command_line(explain, {"run": Path("r"), "images": images, "class_name": "dog"}))
    assert tokens[1:] == ["explain", "r", "a b.png", "c.png", "--class", "dog"]


def test_command_within_a_group_has_both_names() -> None:
    """`convscope cache list`."""
    tokens = shlex.split(command_line(CONTEXTS["convscope cache list"], {"cache": Path("c")}))
    assert tokens[1:] == ["cache", "list", "--cache", "c"]
