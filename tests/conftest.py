"""Fixtures of all tests: a temporary cache, drawn images, the real data sets where they exist, a trained run."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings
from localized_shapes import write_shapes
from processes import Command, CommandResult
from sample_images import write_folder
from unprivileged_user import UnprivilegedUser, create_unprivileged_user

from convscope.errors import MissingExtra
from convscope.recipe.recipe import Recipe
from convscope.run import Run

NEEDS_TENSORFLOW = re.compile(r"^pytestmark = .*\bpytest\.mark\.tensorflow\b", re.MULTILINE)
USES_TENSORFLOW = re.compile(r"\bmark\.tensorflow\b")
REAL_DATA = Path(__file__).parents[2] / "shared" / "data"

# a slow machine does not fail a test
settings.register_profile("convscope", deadline=None)
settings.load_profile("convscope")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip files that need TensorFlow where such tests are deselected: loading it takes 5 seconds.

    Where they are selected, TensorFlow is configured as by the command line, before the first of them imports it.
    """
    if not collection_path.name.startswith("test_"):
        return None
    text = collection_path.read_text(encoding="utf-8")
    if "not tensorflow" in config.option.markexpr:
        return bool(NEEDS_TENSORFLOW.search(text)) or None
    if USES_TENSORFLOW.search(text):
        from convscope.networks.framework_setup import configure_tensorflow

        with suppress(MissingExtra):  # the tests that need it fail by themselves
            configure_tensorflow()
    return None


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of decoded images for this session, never the user's; child processes see it too."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVSCOPE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 60 drawn images, 32 x 32, in three classes. Read-only."""
    return write_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def unprivileged_user() -> Iterator[UnprivilegedUser]:
    """A user without permissions, for root too."""
    with create_unprivileged_user() as unprivileged_user:
        yield unprivileged_user


@pytest.fixture(scope="session")
def dogs_vs_cats() -> Path:
    """The 20,998 real photos, in `cat` and `dog`."""
    return _real("dogs-vs-cats")


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """The real 32 x 32 images, in `train/<class>` and `test/<class>`."""
    return _real("cifar10")


def _real(name: str) -> Path:
    folder = REAL_DATA / name
    if not os.path.isdir(folder):
        pytest.skip(f"the real photos are not here: {folder}")
    return folder


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command line in this process."""

    def run(*arguments: object) -> CommandResult:
        from convscope.cli.commands import main

        monkeypatch.setattr(sys, "argv", ["convscope", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return CommandResult(int(end.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def localized_shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 images of discs and rings, each in one half, 10 of them in the wrong folder. Read-only."""
    return write_shapes(tmp_path_factory.mktemp("localized_shapes") / "shapes", per_class=150)


@pytest.fixture(scope="session")
def trained(localized_shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small network trained on `localized_shapes`. Read-only: a test that changes it copies it."""
    from convscope.training.training import train

    recipe = Recipe(
        network="classic", image_size=32, filters=(8, 16), dense_units=32, learning_rate=3e-3, epochs=20, test=0.15
    )
    return train(localized_shapes, recipe, out=tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def trained_copy(trained: Run, tmp_path: Path) -> Run:
    """A copy of `trained`, to be changed."""
    return Run(Path(shutil.copytree(trained.path, tmp_path / "run")))


@pytest.fixture(scope="session")
def explained(trained: Run) -> Path:
    """The report of `trained`, in its folder with its figures."""
    from convscope.explanation.explanation import explain

    return explain(trained.path)
