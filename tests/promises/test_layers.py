"""The promise: every module has its place in the house, and none of its parts has grown into two ideas.

That imports go one way is checked by import-linter in `make lint`; here, that it looks at every module.
"""

from __future__ import annotations

import ast
import io
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
MOST_MODULE_LINES = 300  # of code: blank lines, comments and docstrings are not counted
MOST_FUNCTION_LINES = 60
MOST_PARAMETERS = 6  # besides the subject
FILES = sorted(SOURCE.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree_of(file: Path) -> ast.Module:
    """A module as it is parsed."""
    return ast.parse(file.read_text(encoding="utf-8"))


def module_of(file: Path) -> str:
    """The dotted name of a module."""
    return ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def functions_of(tree: ast.Module) -> Iterator[tuple[Function, bool]]:
    """Every function of a module, and whether it is a method."""
    methods = {id(each) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for each in node.body}
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node, id(node) in methods


def count_code_lines(file: Path) -> int:
    """The lines of a module that hold code."""
    text = file.read_text(encoding="utf-8")
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree_of(file)):
        if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
            lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


every_module = pytest.mark.parametrize("file", FILES, ids=module_of)


def test_every_module_has_its_layer() -> None:
    """A new module is placed in the contract, or lies in a package that is; and the contract names no ghosts."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    (layers,) = (each["layers"] for each in tools["importlinter"]["contracts"] if each["type"] == "layers")
    placed = {f"convscope.{name.strip()}" for layer in layers for name in layer.replace("|", ":").split(":")}
    found = {module_of(file) for file in FILES}
    assert placed <= found
    packages = {module_of(file) for file in FILES if file.name == "__init__.py"}
    homeless = {
        name
        for name in found - packages - {"convscope.__main__"}
        if not any(name == place or name.startswith(f"{place}.") for place in placed)
    }
    assert homeless == set()


def test_packages_hold_nothing_but_their_idea() -> None:
    """A package's `__init__` is a docstring: what stands in it would stand in no layer."""
    for file in SOURCE.glob("convscope/*/**/__init__.py"):
        assert count_code_lines(file) == 0, file


@every_module
def test_module_says_its_idea_and_is_one(file: Path) -> None:
    """It opens with a docstring and holds at most 300 lines of code."""
    assert ast.get_docstring(tree_of(file))
    assert count_code_lines(file) <= MOST_MODULE_LINES


@every_module
def test_functions_are_one_idea(file: Path) -> None:
    """No function has over 60 lines, its docstring included."""
    long = {
        function.name: lines
        for function, _ in functions_of(tree_of(file))
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > MOST_FUNCTION_LINES
    }
    assert long == {}


@every_module
def test_public_functions_are_documented_and_have_few_parameters(file: Path) -> None:
    """At most six besides the subject; a command's are its flags, and may be more."""
    wide, silent = [], []
    for function, is_method in functions_of(tree_of(file)):
        if function.name.startswith("_") and function.name != "__init__":
            continue
        names = [each.arg for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
        subject = 1 + is_method if function.args.args else 0
        if len(names) - subject > MOST_PARAMETERS and module_of(file) != "convscope.cli.commands":
            wide.append(function.name)
        if not is_method and function.col_offset == 0 and not ast.get_docstring(function):
            silent.append(function.name)
    assert (wide, silent) == ([], [])


@every_module
def test_nothing_rests_on_assert(file: Path) -> None:
    """`python -O` drops assertions; what has to hold is checked and told."""
    assert [node.lineno for node in ast.walk(tree_of(file)) if isinstance(node, ast.Assert)] == []
