"""Splits: shares are kept up to chance, and the split of an image depends on its content and the seed alone."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.datasets.splits import LARGE_GROUP, Sample, assign_splits


def samples(count: int, label: str = "cat", *, split: str = "", first: int = 0) -> list[Sample]:
    """Different images of one class."""
    numbers = range(first, first + count)
    return [Sample(f"{label}/{n}.jpg", label, split, f"{label}{n}", f"{label}{n}") for n in numbers]


def split_of(given: list[Sample], *, validation: float = 0.16, test: float = 0.0, seed: int = 0) -> dict[str, str]:
    """The split of sample path, or the reason why it has none."""
    return {
        sample.path: sample.split or sample.reason
        for sample in assign_splits(given, validation=validation, test=test, seed=seed)
    }


@pytest.mark.slow
@pytest.mark.parametrize(("validation", "test"), [(0.16, 0.0), (0.16, 0.2), (0.5, 0.25), (0.02, 0.01)])
def test_each_class_keeps_the_shares_up_to_chance(validation: float, test: float) -> None:
    """In sample of three classes, validation and test are within five standard deviations of their shares."""
    sizes = {"cat": 4000, "dog": 3000, "newt": 2000}
    given = [sample for label, size in sizes.items() for sample in samples(size, label)]
    counts = Counter(
        (sample.label, sample.split) for sample in assign_splits(given, validation=validation, test=test, seed=3)
    )
    for label, size in sizes.items():
        for split, share in (("validation", validation), ("test", test)):
            deviation = math.sqrt(size * share * (1 - share))
            assert abs(counts[label, split] - size * share) <= 5 * deviation
        assert sum(counts[label, split] for split in ("train", "validation", "test")) == size


def test_the_splits_follow_from_the_seed() -> None:
    """The same seed gives the same splits, another seed others."""
    assert split_of(samples(200)) == split_of(samples(200))
    assert split_of(samples(200)) != split_of(samples(200), seed=1)


@pytest.mark.slow
@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(0, 2**63 - 1))
def test_neither_order_nor_names_matter(random: object, seed: int) -> None:
    """Images that are listed in another order, or renamed, keep their splits."""
    given = samples(60) + samples(60, "dog")
    before = {sample.group: sample.split for sample in assign_splits(given, validation=0.3, test=0.1, seed=seed)}
    shuffled = [replace(sample, path=f"renamed {sample.path}") for sample in given]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    after = assign_splits(shuffled, validation=0.3, test=0.1, seed=seed)
    assert {sample.group: sample.split for sample in after} == before
    assert [sample.path for sample in after] == [sample.path for sample in shuffled]


def test_a_larger_share_only_adds_images() -> None:
    """A larger validation share, or a test split too, moves no image from validation to training."""
    small, large = split_of(samples(500), validation=0.1), split_of(samples(500), validation=0.2, test=0.1)
    assert all(large[path] == "validation" for path, split in small.items() if split == "validation")


def test_equal_images_are_in_one_split() -> None:
    """However many copies there are."""
    given = [replace(sample, path=f"{copy}/{sample.path}") for sample in samples(100) for copy in range(3)]
    splits = split_of(given)
    for number in range(100):
        assert len({splits[f"{copy}/cat/{number}.jpg"] for copy in range(3)}) == 1
    assert set(splits.values()) == {"train", "validation"}


def test_equal_images_of_different_classes_are_all_refused() -> None:
    """It is unknown which label is right: sample is refused, with the path of one that contradicts it, copies too."""
    one, other, third, copy = (Sample(path, path[:3], "", "same", "same") for path in ("cat1", "dog2", "elk3", "cat4"))
    splits = split_of([one, other, third, copy, *samples(50)])
    assert splits["cat1"] == splits["cat4"] == "equal to dog2 of class dog"
    assert splits["dog2"] == splits["elk3"] == "equal to cat1 of class cat"
    assert {split for path, split in splits.items() if path.startswith("cat/")} == {"train", "validation"}


def test_refused_samples_stay_refused() -> None:
    """A file that could not be read is not compared with others, and has no split."""
    broken = [replace(sample, group="", sha256="", reason="truncated") for sample in samples(3) + samples(3, "dog")]
    kept = assign_splits([*broken, *samples(20, first=3)], validation=0.16, test=0.0, seed=0)[: len(broken)]
    assert [(sample.split, sample.reason, sample.status) for sample in kept] == [("", "truncated", "refused")] * 6


@pytest.mark.parametrize("count", range(1, 12))
def test_a_tiny_class_is_in_as_many_splits_as_it_can(count: int) -> None:
    """One image trains; of two one validates; from three on each wanted split has one, whatever the seed."""
    for seed in range(40):
        splits = Counter(split_of(samples(count), validation=0.16, test=0.1, seed=seed).values())
        assert splits["train"] >= 1
        assert (splits["validation"] >= 1) == (count >= 2)
        assert (splits["test"] >= 1) == (count >= 3)


def test_a_share_of_0_makes_no_split() -> None:
    """Not even a tiny class has a test image then."""
    assert "test" not in split_of(samples(5)).values()


def test_given_splits_are_kept() -> None:
    """Where all three are given, no image moves, whatever the shares."""
    given = [
        sample
        for n, split in enumerate(("train", "validation", "test"))
        for sample in samples(9, split=split, first=9 * n)
    ]
    assert split_of(given, validation=0.4, test=0.4) == {sample.path: sample.split for sample in given}


def test_a_wanted_split_that_is_not_given_is_taken_from_train() -> None:
    """With train and test given, validation is taken from train, and test is unchanged."""
    splits = split_of(samples(300, split="train") + samples(100, split="test", first=300))
    assert [splits[f"cat/{n}.jpg"] for n in range(300, 400)] == ["test"] * 100
    assert 20 < sum(split == "validation" for split in splits.values()) < 80


def test_samples_without_a_given_split_get_one() -> None:
    """In a manifest with some splits given, the other images are not added to a given split, except copies."""
    splits = split_of(samples(10, split="validation") + samples(200, first=10), test=0.2)
    assert sum(split == "validation" for split in splits.values()) == 10
    assert sum(split == "test" for split in splits.values()) > 10
    copy = replace(samples(1, split="validation")[0], path="copy.jpg", split="")
    assert split_of([*samples(1, split="validation"), copy, *samples(9, first=1)])["copy.jpg"] == "validation"


def test_images_that_given_splits_share_are_refused_in_training() -> None:
    """The copy in test is kept, else the one in validation; the reasons of the others name it."""
    images = samples(4)
    given = [
        *(replace(sample, split="train", path=f"train/{n}") for n, sample in enumerate(images)),
        *(replace(sample, split="validation", path=f"val/{n}") for n, sample in enumerate(images[:2])),
        replace(images[0], split="test", path="test/0"),
    ]
    assert split_of(given) == {
        "train/0": "equal to test/0 in test",
        "train/1": "equal to val/1 in validation",
        "train/2": "train",
        "train/3": "train",
        "val/0": "equal to test/0 in test",
        "val/1": "validation",
        "test/0": "test",
    }


def near(group: str, count: int, label: str = "cat", *, split: str = "", first: int = 0) -> list[Sample]:
    """Different files of one group of near duplicates."""
    numbers = range(first, first + count)
    return [Sample(f"{group}/{n}.jpg", label, split, group, f"{group}{n}") for n in numbers]


def test_near_duplicates_are_in_one_split() -> None:
    """Whatever the seed; images without near duplicates keep the splits that they have without the groups."""
    alone, groups = samples(100), [near(f"group{n}", 2 + n % 4) for n in range(60)]
    for seed in range(5):
        splits = split_of([*alone, *(sample for group in groups for sample in group)], seed=seed)
        group_splits = [{splits[sample.path] for sample in group} for group in groups]
        assert all(len(names) == 1 for names in group_splits)
        assert {names.pop() for names in group_splits} == {"train", "validation"}
        assert {path: splits[path] for path in split_of(alone, seed=seed)} == split_of(alone, seed=seed)


def test_near_duplicates_of_two_classes_are_used_and_share_a_split() -> None:
    """They are no contradiction; a class with few other images is in as many splits as it can."""
    pairs = [[*near(f"pair{n}", 1), *near(f"pair{n}", 1, "dog", first=1)] for n in range(40)]
    for seed in range(20):
        splits = split_of([sample for pair in pairs for sample in pair] + samples(40), seed=seed)
        assert all(len({splits[sample.path] for sample in pair}) == 1 for pair in pairs)
        assert set(splits.values()) == {"train", "validation"}
        few = [*pairs[0], *pairs[1], *samples(30)]  # two dogs, both nearly equal to cats
        splits = split_of(few, seed=seed)
        assert {splits["pair0/1.jpg"], splits["pair1/1.jpg"]} == {"train", "validation"}
        only = [*near("pair", 1), *near("pair", 1, "dog", first=1), *samples(30)]
        assert split_of(only, validation=0.9, seed=seed)["pair/1.jpg"] == "train"
        assert split_of(only[:4], seed=seed)["pair/1.jpg"] == "train"  # not even where the cats lack a validation image


def test_shares_are_kept_with_near_duplicates() -> None:
    """Pairs are assigned like single images: the validation share is the requested one, up to chance."""
    given = [sample for n in range(2000) for sample in near(f"group{n}", 2)] + samples(2000)
    share = sum(split == "validation" for split in split_of(given).values()) / len(given)
    assert abs(share - 0.16) < 5 * math.sqrt(0.16 * 0.84 / 3000) * math.sqrt(2)


def test_near_duplicates_that_given_splits_share_are_refused_in_training() -> None:
    """The one in test is kept, and named in the reasons; an exact copy is called equal."""
    test, validation, *train = near("group", 5, split="train")
    given = [
        replace(test, split="test", path="test"),
        replace(validation, split="validation", path="validation"),
        *train,
        replace(test, path="copy"),
        *samples(9, split="train"),
        *samples(3, split="validation", first=9),
    ]
    splits = split_of(given)
    assert (splits["test"], splits["validation"]) == ("test", "nearly equal to test in test")
    assert {splits[sample.path] for sample in train} == {"nearly equal to test in test"}
    assert splits["copy"] == "equal to test in test"
    assert [splits[f"cat/{n}.jpg"] for n in range(12)] == ["train"] * 9 + ["validation"] * 3


def test_near_duplicates_follow_a_given_split() -> None:
    """In a manifest, the copy of a validation image is in validation too."""
    one, *others = near("group", 4)
    splits = split_of([replace(one, split="validation"), *others, *samples(30)])
    assert {splits[sample.path] for sample in (one, *others)} == {"validation"}


def test_a_large_group_trains() -> None:
    """Whatever the seed; a smaller group may be in validation."""
    for seed in range(30):
        splits = split_of(near("large", LARGE_GROUP + 1) + samples(60), validation=0.5, seed=seed)
        assert {splits[f"large/{n}.jpg"] for n in range(LARGE_GROUP + 1)} == {"train"}
    small_splits = {
        split_of(near("small", LARGE_GROUP) + samples(60), validation=0.5, seed=seed)["small/0.jpg"]
        for seed in range(9)
    }
    assert small_splits == {"train", "validation"}


def test_a_dominant_group_is_split_image_by_image() -> None:
    """So the class has validation images; exact copies share a split; given splits are kept."""
    dominant = near("dominant", 200)
    copies = [replace(sample, path=f"copy {sample.path}") for sample in dominant]
    splits = split_of([*dominant, *copies, *samples(100, "dog")])
    counts = Counter(splits[sample.path] for sample in dominant)
    assert 10 < counts["validation"] < 60
    assert all(splits[sample.path] == splits[f"copy {sample.path}"] for sample in dominant)
    given = near("dominant", 50, split="train") + near("dominant", 30, split="validation", first=50)
    assert Counter(split_of(given).values()) == {"train": 50, "validation": 30}
    exact = [replace(sample, path=f"{n}.jpg") for n, sample in enumerate(near("same", 1) * 100)]
    assert len({split_of(exact + samples(20))[f"{n}.jpg"] for n in range(100)}) == 1
