"""Errors: each says what was found, what was expected and how to mend it."""

from __future__ import annotations

import inspect

import pytest

from convscope import errors
from convscope.errors import ConvscopeError, ImageRefused, Interrupted, MissingExtra

EVERY = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ConvscopeError)]


@pytest.mark.parametrize("kind", [kind for kind in EVERY if kind is not MissingExtra])
def test_an_error_has_three_parts(kind: type[ConvscopeError]) -> None:
    """The parts are kept apart for the command line, and together make the message for Python."""
    error = kind(found="a cat", expected="a dog", fix="call the dog")
    assert (error.found, error.expected, error.fix) == ("a cat", "a dog", "call the dog")
    assert str(error) == "found: a cat; expected: a dog; fix: call the dog"
    assert isinstance(error, ConvscopeError)


def test_no_part_may_be_left_out() -> None:
    """An error without its way out cannot be made."""
    with pytest.raises(TypeError):
        ConvscopeError(found="a cat", expected="a dog")  # type: ignore[call-arg]


def test_exit_codes_are_those_that_are_promised() -> None:
    """2 for wrong use or input, 130 for a stop with everything saved."""
    assert {kind.__name__: kind.exit_code for kind in EVERY if kind.exit_code != 2} == {"Interrupted": 130}
    assert Interrupted in EVERY


def test_a_missing_extra_says_what_to_install() -> None:
    """The command, the module and the line to type."""
    error = MissingExtra(command="convscope train", module="keras", extra="train")
    assert "convscope train" in error.found
    assert "'keras'" in error.found
    assert error.fix == "pip install 'convscope[train]'"


def test_the_tree_at_the_top_is_the_tree() -> None:
    """The module's docstring draws every class, and none that is not there."""
    drawn = {line.split("── ")[1].split()[0] for line in (errors.__doc__ or "").splitlines() if "── " in line}
    assert drawn | {"ConvscopeError"} == {kind.__name__ for kind in EVERY}


def test_a_refused_image_is_no_end_of_the_work() -> None:
    """It is caught for its row in the table, and never by what catches the errors that end a command."""
    assert not issubclass(ImageRefused, ConvscopeError)
    assert str(ImageRefused("truncated")) == "truncated"
