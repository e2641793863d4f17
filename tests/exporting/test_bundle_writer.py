"""exporting/bundle_writer.py: the description of a bundle is true, and other tools can read it."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unprivileged_user import UnprivilegedUser

from convscope.bundle.bundle import NEIGHBOURS_FILE, Bundle, open_bundle
from convscope.bundle.model_file import METADATA_KEY
from convscope.bundle.neighbours import open_neighbours
from convscope.bundle.verification import verify
from convscope.datasets.dataset import open_dataset
from convscope.errors import BundleError
from convscope.evaluation.evaluation import evaluate
from convscope.files import read_json, read_table
from convscope.images.image_reader import read_image
from convscope.recipe.recipe import Recipe
from convscope.run import Run

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

SHORT = Recipe(network="classic", image_size=16, filters=(4,), dense_units=4, steps=2)


@pytest.fixture(scope="module")
def bundle(trained: Run) -> Bundle:
    """The model of a trained run."""
    return open_bundle(trained.path)


@pytest.fixture(scope="module")
def licensed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run on `photos` with a licence."""
    return train_short(photos, tmp_path_factory.mktemp("licensed") / "run", license="CC-BY-4.0")


def train_short(photos: Path, out: Path, **changes: Any) -> Run:
    """A run of two steps."""
    from convscope.training.training import train

    return train(photos, SHORT.with_changes(changes), out=out)


def hashes_of(run: Run) -> tuple[str, str]:
    """The hashes of data and split in the description of a model."""
    facts = open_bundle(run.path).facts["data"]
    return facts["sha256"], facts["split_sha256"]


def test_other_tools_read_the_metadata(bundle: Bundle) -> None:
    """Task, names, size, channels, version, date and licence are where and as Ultralytics' exports have them."""
    metadata = bundle.metadata
    assert metadata["task"] == "classify"
    assert ast.literal_eval(metadata["names"]) == dict(enumerate(bundle.classes))
    assert ast.literal_eval(metadata["imgsz"]) == [32, 32]
    assert metadata["channels"] == "3"
    assert (metadata["version"], metadata["date"]) == (bundle.facts["version"], bundle.facts["date"])
    assert metadata["license"] == ""
    assert json.loads(metadata[METADATA_KEY]) == bundle.facts


def test_files_of_the_bundle_match(trained: Run, bundle: Bundle) -> None:
    """model.json equals the description in model.onnx; the weights have the hash that both name."""
    assert read_json(trained.model / "model.json") == bundle.facts
    weights = (trained.model / "weights.safetensors").read_bytes()
    assert bundle.facts["weights"] == hashlib.sha256(weights).hexdigest()
    assert bundle.sha256 == hashlib.sha256((trained.model / "model.onnx").read_bytes()).hexdigest()


def test_training_images_lie_beside_the_model(trained: Run, bundle: Bundle) -> None:
    """All that it was trained on, and no others: each is its own nearest neighbour, most others are of its class."""
    rows = [row for row in read_table(trained.data_file) if row["split"] == "train"]
    index = open_neighbours(bundle)
    assert list(index.paths) == [row["path"] for row in rows]
    assert [bundle.classes[label] for label in index.labels] == [row["class"] for row in rows]
    facts = bundle.facts["neighbours"]
    assert (facts["images"], facts["of"]) == (len(rows), bundle.facts["data"]["train"])
    assert facts["sha256"] == hashlib.sha256((trained.model / NEIGHBOURS_FILE).read_bytes()).hexdigest()
    data = Path(trained.environment["data"])
    images = np.stack([read_image(data / path, size=32) for path in index.paths])
    neighbours = index.nearest(bundle.predict_with_features(images)[1])
    assert all(first.similarity > 0.9999 for first, *_ in neighbours)
    assert np.mean([other.label == first.label for first, *others in neighbours for other in others]) > 0.8


def test_accuracy_is_the_one_of_evaluate(trained: Run, bundle: Bundle, tmp_path: Path) -> None:
    """Value and interval, of as many images, are those of an evaluation on the validation images."""
    metrics = evaluate(trained.path, split="validation", out=tmp_path / "out").metrics.to_json()
    assert bundle.facts["metrics"] == {
        "split": "validation",
        "images": metrics["count"],
        "accuracy": metrics["accuracy"],
    }


def test_model_agrees_with_its_golden_images(trained: Run, bundle: Bundle) -> None:
    """A new model does, and their probabilities are not all the same."""
    assert verify(trained.path).agrees
    golden = bundle.golden
    assert 8 <= len(golden.images) <= 16
    assert np.ptp(golden.probabilities[:, 0]) > 0.05


def test_hashes_identify_data_and_splits(licensed: Run, photos: Path, tmp_path: Path) -> None:
    """Both are the same for the same data; another split changes that of the split, another class that of the data."""
    again = train_short(photos, tmp_path / "again")
    assert hashes_of(again) == hashes_of(licensed)
    assert (again.model / NEIGHBOURS_FILE).read_bytes() == (licensed.model / NEIGHBOURS_FILE).read_bytes()
    data, split = hashes_of(train_short(photos, tmp_path / "seed", seed=5))
    assert data == hashes_of(licensed)[0]
    assert split != hashes_of(licensed)[1]
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "disc" / "000.png").rename(tmp_path / "photos" / "ring" / "moved.png")
    data, _ = hashes_of(train_short(tmp_path / "photos", tmp_path / "moved"))
    assert data != hashes_of(licensed)[0]


def test_licence_is_that_of_the_recipe(licensed: Run) -> None:
    """The licence that the user chose is in the metadata."""
    assert open_bundle(licensed.path).metadata["license"] == "CC-BY-4.0"


def test_folder_that_cannot_be_written_is_an_error(trained: Run, unprivileged_user: UnprivilegedUser) -> None:
    """Whether it or its parent may not be written, or is a file; nothing is left there."""
    from convscope.exporting.bundle_writer import write_bundle
    from convscope.exporting.trained_network import load_network

    network = load_network(trained)
    dataset = open_dataset(Path(trained.environment["data"]), network.recipe)
    (unprivileged_user.folder / "file").write_text("mine")
    with unprivileged_user.impersonate():
        for folder in (unprivileged_user.folder / "model", unprivileged_user.folder / "file" / "model"):
            with pytest.raises(BundleError, match=r"cannot be written: (Permission denied|Not a directory)"):
                write_bundle(network.model, folder, recipe=network.recipe, dataset=dataset)
    assert [path.name for path in unprivileged_user.folder.iterdir()] == ["file"]
