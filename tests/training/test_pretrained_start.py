"""training/pretrained_start.py: the head that is put into a network is fitted on training images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from numpy_network import cross_entropies, logits_of

from convscope.datasets.dataset import Dataset
from convscope.datasets.splits import Sample
from convscope.networks.catalog import build_network, read_weights
from convscope.recipe.recipe import Recipe
from convscope.training.pretrained_start import start_from_features

pytestmark = pytest.mark.tensorflow

RECIPE = Recipe(network="classic", image_size=8, channels=1, filters=(4,), dense_units=8, seed=3)


@pytest.fixture
def dataset() -> Dataset:
    """40 grey images to solve on and 20 to judge by, brighter for each of two classes; the last one was refused."""
    draw = np.random.default_rng(0)
    labels = (np.arange(61) % 2).astype(np.int32)
    images = draw.integers(0, 150, (61, 8, 8, 1), np.uint8) + (labels * 60).astype(np.uint8)[:, None, None, None]
    splits = ["train"] * 40 + ["validation"] * 20 + [""]
    samples = [Sample(f"{row}.png", "ab"[label], split, str(row), "", "") for row, (label, split) in enumerate(
        zip(labels, splits, strict=True)
    )]  # fmt: skip
    labels[60] = -1
    return Dataset(Path("noise"), ("a", "b"), tuple(samples), images, labels, {}, ())


def start(dataset: Dataset) -> tuple[Any, Any]:
    """A network with its solved head, and how that was judged."""
    model = build_network(RECIPE, 2)
    return model, start_from_features(model, dataset, seed=RECIPE.seed)


def figures(model: Any, dataset: Dataset, rows: NDArray[np.int64]) -> tuple[float, float]:
    """Loss and accuracy of a network, by NumPy."""
    logits, labels = logits_of(read_weights(model), dataset.images[rows]), dataset.labels[rows]
    return float(cross_entropies(logits, labels).mean()), float((logits.argmax(axis=1) == labels).mean())


def test_it_is_judged_as_the_network_answers(dataset: Dataset) -> None:
    """Loss and accuracy on both splits are those of the whole network, but for the features' half precision."""
    model, judged = start(dataset)
    assert (judged.loss, judged.accuracy) == pytest.approx(figures(model, dataset, dataset.rows("train")), abs=0.01)
    expected = figures(model, dataset, dataset.rows("validation"))
    assert (judged.val_loss, judged.val_accuracy) == pytest.approx(expected, abs=0.01)
    assert judged.val_accuracy > 0.8


def test_nothing_but_the_head_changes(dataset: Dataset) -> None:
    """All other weights are those that the network came with."""
    before = read_weights(build_network(RECIPE, 2))
    after = read_weights(start(dataset)[0])
    assert {name for name in before if not np.array_equal(before[name], after[name])} == {
        "logits/kernel",
        "logits/bias",
    }


def test_validation_images_teach_nothing(dataset: Dataset) -> None:
    """With other labels, or other pixels, of those that judge, the head is the same bits, and judged otherwise."""
    rows = dataset.rows("validation")
    labels, images = dataset.labels.copy(), dataset.images.copy()
    labels[rows] = 1 - labels[rows]
    images[rows] = 255 - images[rows]
    one, judged = start(dataset)
    for other in (replace(dataset, labels=labels), replace(dataset, images=images)):
        two, differently = start(other)
        assert read_weights(two)["logits/kernel"].tobytes() == read_weights(one)["logits/kernel"].tobytes()
        assert (differently.loss, differently.accuracy) == (judged.loss, judged.accuracy)
        assert differently.val_loss > judged.val_loss


def test_the_person_is_told(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    """On how many images it was solved, and how it is judged, on standard error."""
    _, judged = start(dataset)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == (
        f"head solved on the features of 40 images: validation accuracy {judged.val_accuracy:.1%},"
        f" loss {judged.val_loss:.4f}"
    )
