"""The promise: every error that a user can meet says what was found, what was expected, and how to fix it.

`scripts/structure.py`, which `make lint` runs, checks that every error in the source is made of these parts, that
nothing else is raised, and that each class is.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from processes import Command

from convscope import errors
from convscope.errors import ConvscopeError, MissingExtra

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
TREE = [kind for kind in CLASSES if issubclass(kind, ConvscopeError)]
NAMES = {kind.__name__ for kind in TREE}


def test_tree_is_the_one_that_is_drawn() -> None:
    """All but `ImageRefused` and `Interrupted` are ConvscopeErrors, documented, and drawn at the top of the module."""
    assert {kind.__name__ for kind in CLASSES} - NAMES == {"ImageRefused", "Interrupted"}
    drawn = {line.split()[1] for line in (errors.__doc__ or "").splitlines() if line.strip().startswith(("├", "└"))}
    assert drawn == NAMES - {"ConvscopeError"}
    assert all(kind.__doc__ for kind in CLASSES)


@pytest.mark.slow
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
