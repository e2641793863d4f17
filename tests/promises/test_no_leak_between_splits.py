"""The promise: no image is in two splits, and none moves because others came."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

import pytest
from drawing import draw, encode, write_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.data.dataset import Dataset, open_dataset
from convscope.data.splits import Sample, deal
from convscope.recipe import Recipe

RECIPE = Recipe(network="classic", image_size=8, filters=(4,), validation=0.2, test=0.2)
TEXT = st.sampled_from("abcdef")


def splits_of(dataset: Dataset) -> dict[str, str]:
    """The split of each usable image."""
    return {sample.path: sample.split for sample in dataset.samples if not sample.reason}


def images(label: str, numbers: range) -> list[Sample]:
    """Different images of one class, not dealt yet."""
    return [Sample(f"{label}/{n}.jpg", label, "", f"{label}{n}", f"{label}{n}") for n in numbers]


@settings(max_examples=15)
@given(
    st.integers(0, 2**63 - 1),
    st.floats(0.1, 0.4),
    st.floats(0.1, 0.4),
    st.lists(st.integers(1, 200), min_size=1, max_size=3),
)
def test_images_that_come_move_no_others(seed: int, validation: float, test: float, more: list[int]) -> None:
    """Whatever is added to a class that is not tiny, and whatever other classes come, each image stays in its split."""
    before = images("cat", range(150)) + images("dog", range(150))
    after = [*before]
    for place, count in enumerate(more):
        label = ("cat", "dog", "newt")[place]
        after += images(label, range(1000, 1000 + count))
    dealt = {each.path: each.split for each in deal(before, validation=validation, test=test, seed=seed)}
    again = {each.path: each.split for each in deal(after[::-1], validation=validation, test=test, seed=seed)}
    assert {path: again[path] for path in dealt} == dealt


@st.composite
def heaps(draw: st.DrawFn) -> list[Sample]:
    """Any heap of images: few contents and classes, so that copies, contradictions and shared splits abound."""
    rows = st.tuples(TEXT, st.sampled_from(["cat", "dog"]), st.sampled_from(["", "", "train", "validation", "test"]))
    return [
        Sample(f"{number}.jpg", label, split, content, content)
        for number, (content, label, split) in enumerate(draw(st.lists(rows, max_size=25)))
    ]


@settings(max_examples=60)
@given(heaps(), st.integers(0, 99), st.sampled_from([0.0, 0.3]))
def test_no_content_is_ever_in_two_splits_or_classes(heap: list[Sample], seed: int, test: float) -> None:
    """However images are copied, labelled and dealt by hand: one content, one split, one class, and a row for each."""
    dealt = deal(heap, validation=0.3, test=test, seed=seed)
    splits, labels, contents = defaultdict(set), defaultdict(set), defaultdict(set)
    for before, after in zip(heap, dealt, strict=True):
        assert (after.path, after.label, after.sha256) == (before.path, before.label, before.sha256)
        assert bool(after.reason) == (after.split == "")
        contents[before.sha256].add(before.label)
        if not after.reason:
            splits[after.sha256].add(after.split)
            labels[after.sha256].add(after.label)
    assert all(len(each) == 1 for each in splits.values())
    assert all(len(each) == 1 for each in labels.values())
    # nothing is refused but contradictions, and copies of what is used in another split
    for content, found in contents.items():
        assert (content in splits) == (len(found) == 1)


def test_a_folder_that_grows_keeps_its_splits(tmp_path: Path) -> None:
    """On the disk: new images, a new class, renamed and removed files leave the others where they were."""
    folder = write_folder(tmp_path / "photos", ("disc", "ring"), per_class=30, size=8)
    before = splits_of(open_dataset(folder, RECIPE))
    write_folder(folder, ("disc",), per_class=31, size=8)  # the first 30 are the same ones
    write_folder(folder, ("bar",), per_class=2, size=8)
    (folder / "ring" / "000.png").rename(folder / "ring" / "renamed.png")
    (folder / "ring" / "001.png").unlink()
    after = splits_of(open_dataset(folder, RECIPE))
    assert after["ring/renamed.png"] == before["ring/000.png"]
    stayed = before.keys() - {"ring/000.png", "ring/001.png"}
    assert {path: after[path] for path in stayed} == {path: before[path] for path in stayed}
    assert len(set(before.values())) == 3


def test_equal_files_stay_together(tmp_path: Path) -> None:
    """A copy under another name, deeper in the folder, or behind a link is in the split of the first."""
    folder = write_folder(tmp_path, ("disc", "ring"), per_class=15, size=8)
    (folder / "disc" / "more").mkdir()
    for number in range(15):
        shutil.copy(folder / "disc" / f"{number:03d}.png", folder / "disc" / "more" / f"copy of {number:03d}.png")
        (folder / "ring" / f"link{number:03d}.png").symlink_to(f"{number:03d}.png")
    splits = splits_of(open_dataset(folder, RECIPE))
    assert len(splits) == 60
    for number in range(15):
        assert splits[f"disc/{number:03d}.png"] == splits[f"disc/more/copy of {number:03d}.png"]
        assert splits[f"ring/{number:03d}.png"] == splits[f"ring/link{number:03d}.png"]


def test_equal_files_of_two_classes_are_refused_and_listed(tmp_path: Path) -> None:
    """Both are rows of the listing, each naming the other; the rest is used."""
    folder = write_folder(tmp_path, ("disc", "ring"), per_class=10, size=8)
    shutil.copy(folder / "disc" / "003.png", folder / "ring" / "mistake.png")
    dataset = open_dataset(folder, RECIPE)
    assert {sample.path: sample.reason for sample in dataset.refused} == {
        "disc/003.png": "equal to ring/mistake.png of class ring",
        "ring/mistake.png": "equal to disc/003.png of class disc",
    }
    assert len(splits_of(dataset)) == 19


def test_given_folders_that_share_images_are_parted(tmp_path: Path) -> None:
    """An image in train and in test, under whatever name, is tested on and not trained on."""
    write_folder(tmp_path / "train", ("disc", "ring"), per_class=12, size=8)
    write_folder(tmp_path / "test", ("disc", "ring"), per_class=6, size=8, seed=50)
    shutil.copy(tmp_path / "train" / "disc" / "004.png", tmp_path / "test" / "disc" / "renamed.png")
    dataset = open_dataset(tmp_path, RECIPE)
    assert [(sample.path, sample.reason) for sample in dataset.refused] == [
        ("train/disc/004.png", "equal to test/disc/renamed.png in test")
    ]
    used: dict[str, set[str]] = defaultdict(set)
    for sample in dataset.samples:
        if sample.split:
            used[sample.sha256].add(sample.split)
    assert all(len(splits) == 1 for splits in used.values())


def test_the_same_pixels_in_another_file_are_not_called_equal(tmp_path: Path) -> None:
    """What counts is the content of the file; images that only look alike are no matter of this promise."""
    write_folder(tmp_path, ("disc", "ring"), per_class=5, size=8)
    (tmp_path / "ring" / "alike.bmp").write_bytes(encode(draw("disc", 8, 0), "BMP"))
    assert open_dataset(tmp_path, RECIPE).refused == ()


@pytest.mark.realdata
@pytest.mark.slow
def test_the_real_photos_hold_it(dogs_vs_cats: Path) -> None:
    """20,998 photos with their own duplicates and contradictions: no content in two splits, shares as asked for."""
    dataset = open_dataset(dogs_vs_cats, Recipe(network="classic", image_size=8, filters=(4,)))
    splits: dict[str, set[str]] = defaultdict(set)
    labels: dict[str, set[str]] = defaultdict(set)
    for sample in dataset.samples:
        labels[sample.sha256].add(sample.label)
        if sample.split:
            splits[sample.sha256].add(sample.split)
    assert all(len(each) == 1 for each in splits.values())
    contradictions = {content for content, each in labels.items() if len(each) > 1}
    assert contradictions
    assert {sample.sha256 for sample in dataset.refused} == contradictions
    assert len(dataset.rows("validation")) == pytest.approx(0.16 * len(dataset.samples), rel=0.06)
