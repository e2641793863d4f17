"""The verb `verify`: an unchanged model agrees with its golden images; one with changed weights differs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from processes import Command
from sample_images import KINDS
from tiny_model import TinyModel, random_model

from convscope.bundle.bundle import GOLDEN_KEY
from convscope.bundle.golden import draw_golden
from convscope.bundle.verification import verify
from convscope.errors import BundleError
from convscope.images.decoder_pool import InputSpec
from convscope.run import Run

CLASSES = ("a", "b", "c")
SQUARE = InputSpec(8)


def write(folder: Path, model: TinyModel, original: TinyModel) -> Path:
    """`model` with the golden images of `original`."""
    golden = {GOLDEN_KEY: draw_golden(original.predict, SQUARE, seed=0).to_text()}
    return add_metadata(model.write(folder / "model.onnx"), golden)


def add_metadata(file: Path, metadata: dict[str, str]) -> Path:
    """Add entries to the metadata of a model file."""
    import onnx

    proto = onnx.load_model(file)
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save_model(proto, file)
    return file


def test_unchanged_model_agrees(tmp_path: Path, cli: Command) -> None:
    """The same probabilities, up to rounding; the command prints it and exits with 0."""
    model = random_model(CLASSES, SQUARE)
    file = write(tmp_path, model, model)
    result = verify(file)
    assert result.agrees
    assert 8 <= result.num_images == result.same_labels <= 16
    assert result.difference < 1e-6
    command = cli("verify", file)
    assert command.code == 0
    assert command.out.startswith("agree: largest difference of a probability ")
    assert "intact" not in command.out  # it has no checksum


def test_changed_model_differs(tmp_path: Path, cli: Command) -> None:
    """A small change of one weight is enough; the command prints by how much and exits with 2."""
    model = random_model(CLASSES, SQUARE)
    matrix = model.matrix.copy()
    matrix[7, 1] += 0.1
    changed = TinyModel(CLASSES, SQUARE, matrix)
    file = write(tmp_path, changed, model)
    images = draw_golden(model.predict, SQUARE, seed=0).images
    expected = np.abs(changed.predict(images) - model.predict(images)).max()
    result = verify(file)
    assert not result.agrees
    assert result.difference == pytest.approx(expected, rel=1e-3)
    command = cli("verify", file)
    assert command.code == 2
    assert command.out.startswith("differ: ")
    assert "predictions here differ: largest difference of a probability" in command.err


def test_model_without_golden_images_is_an_error(tmp_path: Path) -> None:
    """There is nothing to compare with."""
    file = random_model(CLASSES, SQUARE).write(tmp_path / "model.onnx")
    with pytest.raises(BundleError, match="contains no golden images"):
        verify(file)


@pytest.mark.slow
def test_neighbour_index_beside_the_model_is_checked(tmp_path: Path, photos: Path) -> None:
    """A changed pixel is an error, and so is the index of another model."""
    model = random_model(KINDS, SQUARE)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        golden = {GOLDEN_KEY: draw_golden(model.predict, SQUARE, seed=0).to_text()}
        add_metadata(model.write_with_neighbours(tmp_path / name, photos, weights=name), golden)
    assert verify(tmp_path / "one").files == ("neighbours.safetensors",)
    file = tmp_path / "one" / "neighbours.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"?")
    with pytest.raises(BundleError, match=r"neighbours\.safetensors is damaged: it has changed"):
        verify(tmp_path / "one")
    shutil.copy(tmp_path / "other" / "neighbours.safetensors", file)
    with pytest.raises(BundleError, match=r"neighbours\.safetensors of another model than"):
        verify(tmp_path / "one")
    file.unlink()
    assert verify(tmp_path / "one").agrees


@pytest.mark.tensorflow
def test_all_files_of_a_folder_are_checked(trained_copy: Run) -> None:
    """Of a run folder the files beside the model are checked too; of a file alone they are not. JSON names them."""
    files = ("inside.onnx", "weights.safetensors", "neighbours.safetensors", "labels.txt", "model.json")
    result = verify(trained_copy.path)
    assert result.files == files
    assert result.describe().endswith(" golden images; all files intact")
    assert list(result.to_json()) == [
        *("agrees", "model", "images", "difference", "tolerance", "same_labels", "sealed", "beside")
    ]
    assert (result.to_json()["sealed"], result.to_json()["beside"]) == (True, files)
    assert verify(trained_copy.model / "model.onnx").files == ()
    assert verify(trained_copy.model / "model.onnx").describe().endswith(" golden images; the file is intact")
    (trained_copy.model / "inside.onnx").unlink()
    (trained_copy.model / "neighbours.safetensors").unlink()
    assert verify(trained_copy.path).files == ("weights.safetensors", "labels.txt", "model.json")


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "name", ["inside.onnx", "weights.safetensors", "neighbours.safetensors", "labels.txt", "model.json"]
)
def test_damage_beside_the_model_is_an_error(trained_copy: Run, name: str) -> None:
    """A truncated file is named."""
    file = trained_copy.model / name
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(BundleError, match=re.escape(name)):
        verify(trained_copy.path)


@pytest.mark.tensorflow
def test_edited_description_is_an_error(trained_copy: Run) -> None:
    """Another program that reads the classes from model.json would get wrong ones."""
    file = trained_copy.model / "model.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"disc"', '"cow"'), encoding="utf-8")
    with pytest.raises(BundleError, match=r"model\.json, which is damaged or of another model"):
        verify(trained_copy.path)
