"""The verb `verify`: a model that answers as it did agrees; one whose weights changed since differs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import Command
from sample_images import KINDS
from tiny_model import TinyModel, random_model

from convscope.bundle.bundle import GOLDEN_KEY
from convscope.bundle.golden import draw_golden
from convscope.bundle.verification import verify
from convscope.errors import BundleError
from convscope.images.decoding import Square
from convscope.run import Run

CLASSES = ("a", "b", "c")
SQUARE = Square(8)


def write(folder: Path, model: TinyModel, witness: TinyModel) -> Path:
    """`model` with golden images that `witness` answered."""
    golden = {GOLDEN_KEY: draw_golden(witness.answer, SQUARE, seed=0).to_text()}
    return add_metadata(model.write(folder / "model.onnx"), golden)


def add_metadata(file: Path, said: dict[str, str]) -> Path:
    """Let a model say more of itself."""
    import onnx

    proto = onnx.load_model(file)
    for key, value in said.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save_model(proto, file)
    return file


def test_unchanged_model_agrees(tmp_path: Path, cli: Command) -> None:
    """The same answers, to what processors differ by; the command says so and ends with 0."""
    model = random_model(CLASSES, SQUARE)
    file = write(tmp_path, model, model)
    found = verify(file)
    assert found.agrees
    assert 8 <= found.images == found.same_labels <= 16
    assert found.difference < 1e-6
    ended = cli("verify", file)
    assert ended.code == 0
    assert ended.out.startswith("agree: largest difference of a probability ")
    assert "not a bit has changed" not in ended.out  # it has no seal


def test_changed_model_differs(tmp_path: Path, cli: Command) -> None:
    """One weight that is another by a little is enough; the command says by how much and ends with 2."""
    model = random_model(CLASSES, SQUARE)
    matrix = model.matrix.copy()
    matrix[7, 1] += 0.1
    changed = TinyModel(CLASSES, SQUARE, matrix)
    file = write(tmp_path, changed, model)
    images = draw_golden(model.answer, SQUARE, seed=0).images
    expected = np.abs(changed.answer(images) - model.answer(images)).max()
    found = verify(file)
    assert not found.agrees
    assert found.difference == pytest.approx(expected, rel=1e-3)
    ended = cli("verify", file)
    assert ended.code == 2
    assert ended.out.startswith("differ: ")
    assert "answers here differ: largest difference of a probability" in ended.err


def test_model_without_golden_images_is_told(tmp_path: Path) -> None:
    """There is nothing to compare with, and that is said."""
    file = random_model(CLASSES, SQUARE).write(tmp_path / "model.onnx")
    with pytest.raises(BundleError, match="carries no golden images"):
        verify(file)


def test_training_images_beside_the_model_are_looked_at(tmp_path: Path, photos: Path) -> None:
    """They belong to it, or are told: a pixel that changed, those of another model."""
    model = random_model(KINDS, SQUARE)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        golden = {GOLDEN_KEY: draw_golden(model.answer, SQUARE, seed=0).to_text()}
        add_metadata(model.write_with_neighbours(tmp_path / name, photos, weights=name), golden)
    assert verify(tmp_path / "one").beside == ("neighbours.safetensors",)
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


@pytest.fixture
def run_copy(trained: Run, tmp_path: Path) -> Run:
    """A trained run, to be damaged."""
    return Run(Path(shutil.copytree(trained.path, tmp_path / "run")))


@pytest.mark.tensorflow
def test_whole_folder_belongs_together(run_copy: Run) -> None:
    """Of a run folder what lies beside the model is looked at too, and named; of a file alone it is not."""
    whole = ("inside.onnx", "weights.safetensors", "neighbours.safetensors", "labels.txt", "model.json")
    assert verify(run_copy.path).beside == whole
    assert verify(run_copy.path).describe().endswith(f"not a bit has changed; {', '.join(whole)} belong to it")
    assert verify(run_copy.model / "model.onnx").beside == ()
    (run_copy.model / "inside.onnx").unlink()
    (run_copy.model / "neighbours.safetensors").unlink()
    assert verify(run_copy.path).beside == ("weights.safetensors", "labels.txt", "model.json")


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "name", ["inside.onnx", "weights.safetensors", "neighbours.safetensors", "labels.txt", "model.json"]
)
def test_damage_beside_the_model_is_told(run_copy: Run, name: str) -> None:
    """A file that was cut off is named."""
    file = run_copy.model / name
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(BundleError, match=re.escape(name)):
        verify(run_copy.path)


@pytest.mark.tensorflow
def test_description_that_was_edited_is_told(run_copy: Run) -> None:
    """Whoever reads the classes from model.json in another program would get others."""
    file = run_copy.model / "model.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"disc"', '"cow"'), encoding="utf-8")
    with pytest.raises(BundleError, match=r"model\.json, which is damaged or of another model"):
        verify(run_copy.path)
