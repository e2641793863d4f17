"""training/features.py: a network's features are computed once, kept in whole parts, and taken for no other's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_images import write_folder

from convscope.datasets.dataset import Dataset, open_dataset
from convscope.networks.catalog import build_network, outputs_of, read_weights, set_weights
from convscope.recipe.recipe import Recipe
from convscope.training import features as module
from convscope.training.features import features_of

pytestmark = pytest.mark.tensorflow

RECIPE = Recipe(network="classic", image_size=16, filters=(4, 4), dense_units=6, seed=5)
PARTS = ("000000000.float16", "000000016.float16", "000000032.float16")


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """36 images in a cache of the test's own; their features are kept in parts of 16, computed 5 at a time."""
    monkeypatch.setattr(module, "PART_IMAGES", 16)
    monkeypatch.setattr(module, "COMPUTED_AT_ONCE", 5)
    return open_dataset(write_folder(tmp_path / "photos", per_class=12), RECIPE, cache=tmp_path / "cache")


@pytest.fixture
def model() -> Any:
    """A small network: that it has learned nothing does not matter here."""
    return build_network(RECIPE, 3)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the network looked at, one count for each time that it was asked."""
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
    """Where features are kept beside the decoded images."""
    return sorted(Path(str(dataset.images.filename)).parent.glob("features-*"))  # type: ignore[attr-defined]


def test_they_are_the_networks_own(dataset: Dataset, model: Any) -> None:
    """The output of the layer `features` for each image, in half precision, computed or read back."""
    expected = outputs_of(model, "features")(dataset.images[:], training=False)["features"].numpy()
    assert np.ptp(expected, axis=0).max() > 0.01
    for _ in range(2):
        found = features_of(model, dataset.images)
        assert (found.shape, found.dtype) == ((36, 6), np.float16)
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)


def test_they_are_computed_once(dataset: Dataset, model: Any, seen: list[int]) -> None:
    """Kept in parts beside the images; the next time the network is not asked, nor by the next network like it."""
    first = features_of(model, dataset.images)
    assert sum(seen) == 36
    (folder,) = folders(dataset)
    assert tuple(sorted(file.name for file in folder.iterdir())) == PARTS
    seen.clear()
    again = features_of(build_network(RECIPE, 3), dataset.images)
    assert again.tobytes() == first.tobytes()
    assert seen == []


@pytest.mark.parametrize("damage", ["deleted", "truncated", "longer", "empty"])
def test_a_part_that_is_not_whole_is_computed_again(dataset: Dataset, model: Any, seen: list[int], damage: str) -> None:
    """Only that one, and its file is there again with the same bytes."""
    first = features_of(model, dataset.images)
    file = folders(dataset)[0] / PARTS[1]
    content = file.read_bytes()
    if damage == "deleted":
        file.unlink()
    else:
        file.write_bytes({"truncated": content[:-1], "longer": content + b"\0\0", "empty": b""}[damage])
    seen.clear()
    assert features_of(model, dataset.images).tobytes() == first.tobytes()
    assert sum(seen) == 16
    assert file.read_bytes() == content


def test_what_was_computed_before_a_stop_is_kept(
    dataset: Dataset, model: Any, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second part leaves the first one whole and nothing else; the rest is computed the next time."""
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
            features_of(model, dataset.images)
    assert [file.name for file in folders(dataset)[0].iterdir()] == [PARTS[0]]
    seen.clear()
    features_of(model, dataset.images)
    assert sum(seen) == 20


def test_other_networks_weights_and_precisions_have_other_names(dataset: Dataset, model: Any) -> None:
    """What changes the features changes the name that they are kept under."""
    others = [
        build_network(RECIPE.with_changes({"dense_units": 7}), 3),
        build_network(RECIPE.with_changes({"seed": 6}), 3),
        build_network(RECIPE, 3, precision="bfloat16"),
    ]
    changed = build_network(RECIPE, 3)
    weights = read_weights(changed)
    weights["block1_convolution/bias"][0] += 1e-6
    set_weights(changed, weights)
    for count, each in enumerate([model, *others, changed], start=1):
        features_of(each, dataset.images)
        assert len(folders(dataset)) == count


def test_the_head_is_no_part_of_the_name(dataset: Dataset, model: Any, seen: list[int]) -> None:
    """Another head, or one of other classes, has the same features."""
    features_of(model, dataset.images)
    seen.clear()
    weights = read_weights(model)
    set_weights(model, {name: array + name.startswith("logits/") for name, array in weights.items()})
    features_of(model, dataset.images)
    other = build_network(RECIPE, 5)
    set_weights(other, {**read_weights(other), **{n: a for n, a in weights.items() if not n.startswith("logits/")}})
    features_of(other, dataset.images)
    assert seen == []


def test_other_images_have_features_of_their_own(dataset: Dataset, model: Any, tmp_path: Path) -> None:
    """They lie beside the images that they are of: those of another size, or of more files, are others."""
    features_of(model, dataset.images)
    write_folder(tmp_path / "photos", per_class=13, seed=0)
    more = open_dataset(tmp_path / "photos", RECIPE, cache=tmp_path / "cache")
    found = features_of(model, more.images)
    assert len(found) == 39
    assert folders(more) != folders(dataset)


def test_arrays_are_looked_at_and_nothing_is_kept(dataset: Dataset, model: Any, seen: list[int]) -> None:
    """A plain array, or some images of a memory map, has no file that features could lie beside."""
    whole = features_of(model, np.array(dataset.images))
    some = features_of(model, dataset.images[:20])
    assert folders(dataset) == []
    assert sum(seen) == 56
    assert some.tobytes() == whole[:20].tobytes()
    assert features_of(model, np.empty((0, 16, 16, 3), np.uint8)).shape == (0, 6)
