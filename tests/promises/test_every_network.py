"""The promise: everything that convscope does with a network, it does with every network."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learners import make_learner
from safetensors.numpy import load_file
from sample_images import KINDS, write_folder

from convscope.bundle.bundle import open_bundle
from convscope.bundle.introspection import open_introspection
from convscope.datasets.dataset import open_dataset
from convscope.explanation.explanation import explain
from convscope.exporting.conversion_client import ConversionJob
from convscope.exporting.conversion_worker import convert
from convscope.exporting.trained_network import load_network
from convscope.networks.catalog import build_network, read_weights, submodel
from convscope.networks.frameworks import keras
from convscope.networks.hirescam import block_names
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import ResolvedRecipe
from convscope.run import Run
from convscope.training.checkpoint import load_checkpoint
from convscope.training.training import train

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

TOLERANCE = 1e-5
CHOICES: dict[str, dict[str, Any]] = {
    "classic": {"filters": (4, 6), "dense_units": 8},
    "compact": {"filters": (4, 6, 8)},
    "efficientnet-lite0": {"weights": "none"},
    "keras:MobileNet": {"weights": "a file"},
    "user_network:network": {},
}


@dataclass(frozen=True)
class Case:
    """A network's recipe, its training images, and a run of it."""

    recipe: ResolvedRecipe
    data: Path
    run: Run


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 drawings of three shapes."""
    return write_folder(tmp_path_factory.mktemp("shapes"), per_class=8, size=32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights, in place of trained ones."""
    file = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    core = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3))
    for layer in core.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(np.full(layer.gamma.shape, 2.0))  # so that the last activations are not 0
    core.save_weights(file)
    return file


@pytest.fixture(scope="module", params=CHOICES)
def case(request: pytest.FixtureRequest, shapes: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Each kind of network, small, after two epochs of two steps."""
    network: str = request.param
    choices = CHOICES[network] | ({"weights": str(weights)} if CHOICES[network].get("weights") == "a file" else {})
    recipe = Recipe(network=network, image_size=32, batch_size=8, steps=4, precision="float32", seed=3, **choices)
    run = train(shapes, recipe, out=tmp_path_factory.mktemp("runs") / "run")
    return Case(run.recipe, shapes, run)


def images_of(case: Case) -> np.ndarray:
    """Noise that the network has not seen."""
    size = case.recipe.image_size
    return np.random.default_rng(0).integers(0, 256, (9, size, size, 3), np.uint8)


def test_first_predictions_are_probabilities_from_named_layers(case: Case) -> None:
    """Bytes become blocks (B, h, w, c), features (B, d), logits and probabilities (B, classes), the last in float32."""
    model = build_network(case.recipe, 4)
    assert (model.input.name, model.input.dtype) == ("image", "uint8")
    blocks = block_names(model)
    assert blocks == tuple(f"block{number}" for number in range(1, len(blocks) + 1))
    outputs = submodel(model, *blocks, "features", "logits", "probabilities")(images_of(case), training=False)
    assert {len(outputs[name].shape) for name in blocks} == {4}
    sides = [outputs[name].shape[1] for name in blocks]
    assert sides == sorted(sides, reverse=True)
    assert (len(outputs["features"].shape), outputs["features"].dtype) == (2, "float32")
    assert tuple(outputs["logits"].shape) == tuple(outputs["probabilities"].shape) == (9, 4)
    assert outputs["probabilities"].dtype == "float32"
    np.testing.assert_allclose(np.asarray(outputs["probabilities"]).sum(axis=1), 1, atol=1e-6)
    assert np.asarray(outputs["probabilities"]).min() >= 0


def test_first_weights_follow_from_the_seed(case: Case) -> None:
    """Built twice, a network has the same weights under the same names."""
    one, two = (read_weights(build_network(case.recipe, 4)) for _ in range(2))
    assert list(one) == list(two)
    assert all((one[name] == two[name]).all() for name in one)


def test_interrupted_training_ends_with_the_same_bits(case: Case) -> None:
    """From the middle checkpoint another learner gets to the last state of the run, to the bit; the weights change."""
    middle, end = sorted(case.run.checkpoints.iterdir())
    checkpoint = load_checkpoint(
        shutil.copytree(middle, case.run.path / "before" / middle.name).parent, on_damage=print
    )
    assert checkpoint is not None
    dataset = open_dataset(case.data, case.recipe)
    learner = make_learner(dataset, case.recipe, checkpoint=checkpoint)
    learner.fit(steps=learner.plan.num_steps - checkpoint.step)
    arrays, expected = learner.snapshot().arrays, load_file(end / "arrays.safetensors")
    assert arrays.keys() == expected.keys()
    assert {name for name in arrays if arrays[name].tobytes() != expected[name].tobytes()} == set()
    kernels = [name for name in arrays if name.startswith("weights/") and name.endswith("kernel")]
    changed = [name for name in kernels if (checkpoint.arrays[name] != expected[name]).any()]
    assert len(kernels) - len(changed) <= (case.recipe.network == "compact")  # whose first one is fixed


def test_bundle_predicts_as_the_rebuilt_network(case: Case) -> None:
    """Probabilities agree to 1e-5, with a network built from the recipe and the weights of the run."""
    network = load_network(case.run)
    bundle = open_bundle(case.run.path)
    assert network.classes == bundle.classes == KINDS
    expected = network.model(images_of(case), training=False).numpy()
    np.testing.assert_allclose(bundle.predict(images_of(case)), expected, rtol=0, atol=TOLERANCE)
    assert json.loads((case.run.model / "model.json").read_text(encoding="utf-8"))["network"] == case.recipe.network


def test_introspection_has_blocks_heat_maps_and_filters(case: Case) -> None:
    """Activations of every block, a heat map for each class at the size of the last block, and the first filters."""
    inside = open_introspection(case.run.path)
    result = inside.run(images_of(case)[0])
    last = result.activations[inside.blocks[-1]]
    assert result.heat.shape == (*last.shape[:2], len(KINDS))
    assert np.isfinite(result.heat).all()
    assert result.heat.min() >= 0
    name, filters = inside.first_filters()
    assert filters.ndim == 4
    model = load_network(case.run).model
    np.testing.assert_array_equal(filters, read_weights(model)[f"{name}/kernel"])
    activations = submodel(model, inside.blocks[0])(images_of(case)[:1], training=False)[inside.blocks[0]]
    np.testing.assert_allclose(result.activations[inside.blocks[0]], activations[0], rtol=1e-4, atol=1e-4)


def test_export_predicts_as_the_bundle(case: Case, tmp_path: Path) -> None:
    """As a SavedModel."""
    job = ConversionJob(to="savedmodel", run=str(case.run.path), folder=str(tmp_path), calibration="")
    outputs = convert(job, lambda _: None).predict(images_of(case))
    np.testing.assert_allclose(outputs, open_bundle(case.run.path).predict(images_of(case)), rtol=0, atol=TOLERANCE)


def test_explain_draws_every_block(case: Case, tmp_path: Path) -> None:
    """The page has the heat map and every block of an image."""
    image = next(case.data.rglob("*.png"))
    page = explain(case.run.path, [image], out=tmp_path).read_text(encoding="utf-8")
    drawn = {file.stem for file in (tmp_path / "figures").iterdir()}
    assert {"image1_heatmap", *(f"image1_{block}" for block in open_introspection(case.run.path).blocks)} < drawn
    assert "HiResCAM" in page
