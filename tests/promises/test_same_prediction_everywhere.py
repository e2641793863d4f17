"""The promise: a network in Keras and its bundle in ONNX Runtime predict the same, from the image file on."""

from __future__ import annotations

import csv
import json
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file
from sample_images import KINDS, draw, encode

from convscope.bundle.bundle import Bundle, open_bundle
from convscope.datasets.dataset import open_dataset
from convscope.exporting.bundle_writer import write_bundle
from convscope.networks.catalog import build_network, read_weights, set_weights, submodel
from convscope.prediction.prediction import predict
from convscope.recipe.defaults import EFFICIENTNET
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import ResolvedRecipe, resolve
from convscope.recipe.validation import Fit

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

TOLERANCE = 1e-5
NUM_PASSES = 40  # after which moving statistics are those of the images
SMALL: dict[str, dict[str, Any]] = {
    "classic": {"image_size": 24, "filters": (6, 8), "dense_units": 16},
    "compact": {"image_size": 24, "filters": (6, 8, 12), "sizes": (), "size_shares": ()},
    EFFICIENTNET: {"image_size": 32},
}
CASES = [
    resolve(Recipe(network=network, fit=fit, channels=channels, **choices))
    for network, choices in SMALL.items()
    for fit in typing.get_args(Fit)
    for channels in (1, 3)
    if network != EFFICIENTNET or channels == 3
] + [resolve(Recipe(network=network)) for network in SMALL]


@dataclass(frozen=True)
class Case:
    """A network, its bundle, and 48 images as training reads them."""

    recipe: ResolvedRecipe
    model: Any
    bundle: Bundle
    paths: list[str]
    images: np.ndarray


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawings of three classes, none of them square, some of them JPEG, grey, or with a transparent corner."""
    root = tmp_path_factory.mktemp("photos")
    for kind in KINDS:
        (root / kind).mkdir()
        for number in range(16):
            image = draw(kind, 60, number)[: 25 + 2 * number]
            if number % 4 == 0:
                (root / kind / f"{number:02d}.jpg").write_bytes(encode(image, "JPEG"))
            elif number % 4 == 1:
                (root / kind / f"{number:02d}.png").write_bytes(encode(image[..., 0]))
            elif number % 4 == 2:
                alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
                alpha[:20, :20] = 90
                (root / kind / f"{number:02d}.png").write_bytes(encode(np.concatenate([image, alpha], axis=2)))
            else:
                (root / kind / f"{number:02d}.webp").write_bytes(encode(image, "WEBP"))
    return root


@pytest.fixture(
    scope="module",
    params=CASES,
    ids=lambda recipe: f"{recipe.network}-{recipe.image_size}-{recipe.fit}-{recipe.channels}",
)
def case(request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Each network small with each fit and each number of channels, and as its default is."""
    recipe: ResolvedRecipe = request.param
    dataset = open_dataset(photos, recipe)
    model = build_network(recipe, len(dataset.classes))
    set_distinct_weights(model, dataset.images, is_pretrained=recipe.weights != "none")
    folder = tmp_path_factory.mktemp("model") / "model"
    write_bundle(model, folder, recipe=recipe, dataset=dataset)
    paths = [str(photos / sample.path) for sample in dataset.samples]
    return Case(recipe, model, open_bundle(folder), paths, np.asarray(dataset.images))


def set_distinct_weights(model: Any, images: np.ndarray, *, is_pretrained: bool) -> None:
    """Give a network weights with which its predictions differ: each logit has mean 0 and standard deviation 1.

    A pretrained network gets another head only.
    """
    draws = np.random.default_rng(3)
    kept = ("/scale", "/variance")
    weights = {
        name: array
        if name.endswith(kept) or (is_pretrained and not name.startswith("logits/"))
        else draws.normal(0, 0.2, array.shape).astype("f4")
        for name, array in read_weights(model).items()
    }
    set_weights(model, weights)
    if model.non_trainable_weights:
        for _ in range(NUM_PASSES):
            model(images, training=True)
        weights = read_weights(model)
    logits = submodel(model, "logits")(images, training=False)["logits"].numpy()
    weights["logits/kernel"] /= logits.std(axis=0)
    weights["logits/bias"] = (weights["logits/bias"] - logits.mean(axis=0)) / logits.std(axis=0)
    set_weights(model, weights)


def keras_predictions(case: Case, images: np.ndarray) -> np.ndarray:
    """The probabilities of the Keras network."""
    probabilities: np.ndarray = case.model(images, training=False).numpy()
    return probabilities


@pytest.mark.parametrize("count", [1, 7, 32])
def test_bundle_predicts_as_the_network(case: Case, count: int) -> None:
    """The probabilities of any number of images agree to 1e-5, which differ between images."""
    images = case.images[:count]
    probabilities = case.bundle.predict(images)
    assert probabilities.shape == (count, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, keras_predictions(case, images), rtol=0, atol=TOLERANCE)
    assert np.ptp(keras_predictions(case, case.images), axis=0).min() > 0.1


def test_batch_size_does_not_matter(case: Case) -> None:
    """The prediction for an image is the same alone and in a batch."""
    together = case.bundle.predict(case.images)
    one_by_one = np.concatenate([case.bundle.predict(case.images[row : row + 1]) for row in range(len(case.images))])
    np.testing.assert_allclose(one_by_one, together, rtol=0, atol=TOLERANCE)


def test_files_are_predicted_as_in_training(case: Case, tmp_path: Path) -> None:
    """From the file on: `predict` reads, fits and predicts each file as training did, in the order of the inputs."""
    table = tmp_path / "predictions.csv"
    predict(case.bundle.path, case.paths, out=table)
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == case.paths
    assert {row["status"] for row in rows} == {"ok"}
    expected = keras_predictions(case, case.images)
    probabilities = np.array([[float(row[name]) for name in case.bundle.classes] for row in rows])
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=TOLERANCE)
    assert [row["label"] for row in rows] == [KINDS[number] for number in expected.argmax(axis=1)]


def test_features_agree(case: Case) -> None:
    """The graph's second output is the network's features."""
    session = onnxruntime.InferenceSession(case.bundle.path, providers=["CPUExecutionProvider"])
    (features,) = session.run(["features"], {"image": case.images[:7]})
    expected = submodel(case.model, "features")(case.images[:7], training=False)["features"].numpy()
    assert expected.max() > 0.1
    np.testing.assert_allclose(features, expected, rtol=0, atol=TOLERANCE * expected.max())


def test_bundle_describes_itself(case: Case) -> None:
    """The metadata of model.onnx and model.json are equal: classes, size, fit, channels; the weights are beside."""
    folder = case.bundle.path.parent
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert description["difference"] <= TOLERANCE
    assert description == case.bundle.facts
    assert case.bundle.classes == KINDS
    square = case.bundle.square
    assert (square.size, square.fit, square.channels) == (case.recipe.image_size, case.recipe.fit, case.recipe.channels)
    assert (folder / "labels.txt").read_text(encoding="utf-8").splitlines() == list(KINDS)
    kept, weights = load_file(folder / "weights.safetensors"), read_weights(case.model)
    assert kept.keys() == weights.keys()
    assert all((kept[name] == array).all() for name, array in weights.items())
