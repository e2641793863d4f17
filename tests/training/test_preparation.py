"""training/preparation.py: choices are completed for the listed images; only data that can be trained on opens."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from sample_images import write_folder

from convscope.datasets.listing import Listing, list_folder
from convscope.errors import FolderError, RecipeError
from convscope.recipe.defaults import EFFICIENTNET
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.recipe.validation import Precision
from convscope.training import preparation
from convscope.training.preparation import list_images, open_images, resolve_recipe

pytestmark = pytest.mark.tensorflow

SMALL = resolve(Recipe(network="classic", image_size=16, filters=(4,)))


@pytest.fixture
def listing(photos: Path) -> Listing:
    """60 images that are listed."""
    return list_folder(photos)


def test_a_recipe_is_completed_for_the_images(listing: Listing) -> None:
    """Network, precision and defaults; what was chosen stays."""
    recipe = resolve_recipe(Recipe(image_size=64, seed=3), listing)
    assert recipe == resolve(Recipe(image_size=64, seed=3), network=EFFICIENTNET, precision=recipe.precision)
    assert recipe.precision in get_args(Precision)
    chosen = Recipe(network="classic", precision="float32", epochs=7)
    assert resolve_recipe(chosen, listing) == resolve(chosen)


def test_a_budget_may_shrink_the_images(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a budget, for as many images as are listed."""
    calls = []

    def shrink(recipe: object, *, num_images: int) -> object:
        calls.append(num_images)
        return recipe

    monkeypatch.setattr(preparation, "fit_image_size", shrink)
    resolve_recipe(Recipe(network="compact", precision="float32"), listing)
    resolve_recipe(Recipe(network="compact", precision="float32", budget=60), listing)
    assert calls == [60]


def test_a_wrong_file_of_weights_is_an_error_now(listing: Listing, tmp_path: Path) -> None:
    """Before images are decoded, which may take minutes."""
    recipe = Recipe(network="keras:MobileNet", weights=str(tmp_path / "gone.weights.h5"), image_size=32)
    with pytest.raises(RecipeError, match="no such file"):
        resolve_recipe(recipe, listing)


def test_names_have_the_classes_if_the_recipe_says_so(tmp_path: Path) -> None:
    """Chosen or complete, a recipe lists the same; a manifest and a folder are listed, nothing is an error."""
    write_folder(tmp_path / "photos", ("disc",), per_class=2)
    for number, file in enumerate(sorted((tmp_path / "photos" / "disc").iterdir())):
        file.rename(tmp_path / f"{'cat' if number else 'dog'}.{number}.png")
    (tmp_path / "photos" / "disc").rmdir()
    (tmp_path / "photos").rmdir()
    choices = Recipe(network="classic", label_from_name=True)
    assert list_images(tmp_path, choices).classes == list_images(tmp_path, resolve(choices)).classes == ("cat", "dog")
    with pytest.raises(FolderError):
        list_images(tmp_path / "gone", Recipe())


def test_refused_images_are_allowed_up_to_a_share(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The summary is logged before the error, since it has their reasons."""
    caplog.set_level("INFO", logger="convscope")
    write_folder(tmp_path / "data", ("disc", "ring"), per_class=12)
    (tmp_path / "data" / "disc" / "broken.png").write_bytes(b"no image")
    recipe = Recipe(network="classic", image_size=16, filters=(4,))
    listing = list_images(tmp_path / "data", recipe)
    dataset = open_images(listing, resolve(recipe.with_changes({"max_refused": 0.05})))
    assert [(sample.path, sample.split, sample.reason) for sample in dataset.refused] == [
        ("disc/broken.png", "", "not an image")
    ]
    caplog.clear()
    with pytest.raises(FolderError, match="1 of 25 images refused"):
        open_images(listing, resolve(recipe.with_changes({"max_refused": 0.01})))
    assert "not an image" in caplog.text
