"""exporting/bundle_writer.py: what a sealed model says of itself is true, and others can read it."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from convscope.bundle.bundle import METADATA_KEY, Bundle, open_bundle
from convscope.bundle.neighbours import NEIGHBOURS, neighbours_of
from convscope.bundle.verification import verify
from convscope.evaluation.evaluation import evaluate
from convscope.files import read_json, read_table
from convscope.images.reading import read_image
from convscope.recipe.recipe import Recipe
from convscope.run import Run

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

SHORT = Recipe(network="classic", image_size=16, filters=(4,), dense_units=4, steps=2)


@pytest.fixture(scope="module")
def bundle(trained: Run) -> Bundle:
    """The model of a run that has learned."""
    return open_bundle(trained.path)


def hashes_of(photos: Path, out: Path, recipe: Recipe = SHORT) -> tuple[str, str]:
    """The hashes of data and split that a model of `photos` carries."""
    from convscope.training.training import train

    facts = open_bundle(train(photos, recipe, out=out).path).facts["data"]
    return facts["sha256"], facts["split_sha256"]


def test_other_tools_read_the_metadata(bundle: Bundle) -> None:
    """Task, names, size, channels, version, date and licence are where and as Ultralytics' exports have them."""
    said = bundle.metadata
    assert said["task"] == "classify"
    assert ast.literal_eval(said["names"]) == dict(enumerate(bundle.classes))
    assert ast.literal_eval(said["imgsz"]) == [32, 32]
    assert said["channels"] == "3"
    assert (said["version"], said["date"]) == (bundle.facts["version"], bundle.facts["date"])
    assert said["license"] == ""
    assert json.loads(said[METADATA_KEY]) == bundle.facts


def test_files_of_the_model_belong_together(trained: Run, bundle: Bundle) -> None:
    """model.json says what is inside model.onnx; the weights have the hash that both name."""
    assert read_json(trained.model / "model.json") == bundle.facts
    weights = (trained.model / "weights.safetensors").read_bytes()
    assert bundle.facts["weights"] == hashlib.sha256(weights).hexdigest()
    assert bundle.sha256 == hashlib.sha256((trained.model / "model.onnx").read_bytes()).hexdigest()


def test_training_images_lie_beside_the_model(trained: Run, bundle: Bundle) -> None:
    """All that it learned from, and no others: each is found by its own features, and is most like its own class."""
    rows = [row for row in read_table(trained.data_file) if row["split"] == "train"]
    carried = neighbours_of(bundle)
    assert list(carried.paths) == [row["path"] for row in rows]
    assert [bundle.classes[label] for label in carried.labels] == [row["class"] for row in rows]
    said = bundle.facts["neighbours"]
    assert (said["images"], said["of"]) == (len(rows), bundle.facts["data"]["train"])
    assert said["sha256"] == hashlib.sha256((trained.model / NEIGHBOURS).read_bytes()).hexdigest()
    data = Path(trained.environment["data"])
    images = np.stack([read_image(data / path, size=32) for path in carried.paths])
    near = carried.nearest(bundle.see(images)[1])
    assert all(each[0].similarity > 0.9999 for each in near)
    alike = np.mean([other.label == each[0].label for each in near for other in each[1:]])
    assert alike > 0.8


def test_accuracy_inside_is_the_one_that_evaluate_finds(trained: Run, bundle: Bundle, tmp_path: Path) -> None:
    """Value and interval, of as many images, are those of an evaluation on the validation images."""
    judged = evaluate(trained.path, split="validation", out=tmp_path / "out").metrics.to_json()
    assert bundle.facts["metrics"] == {
        "split": "validation",
        "images": judged["count"],
        "accuracy": judged["accuracy"],
    }


def test_golden_images_are_answered_alike(trained: Run, bundle: Bundle) -> None:
    """A fresh model agrees with its own golden images, whose answers are not all the same."""
    assert verify(trained.path).agrees
    golden = bundle.golden
    assert 8 <= len(golden.images) <= 16
    assert np.ptp(golden.probabilities[:, 0]) > 0.05


def test_hashes_tell_data_and_splits_apart(photos: Path, tmp_path: Path) -> None:
    """Both are the same for the same data; another split changes one, another class or image both."""
    same = [hashes_of(photos, tmp_path / name) for name in ("first", "again")]
    assert same[0] == same[1]
    first, again = ((tmp_path / name / "model" / NEIGHBOURS).read_bytes() for name in ("first", "again"))
    assert first == again
    data, split = hashes_of(photos, tmp_path / "seed", SHORT.with_changes({"seed": 5}))
    assert data == same[0][0]
    assert split != same[0][1]
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "disc" / "000.png").rename(tmp_path / "photos" / "ring" / "moved.png")
    data, _ = hashes_of(tmp_path / "photos", tmp_path / "moved")
    assert data != same[0][0]


def test_licence_is_the_recipes(photos: Path, tmp_path: Path) -> None:
    """What the user says of the licence stands in the model."""
    from convscope.training.training import train

    run = train(photos, SHORT.with_changes({"license": "CC-BY-4.0"}), out=tmp_path / "run")
    assert open_bundle(run.path).metadata["license"] == "CC-BY-4.0"
