"""The promise: what `import convscope` offers is exactly this list, documented, and hidden by nothing."""

from __future__ import annotations

import inspect
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import convscope

NAMES = (
    "__version__",
    "Bundle",
    "ConvscopeError",
    "Dataset",
    "Learner",
    "Recipe",
    "Run",
    "ServiceSettings",
    "Shard",
    "Table",
    "demo",
    "evaluate",
    "explain",
    "export",
    "merge",
    "open_bundle",
    "open_dataset",
    "open_inside",
    "open_run",
    "predict",
    "read_image",
    "serve",
    "train",
    "verify",
)
NEED_TENSORFLOW = ("Learner", "demo", "train")
LOADED = [
    pytest.param(name, marks=pytest.mark.tensorflow) if name in NEED_TENSORFLOW else name
    for name in NAMES
    if name != "__version__"
]


def test_list_is_exact() -> None:
    """A name that comes or goes is a decision, and changes this test."""
    assert tuple(convscope.__all__) == NAMES
    assert dir(convscope) == sorted(NAMES)


@pytest.mark.parametrize("name", LOADED)
def test_each_name_is_there_and_documented(name: str) -> None:
    """It can be had, is what it is called, says what it does, and every argument has its type."""
    found = getattr(convscope, name)
    assert found.__name__ == name
    assert inspect.getdoc(found)
    if inspect.isfunction(found):
        assert set(inspect.get_annotations(found)) == {*inspect.signature(found).parameters, "return"}


@pytest.mark.tensorflow
def test_verbs_stay_functions_when_their_modules_are_loaded() -> None:
    """`convscope.train` is the function, also after somebody has imported the module that holds it."""
    for module in ("training.training", "evaluation.evaluation", "explanation.explanation", "demonstration"):
        import_module(f"convscope.{module}")
    for verb in ("train", "evaluate", "explain", "predict", "demo"):
        assert inspect.isfunction(getattr(convscope, verb))


def test_other_names_are_no_names() -> None:
    """A wrong name is an AttributeError that says it, as in any module."""
    with pytest.raises(AttributeError, match="module 'convscope' has no attribute 'trian'"):
        _ = convscope.trian


def test_version_is_that_of_the_project() -> None:
    """The version that is said is the one that is released."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert convscope.__version__ == project["version"]
