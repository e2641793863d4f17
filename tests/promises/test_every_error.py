"""The promise: whatever goes wrong is told with what was found, what was expected, and how to mend it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from commands import Command

from convscope import errors
from convscope.errors import BundleError, ConvscopeError, ImageRefused, Interrupted, MissingExtra

SOURCE = Path(__file__).parents[2] / "src" / "convscope"
CLASSES = [each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == errors.__name__]
TREE = [each for each in CLASSES if issubclass(each, ConvscopeError)]
NAMES = {each.__name__ for each in TREE}
OTHERS = {"ImageRefused", "AttributeError", "KeyError", "ValueError", "EOFError", "OSError", "RuntimeError"}
OTHERS |= {"Exit", "KeyboardInterrupt"}  # the ways in which a program ends


@cache
def tree_of(file: Path) -> ast.Module:
    """A module as it is parsed."""
    return ast.parse(file.read_text(encoding="utf-8"))


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Every place where an error of ours is made."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES:
            yield node


def is_empty(value: ast.expr) -> bool:
    """Whether an expression is a text without letters."""
    return isinstance(value, ast.Constant) and not str(value.value or "").strip()


def test_tree_is_the_one_that_is_drawn() -> None:
    """Every error but `ImageRefused` is a ConvscopeError, documented, and in the drawing at the top of the module."""
    assert {each.__name__ for each in CLASSES} - NAMES == {"ImageRefused"}
    assert not issubclass(ImageRefused, ConvscopeError)
    drawn = {line.split()[1] for line in (errors.__doc__ or "").splitlines() if line.strip().startswith(("├", "└"))}
    assert drawn == NAMES - {"ConvscopeError"}
    assert all(each.__doc__ for each in CLASSES)


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda file: str(file.relative_to(SOURCE)))
def test_each_error_has_its_three_parts(file: Path) -> None:
    """Wherever one is made, it is given found, expected and fix by name, none of them empty."""
    for call in calls(tree_of(file)):
        assert isinstance(call.func, ast.Name)
        parts = {"command", "module", "extra"} if call.func.id == "MissingExtra" else {"found", "expected", "fix"}
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        assert given.keys() == parts, f"line {call.lineno}"
        assert not call.args, f"line {call.lineno}"
        assert not any(map(is_empty, given.values())), f"line {call.lineno}"


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda file: str(file.relative_to(SOURCE)))
def test_nothing_else_is_raised_at_a_person(file: Path) -> None:
    """What is raised is of the tree, or says that a caller in Python broke its contract."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = node.exc.func.attr if isinstance(node.exc.func, ast.Attribute) else getattr(node.exc.func, "id", "")
            assert name in NAMES | OTHERS or name.startswith("_") or name == "BadParameter", f"line {node.lineno}"


def test_each_error_is_of_use() -> None:
    """Every class of the tree is made somewhere: one that nobody meets is deleted."""
    made = {
        call.func.id
        for file in SOURCE.rglob("*.py")
        for call in calls(tree_of(file))
        if isinstance(call.func, ast.Name)
    }
    assert made == NAMES


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
    assert error.exit_code == (130 if kind is Interrupted else 2)


def test_command_line_prints_three_lines(cli: Command, tmp_path: Path) -> None:
    """found, expected, fix on standard error, nothing on standard output, exit code 2, no traceback."""
    ended = cli("predict", tmp_path / "no run", "x.png")
    assert (ended.code, ended.out) == (2, "")
    with pytest.raises(BundleError) as caught:
        raise BundleError(found=f"no model in {tmp_path / 'no run'}", expected="", fix="")
    found, expected, fix = ended.err.splitlines()
    assert found == f"found:    {caught.value.found}"
    assert expected == "expected: a run folder whose training is finished, or a .onnx file"
    assert fix == "fix:      check the path"


def test_names_cannot_forge_lines(cli: Command, tmp_path: Path) -> None:
    """A name with line ends and terminal codes is spelled out: still three lines, nothing that moves a cursor."""
    ended = cli("predict", tmp_path / "a\nfix: rm -rf\x1b[2J", "x.png")
    assert len(ended.err.splitlines()) == 3
    assert "\\nfix: rm -rf\\x1b[2J" in ended.err
    assert "\x1b" not in ended.err


def test_markup_in_names_is_text(cli: Command, tmp_path: Path) -> None:
    """A folder called `[bold]` is called so in the message."""
    assert "[bold]:smile:" in cli("predict", tmp_path / "[bold]:smile:", "x.png").err
