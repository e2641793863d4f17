"""bundle/bundle.py, model_file.py: a model of convscope opens from run, folder and file; all else is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_model import SMALL, random_model, write_onnx
from unprivileged_user import UnprivilegedUser

from convscope.bundle.bundle import open_bundle
from convscope.bundle.model_file import MAX_BYTES
from convscope.errors import BundleError
from convscope.images.decoder_pool import InputSpec

CLASSES = ("狗", 'a, "b"\n<c>', "cat")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a model and nothing else."""
    random_model(CLASSES).write(tmp_path / "run" / "model" / "model.onnx")
    return tmp_path / "run"


@pytest.mark.parametrize("path", ["", "model", "model/model.onnx"])
def test_opens_from_run_folder_and_file(run: Path, path: str) -> None:
    """The run, its model folder and the file itself are the same model, with its classes and its square."""
    bundle = open_bundle(run / path)
    assert bundle.path == run / "model" / "model.onnx"
    assert bundle.classes == CLASSES
    assert bundle.square == SMALL


@pytest.mark.parametrize("count", [1, 2, 33])
@pytest.mark.parametrize("square", [SMALL, InputSpec(5, "pad", 1)])
def test_probabilities_are_those_of_its_graph(tmp_path: Path, count: int, square: InputSpec) -> None:
    """Probabilities of any number of images are those of the same computation in NumPy, classes in their order."""
    model = random_model(CLASSES, square)
    images = np.random.default_rng(1).integers(256, size=(count, *square.shape), dtype=np.uint8)
    probabilities = open_bundle(model.write(tmp_path / "model.onnx")).predict(images)
    assert probabilities.shape == (count, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, model.predict(images), atol=1e-6)


def test_model_has_its_size_fit_and_channels(tmp_path: Path) -> None:
    """Size, fit and channels come from the file."""
    file = random_model(CLASSES, InputSpec(6, "crop", 1)).write(tmp_path / "model.onnx")
    assert open_bundle(file).square == InputSpec(6, "crop", 1)


def _nothing(path: Path) -> None:
    """No file at all."""


def _folder(path: Path) -> None:
    path.mkdir()


def _text(path: Path) -> None:
    path.write_text("not a model")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    content = random_model(CLASSES).write(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _foreign(path: Path) -> None:
    write_onnx(path, random_model(CLASSES), {"author": "somebody"})


def _deep(path: Path) -> None:
    write_onnx(path, random_model(CLASSES), {"convscope": "[" * 100_000})


def _garbled(path: Path) -> None:
    write_onnx(path, random_model(CLASSES), {"convscope": "{"})


def _list(path: Path) -> None:
    write_onnx(path, random_model(CLASSES), {"convscope": "[1]"})


def _newer(path: Path) -> None:
    random_model(CLASSES).write(path, format=2)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a sparse file


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_nothing, "no model in"),
        (_folder, "no model in"),
        (_text, "cannot be opened"),
        (_empty, "cannot be opened"),
        (_truncated, "cannot be opened"),
        (_foreign, "no description by convscope"),
        (_garbled, "cannot be opened"),
        (_deep, "cannot be opened"),
        (_list, "no description by convscope"),
        (_newer, "another format"),
        (_huge, "over 1 GB"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    """The error names the file and what is wrong with it, in three parts of one line each."""
    path = tmp_path / "other.onnx"
    make(path)
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    error = caught.value
    assert str(path) in error.found
    assert message in error.found
    assert all(part and "\n" not in part for part in (error.found, error.expected, error.fix))


def test_unfinished_run_has_its_own_error(tmp_path: Path) -> None:
    """Of a run that has no model yet, the fix is to continue its training."""
    (tmp_path / "recipe.toml").write_text("format = 1\n")
    with pytest.raises(BundleError) as caught:
        open_bundle(tmp_path)
    assert "its training is not finished" in caught.value.found
    assert "`convscope train` with `resume=True`" in caught.value.fix


def test_model_without_permission_is_refused(unprivileged_user: UnprivilegedUser) -> None:
    """A file or folder that may not be read is an error in three parts, not a traceback."""
    file = random_model(CLASSES).write(unprivileged_user.folder / "model.onnx")
    file.chmod(0)
    with unprivileged_user.impersonate(), pytest.raises(BundleError, match="cannot be opened"):
        open_bundle(file)
    unprivileged_user.folder.chmod(0)
    with unprivileged_user.impersonate(), pytest.raises(BundleError, match="cannot be opened"):
        open_bundle(file)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fit": "evil"},
        {"image_size": "8"},
        {"image_size": True},
        {"image_size": 10**6},
        {"channels": 2},
        {"classes": [1, None, "c"]},
        {"classes": ["a", "a", "b"]},
        {"classes": ["", "a", "b"]},
        {"classes": {"a": 1, "b": 2, "c": 3}},
        {"tolerance": 1.0},
        {"tolerance": "0"},
        {"data": [1, 2]},
        {"metrics": "99 %"},
        {"license": 3},
        {"blocks": "block1"},
        {"convolutions": [1]},
    ],
    ids=str,
)
def test_invalid_description_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    """A description is checked before anybody relies on it; the error names the value that is wrong."""
    file = random_model(("a", "b", "c")).write(tmp_path / "model.onnx", **wrong)
    (name,) = wrong
    with pytest.raises(BundleError, match=f"damaged at '{name}'"):
        open_bundle(file)


def test_probabilities_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    """A model whose weights are damaged so far gives no table of NaN."""
    model = random_model(CLASSES)
    model.matrix[3, 1] = np.nan
    bundle = open_bundle(model.write(tmp_path / "model.onnx"))
    with pytest.raises(BundleError, match="outputs are not finite"):
        bundle.predict(np.full((2, *SMALL.shape), 255, np.uint8))
