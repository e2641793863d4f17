"""The promise: every error that a user can meet says what was found, what was expected, and how to fix it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from processes import Command

from convscope import errors
from convscope.errors import ConvscopeError, MissingExtra

SOURCE = Path(__file__).parents[2] / "src" / "convscope"
CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
TREE = [kind for kind in CLASSES if issubclass(kind, ConvscopeError)]
NAMES = {kind.__name__ for kind in TREE}
PARTS = {
    "MissingExtra": {"command", "module", "extra"},
    "Interrupted": {"position", "saved", "resume"},
    "ConvscopeError": {"found", "expected", "fix"},
}
OTHERS = {"ImageRefused", "AttributeError", "KeyError", "ValueError", "EOFError", "OSError", "RuntimeError"}
OTHERS |= {"BadParameter", "Exit", "Interrupted", "KeyboardInterrupt", "OutputError"}  # how a command ends


@cache
def tree_of(file: Path) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(file.read_text(encoding="utf-8"))


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Every call that makes an error of the tree, or an Interrupted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES | PARTS.keys():
            yield node


@cache
def functions_that_make_errors() -> set[str]:
    """The names of all functions that return an error of the tree, by their annotation."""
    return {
        node.name
        for file in SOURCE.rglob("*.py")
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name) and node.returns.id in NAMES
    }


def is_empty(value: ast.expr) -> bool:
    """Whether an expression is a text without letters."""
    return isinstance(value, ast.Constant) and not str(value.value or "").strip()


def test_tree_is_the_one_that_is_drawn() -> None:
    """All but `ImageRefused` and `Interrupted` are ConvscopeErrors, documented, and drawn at the top of the module."""
    assert {kind.__name__ for kind in CLASSES} - NAMES == {"ImageRefused", "Interrupted"}
    drawn = {line.split()[1] for line in (errors.__doc__ or "").splitlines() if line.strip().startswith(("├", "└"))}
    assert drawn == NAMES - {"ConvscopeError"}
    assert all(kind.__doc__ for kind in CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda file: str(file.relative_to(SOURCE)))
def test_each_error_has_its_three_parts(file: Path) -> None:
    """Wherever one is made, it gets found, expected and fix by name, none of them empty; others get their parts."""
    for call in calls(tree_of(file)):
        assert isinstance(call.func, ast.Name)
        parts = PARTS.get(call.func.id, PARTS["ConvscopeError"])
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        assert given.keys() == parts, f"line {call.lineno}"
        assert not call.args, f"line {call.lineno}"
        assert not any(map(is_empty, given.values())), f"line {call.lineno}"


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda file: str(file.relative_to(SOURCE)))
def test_nothing_else_is_raised(file: Path) -> None:
    """What is raised is of the tree, ends a command, or says that a caller in Python broke a contract."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = node.exc.func.attr if isinstance(node.exc.func, ast.Attribute) else getattr(node.exc.func, "id", "")
            is_private = name.startswith("_")  # such as those that make the errors of HTTP
            assert is_private or name in NAMES | OTHERS | functions_that_make_errors(), f"line {node.lineno}"


@pytest.mark.slow
def test_each_error_is_of_use() -> None:
    """Every class is raised somewhere: one that nobody meets is deleted."""
    raised = {
        call.func.id
        for file in SOURCE.rglob("*.py")
        for call in calls(tree_of(file))
        if isinstance(call.func, ast.Name)
    }
    assert raised == NAMES | {"Interrupted"}


@pytest.mark.parametrize("kind", TREE)
def test_error_keeps_its_parts(kind: type[ConvscopeError]) -> None:
    """Python callers can read the parts, and the text has them all."""
    if kind is MissingExtra:
        error: ConvscopeError = MissingExtra(command="convscope train", module="keras", extra="train")
        assert error.fix == "pip install 'convscope[train]'"
    else:
        error = kind(found="one", expected="two", fix="three")
        assert str(error) == "found: one; expected: two; fix: three"
    assert all((error.found, error.expected, error.fix))


def test_command_line_prints_three_lines(cli: Command, tmp_path: Path) -> None:
    """found, expected, fix on standard error, nothing on standard output, exit code 2, no traceback."""
    result = cli("predict", tmp_path / "no run", "x.png")
    assert (result.code, result.out) == (2, "")
    found, expected, fix = result.err.splitlines()
    assert found == f"found:    no model in {tmp_path / 'no run'}"
    assert expected == "expected: a run folder whose training is finished, or a .onnx file"
    assert fix == "fix:      check the path"


def test_names_cannot_forge_lines(cli: Command, tmp_path: Path) -> None:
    """Line feeds and escape sequences in a name are escaped: still three lines, nothing that moves a cursor."""
    result = cli("predict", tmp_path / "a\nfix: rm -rf\x1b[2J", "x.png")
    assert len(result.err.splitlines()) == 3
    assert "\\nfix: rm -rf\\x1b[2J" in result.err
    assert "\x1b" not in result.err


def test_markup_in_names_is_text(cli: Command, tmp_path: Path) -> None:
    """The name of a folder `[bold]` is printed unchanged."""
    assert "[bold]:smile:" in cli("predict", tmp_path / "[bold]:smile:", "x.png").err
