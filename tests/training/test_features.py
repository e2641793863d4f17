"""training/features.py: features are computed once, kept in files, and never used for another network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_images import write_folder

from convscope.datasets.dataset import Dataset, open_dataset
from convscope.networks.catalog import build_network, read_weights, set_weights, submodel
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.training import features as module
from convscope.training.features import compute_features

pytestmark = pytest.mark.tensorflow

RECIPE = resolve(Recipe(network="classic", image_size=16, filters=(4, 4), dense_units=6, seed=5))
FILES = ("000000000.float16", "000000016.float16", "000000032.float16")


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """36 images in an empty cache; their features are kept in files of 16, computed in batches of 5."""
    monkeypatch.setattr(module, "IMAGES_PER_FILE", 16)
    monkeypatch.setattr(module, "BATCH_SIZE", 5)
    return open_dataset(write_folder(tmp_path / "photos", per_class=12), RECIPE, cache=tmp_path / "cache")


@pytest.fixture
def model() -> Any:
    """A small network with random weights."""
    return build_network(RECIPE, 3)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that the network was called with."""
    counts: list[int] = []
    make = module.make_inference

    def counting(network: Any) -> Callable[[Any], Any]:
        infer = make(network)

        def count(images: Any) -> Any:
            counts.append(len(images))
            return infer(images)

        return count

    monkeypatch.setattr(module, "make_inference", counting)
    return counts


def folders(dataset: Dataset) -> list[Path]:
    """The folders of features beside the decoded images."""
    return sorted(Path(str(dataset.images.filename)).parent.glob("features-*"))  # type: ignore[attr-defined]


def test_they_are_the_output_of_the_layer(dataset: Dataset, model: Any) -> None:
    """The output of the layer `features` for each image, in half precision, computed or read back."""
    expected = submodel(model, "features")(dataset.images[:], training=False)["features"].numpy()
    assert np.ptp(expected, axis=0).max() > 0.01
    for _ in range(2):
        features = compute_features(model, dataset.images)
        assert (features.shape, features.dtype) == ((36, 6), np.float16)
        np.testing.assert_allclose(features, expected, rtol=2e-3, atol=1e-4)


def test_they_are_computed_once(dataset: Dataset, model: Any, seen: list[int]) -> None:
    """Kept in files beside the images; the next time the network is not called, nor is an equal one."""
    first = compute_features(model, dataset.images)
    assert sum(seen) == 36
    (folder,) = folders(dataset)
    assert tuple(sorted(file.name for file in folder.iterdir())) == FILES
    seen.clear()
    again = compute_features(build_network(RECIPE, 3), dataset.images)
    assert again.tobytes() == first.tobytes()
    assert seen == []


@pytest.mark.parametrize("damage", ["deleted", "truncated", "longer", "empty"])
def test_an_incomplete_file_is_computed_again(dataset: Dataset, model: Any, seen: list[int], damage: str) -> None:
    """Only that one, with the same bytes."""
    first = compute_features(model, dataset.images)
    file = folders(dataset)[0] / FILES[1]
    content = file.read_bytes()
    if damage == "deleted":
        file.unlink()
    else:
        file.write_bytes({"truncated": content[:-1], "longer": content + b"\0\0", "empty": b""}[damage])
    seen.clear()
    assert compute_features(model, dataset.images).tobytes() == first.tobytes()
    assert sum(seen) == 16
    assert file.read_bytes() == content


def test_what_was_computed_before_a_stop_is_kept(
    dataset: Dataset, model: Any, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second file leaves the first one complete and nothing else; the rest is computed the next time."""
    make = module.make_inference

    def stopping(network: Any) -> Callable[[Any], Any]:
        infer = make(network)

        def stop(images: Any) -> Any:
            if sum(seen) >= 20:
                raise KeyboardInterrupt
            return infer(images)

        return stop

    with monkeypatch.context() as patch:
        patch.setattr(module, "make_inference", stopping)
        with pytest.raises(KeyboardInterrupt):
            compute_features(model, dataset.images)
    assert [file.name for file in folders(dataset)[0].iterdir()] == [FILES[0]]
    seen.clear()
    compute_features(model, dataset.images)
    assert sum(seen) == 20


def test_other_networks_weights_and_precisions_have_other_folders(dataset: Dataset, model: Any) -> None:
    """Whatever changes the features changes the name of their folder."""
    others = [
        build_network(replace(RECIPE, dense_units=7), 3),
        build_network(replace(RECIPE, seed=6), 3),
        build_network(RECIPE, 3, precision="bfloat16"),
    ]
    changed = build_network(RECIPE, 3)
    weights = read_weights(changed)
    weights["block1_convolution/bias"][0] += 1e-6
    set_weights(changed, weights)
    for count, network in enumerate([model, *others, changed], start=1):
        compute_features(network, dataset.images)
        assert len(folders(dataset)) == count


def test_the_head_is_no_part_of_the_name(dataset: Dataset, model: Any, seen: list[int]) -> None:
    """Another head, or one of other classes, has the same features."""
    compute_features(model, dataset.images)
    seen.clear()
    weights = read_weights(model)
    set_weights(model, {name: array + name.startswith("logits/") for name, array in weights.items()})
    compute_features(model, dataset.images)
    other = build_network(RECIPE, 5)
    set_weights(other, {**read_weights(other), **{n: a for n, a in weights.items() if not n.startswith("logits/")}})
    compute_features(other, dataset.images)
    assert seen == []


def test_other_images_have_other_features(dataset: Dataset, model: Any, tmp_path: Path) -> None:
    """They are kept beside their images, which another size or another file makes a new cache of."""
    compute_features(model, dataset.images)
    write_folder(tmp_path / "photos", per_class=13, seed=0)
    more = open_dataset(tmp_path / "photos", RECIPE, cache=tmp_path / "cache")
    assert len(compute_features(model, more.images)) == 39
    assert folders(more) != folders(dataset)


def test_features_of_arrays_are_not_kept(dataset: Dataset, model: Any, seen: list[int]) -> None:
    """A plain array, or some images of a memory map, has no file that features could be kept beside."""
    features = compute_features(model, np.array(dataset.images))
    features_of_some = compute_features(model, dataset.images[:20])
    assert folders(dataset) == []
    assert sum(seen) == 56
    assert features_of_some.tobytes() == features[:20].tobytes()
    assert compute_features(model, np.empty((0, 16, 16, 3), np.uint8)).shape == (0, 6)
