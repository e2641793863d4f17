"""The promise: the public names of `convscope` are exactly this list, documented, and not shadowed by modules."""

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
    "BundleError",
    "CacheError",
    "ConvscopeError",
    "Dataset",
    "ExportError",
    "FolderError",
    "ImageRefused",
    "Interrupted",
    "Learner",
    "MissingExtra",
    "Progress",
    "Recipe",
    "RecipeError",
    "ResolvedRecipe",
    "Run",
    "RunError",
    "ServiceSettings",
    "Shard",
    "Table",
    "configure_tensorflow",
    "demo",
    "evaluate",
    "explain",
    "export",
    "merge",
    "open_bundle",
    "open_dataset",
    "open_introspection",
    "open_run",
    "predict",
    "read_image",
    "report_progress",
    "resolve",
    "save_bundle",
    "serve",
    "train",
    "verify",
)
NEED_TENSORFLOW = ("Learner", "demo", "save_bundle", "train")
LOADED = [
    pytest.param(name, marks=pytest.mark.tensorflow) if name in NEED_TENSORFLOW else name
    for name in NAMES
    if name != "__version__"
]


def test_list_is_exact() -> None:
    """Adding or removing a name changes this test."""
    assert tuple(convscope.__all__) == NAMES
    assert dir(convscope) == sorted(NAMES)


@pytest.mark.parametrize("name", LOADED)
def test_each_name_is_there_and_documented(name: str) -> None:
    """It can be imported under the name of its definition, has a docstring, and every parameter has a type."""
    public = getattr(convscope, name)
    assert public.__name__ == name
    assert inspect.getdoc(public)
    if inspect.isfunction(public):
        assert set(inspect.get_annotations(inspect.unwrap(public))) == {*inspect.signature(public).parameters, "return"}


@pytest.mark.tensorflow
def test_verbs_stay_functions_when_their_modules_are_loaded() -> None:
    """`convscope.train` is the function, also after the module that holds it has been imported."""
    for module in ("training.training", "evaluation.evaluation", "explanation.explanation", "demonstration"):
        import_module(f"convscope.{module}")
    for verb in ("train", "evaluate", "explain", "predict", "demo"):
        assert inspect.isfunction(getattr(convscope, verb))


def test_unknown_names_are_attribute_errors() -> None:
    """A wrong name is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="module 'convscope' has no attribute 'trian'"):
        _ = convscope.trian


def test_version_is_that_of_the_project() -> None:
    """`convscope.__version__` is that of pyproject.toml."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert convscope.__version__ == project["version"]


def test_every_name_is_described_in_one_line() -> None:
    """In the source of the package, behind the name."""
    lines = Path(convscope.__file__).read_text(encoding="utf-8").splitlines()
    for name in NAMES[1:]:
        assert [line for line in lines if line.startswith(f'    "{name}": "convscope.') and ",  # " in line], name
