"""Dataset: listing, pixels, labels and splits agree, and data that cannot be trained on is an error."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_images import near_copies, refused_files, scene, write_folder
from unprivileged_user import UnprivilegedUser

from convscope.datasets.dataset import (
    Dataset,
    check_dataset,
    count_samples,
    near_duplicate_groups,
    open_dataset,
    read_samples,
    write_samples,
)
from convscope.datasets.listing import list_folder
from convscope.datasets.splits import Sample
from convscope.errors import FolderError, RunError
from convscope.images.image_reader import read_image
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import ResolvedRecipe, resolve

RECIPE = resolve(Recipe(network="classic", image_size=12, filters=(4,), validation=0.25))
TEXTS = st.text(st.characters(exclude_categories=("Cs",)))


def refusal(data: Path, recipe: ResolvedRecipe = RECIPE) -> FolderError:
    """The error of a data set that cannot be trained on."""
    with pytest.raises(FolderError) as caught:
        check_dataset(open_dataset(data, recipe), max_refused=recipe.max_refused)
    return caught.value


def sample_of(dataset: Dataset, path: str) -> Sample:
    """The sample of a path."""
    return next(sample for sample in dataset.samples if sample.path == path)


def test_rows_labels_and_samples_agree(photos: Path) -> None:
    """Row i of the pixels is sample i, its label is the index of its class, and each row is in one split."""
    dataset = open_dataset(photos, RECIPE)
    assert dataset.classes == ("bar", "disc", "ring")
    assert dataset.images.shape == (60, 12, 12, 3)
    for row, sample in enumerate(dataset.samples):
        np.testing.assert_array_equal(dataset.images[row], read_image(photos / sample.path, size=12))
        assert dataset.classes[dataset.labels[row]] == sample.label == sample.path.split("/")[0]
    rows = [dataset.rows(split) for split in ("train", "validation", "test")]
    assert sorted(np.concatenate(rows).tolist()) == list(range(60))
    assert len(rows[1]) > 3
    assert len(rows[2]) == 0
    check_dataset(dataset, max_refused=0.0)


def test_the_recipe_determines_the_pixels(photos: Path) -> None:
    """Size, fit and channels of the recipe are those of the images."""
    dataset = open_dataset(photos, replace(RECIPE, channels=1, image_size=10, fit="crop"))
    expected = read_image(photos / dataset.samples[0].path, size=10, channels=1, fit="crop")
    np.testing.assert_array_equal(dataset.images[0], expected)


def test_opening_twice_gives_the_same(photos: Path) -> None:
    """The same folder and recipe give the same data set; another seed gives other splits."""
    first, second = open_dataset(photos, RECIPE), open_dataset(photos, RECIPE)
    assert first.samples == second.samples
    np.testing.assert_array_equal(first.labels, second.labels)
    assert open_dataset(photos, replace(RECIPE, seed=1)).samples != first.samples


def test_a_listing_is_opened_as_its_folder(photos: Path) -> None:
    """So that nobody needs to list twice; a path may be a string."""
    expected = open_dataset(photos, RECIPE)
    for data in (list_folder(photos), str(photos)):
        dataset = open_dataset(data, RECIPE)
        assert (dataset.root, dataset.samples) == (photos, expected.samples)
        np.testing.assert_array_equal(dataset.images, expected.images)


def test_refused_files_are_samples_too(tmp_path: Path) -> None:
    """A file that is refused, when listed or when decoded, is a sample with a reason, without split and label."""
    write_folder(tmp_path, per_class=8, size=12)
    for name, (data, _) in refused_files().items():
        (tmp_path / "ring" / name).write_bytes(data)
    (tmp_path / "loose.jpg").touch()
    (tmp_path / "ring" / "notes.txt").touch()
    (tmp_path / "void").mkdir()
    dataset = open_dataset(tmp_path, RECIPE)
    reasons = {f"ring/{name}": reason for name, (_, reason) in refused_files().items()}
    reasons |= {"loose.jpg": "in no class folder"}
    assert {sample.path: sample.reason for sample in dataset.refused} == reasons
    assert {sample.split for sample in dataset.refused} == {""}
    for row, sample in enumerate(dataset.samples):
        assert (dataset.labels[row] == -1) == bool(sample.reason)
    assert count_samples(dataset)["ring", "refused"] == len(refused_files())
    assert (dataset.ignored, dataset.empty) == ({".txt": 1}, ("void",))


@pytest.mark.slow
def test_labels_from_names_and_from_manifests(tmp_path: Path) -> None:
    """Folders, file names and a manifest give the same classes, pixels and splits."""
    write_folder(tmp_path / "folders", ("disc", "ring"), per_class=8, size=12)
    (tmp_path / "flat").mkdir()
    lines = ["path,label"]
    for file in sorted((tmp_path / "folders").rglob("*.png")):
        os.link(file, tmp_path / "flat" / f"{file.parent.name}.{file.stem}.png")
        lines.append(f"folders/{file.parent.name}/{file.name},{file.parent.name}")
    (tmp_path / "images.csv").write_text("\n".join(lines), encoding="utf-8")
    folders, manifest = open_dataset(tmp_path / "folders", RECIPE), open_dataset(tmp_path / "images.csv", RECIPE)
    flat = open_dataset(tmp_path / "flat", replace(RECIPE, label_from_name=True))
    for other in (flat, manifest):
        assert other.classes == folders.classes
        np.testing.assert_array_equal(other.images, folders.images)
        np.testing.assert_array_equal(other.labels, folders.labels)
        assert [sample.split for sample in other.samples] == [sample.split for sample in folders.samples]


def test_given_splits_are_kept(tmp_path: Path) -> None:
    """Images in train, val and test folders stay there."""
    for seed, split in enumerate(("train", "val", "test")):
        write_folder(tmp_path / split, per_class=4, seed=100 * seed)
    dataset = open_dataset(tmp_path, RECIPE)
    names = {"train": "train", "validation": "val", "test": "test"}
    assert len(dataset.samples) == 36
    assert all(sample.path.startswith(names[sample.split]) for sample in dataset.samples)


# what cannot be trained on


def test_one_class_is_an_error(tmp_path: Path) -> None:
    """Also where all files of a second class are refused when they are listed."""
    write_folder(tmp_path, ("disc",), per_class=4)
    error = refusal(tmp_path)
    assert error.found == f"one class, 'disc', in {tmp_path}"
    folder = os.fsencode(tmp_path) + b"/\xe9"
    os.mkdir(folder)
    open(folder + b"/1.jpg", "wb").close()
    assert "its name is not UTF-8" in refusal(tmp_path).found


def test_a_class_without_a_usable_image_is_an_error(tmp_path: Path) -> None:
    """The class is named, with the reason of one of its files, whatever share may be refused."""
    write_folder(tmp_path, ("disc", "ring"))
    (tmp_path / "bar").mkdir()
    (tmp_path / "bar" / "empty.jpg").touch()
    error = refusal(tmp_path, replace(RECIPE, max_refused=1.0))
    assert error.found == "no usable image of class 'bar' to train on: bar/empty.jpg: empty file"


def test_a_class_that_cannot_be_read_is_an_error(unprivileged_user: UnprivilegedUser) -> None:
    """A class folder without permission does not silently drop the class."""
    write_folder(unprivileged_user.folder, size=12)
    (unprivileged_user.folder / "ring").chmod(0)
    (unprivileged_user.folder / ".caches").mkdir()
    (unprivileged_user.folder / ".caches").chmod(0o777)
    with unprivileged_user.impersonate():
        dataset = open_dataset(unprivileged_user.folder, RECIPE, cache=unprivileged_user.folder / ".caches")
        with pytest.raises(FolderError, match=r"no usable image of class 'ring'.*without permission"):
            check_dataset(dataset, max_refused=1.0)


def test_more_refused_than_allowed_is_an_error(tmp_path: Path) -> None:
    """Exactly the allowed share is not; the reasons are counted."""
    write_folder(tmp_path, ("disc", "ring"), per_class=9, size=12)
    for number in range(2):
        (tmp_path / "ring" / f"empty{number}.jpg").touch()
    dataset = open_dataset(tmp_path, RECIPE)
    check_dataset(dataset, max_refused=0.1)
    with pytest.raises(FolderError) as caught:
        check_dataset(dataset, max_refused=0.099)
    assert caught.value.found == "2 of 20 images refused, such as ring/empty0.jpg: empty file"
    assert "2: empty file" in caught.value.expected


def test_one_image_of_each_class_leaves_none_for_validation(tmp_path: Path) -> None:
    """The only image of a class trains; if all classes have one image, there is no validation split."""
    write_folder(tmp_path, ("disc", "ring"), per_class=1)
    assert "none of them left for validation" in refusal(tmp_path).found
    write_folder(tmp_path, ("disc",), per_class=5)
    dataset = open_dataset(tmp_path, RECIPE)
    check_dataset(dataset, max_refused=0.0)
    assert sample_of(dataset, "ring/000.png").split == "train"


@pytest.mark.slow
def test_near_duplicates_are_counted_and_kept_together(tmp_path: Path) -> None:
    """Copies of a picture are one group, in one split, without refused files; exact copies alone are no group."""
    write_folder(tmp_path, ("disc", "ring"), per_class=10, size=48)
    os.link(tmp_path / "disc" / "000.png", tmp_path / "disc" / "exact copy.png")
    recipe = replace(RECIPE, image_size=48)
    assert near_duplicate_groups(open_dataset(tmp_path, recipe)) == []
    for name, data in near_copies(scene(200, 1)).items():
        (tmp_path / "ring" / f"{name}.image.jpg").write_bytes(data)
    (tmp_path / "ring" / "broken.jpg").write_bytes(data[:900])
    dataset = open_dataset(tmp_path, recipe)
    (group,) = near_duplicate_groups(dataset)
    assert len(group) == len(near_copies(scene(200, 1)))
    assert len({sample.split for sample in group}) == 1
    assert {sample.group for sample in group} == {min(sample.sha256 for sample in group)[:16]}
    assert all(sample.group == sample.sha256[:16] for sample in dataset.samples if sample not in group)


# data.csv


@pytest.mark.slow
@settings(max_examples=15)
@given(st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(["train", "validation", "test", ""]), TEXTS), max_size=8))
def test_data_csv_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]
) -> None:
    """Paths, classes and reasons with commas, quotes, line breaks of any kind, control characters."""
    file = tmp_path_factory.getbasetemp() / "data.csv"
    samples = [Sample(path, label, split, "ab12", "ab12cd34", reason) for path, label, split, reason in rows]
    write_samples(file, samples)
    assert read_samples(file) == samples


def test_data_csv_has_a_row_for_every_file(tmp_path: Path) -> None:
    """Also for refused files, and for names that are not UTF-8 or hold quotes and line breaks."""
    data = write_folder(tmp_path / "data", ("disc", "ring"), per_class=3, size=12)
    for name in (b"line\nbreak.png", b"return\r.png", b'quo"te,.png', b"not\xfftext.png"):
        os.link(data / "disc" / "000.png", os.path.join(os.fsencode(data), b"disc", name))
    (data / "ring" / "empty.png").touch()
    dataset = open_dataset(data, RECIPE)
    write_samples(tmp_path / "data.csv", dataset.samples)
    assert tuple(read_samples(tmp_path / "data.csv")) == dataset.samples
    assert len(dataset.samples) == 11
    assert {sample.reason for sample in dataset.refused} == {"empty file", "its name is not UTF-8"}
    header = (tmp_path / "data.csv").read_text(encoding="utf-8", errors="surrogateescape").splitlines()[0]
    assert header == "path,class,split,group,sha256,status,reason"


@pytest.mark.parametrize("text", ["path,class\na,b\n", "path,class,split,group,sha256,status,reason\na,b\n", None])
def test_a_damaged_data_csv_is_named(text: str | None, tmp_path: Path) -> None:
    """Other columns, a damaged line, or no file: the error names it."""
    file = tmp_path / "data.csv"
    write_samples(file, [replace(Sample("a", "b", "train", "c", "d"), reason="x")])
    assert len(read_samples(file)) == 1
    file.unlink() if text is None else file.write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=r"data\.csv"):
        read_samples(file)
