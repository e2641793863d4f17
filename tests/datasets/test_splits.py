"""Splits: shares are kept up to chance, and where an image goes depends on its content and the seed alone."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.datasets.splits import LARGE_GROUP, Sample, deal


def samples(count: int, label: str = "cat", *, split: str = "", first: int = 0) -> list[Sample]:
    """Different images of one class."""
    numbers = range(first, first + count)
    return [Sample(f"{label}/{n}.jpg", label, split, f"{label}{n}", f"{label}{n}") for n in numbers]


def dealt(given: list[Sample], *, validation: float = 0.16, test: float = 0.0, seed: int = 0) -> dict[str, str]:
    """The split of each path, or the reason why it has none."""
    return {each.path: each.split or each.reason for each in deal(given, validation=validation, test=test, seed=seed)}


@pytest.mark.parametrize(("validation", "test"), [(0.16, 0.0), (0.16, 0.2), (0.5, 0.25), (0.02, 0.01)])
def test_each_class_keeps_the_shares_up_to_chance(validation: float, test: float) -> None:
    """In each of three classes, validation and test are within five standard deviations of their shares."""
    sizes = {"cat": 4000, "dog": 3000, "newt": 2000}
    given = [sample for label, size in sizes.items() for sample in samples(size, label)]
    counts = Counter((each.label, each.split) for each in deal(given, validation=validation, test=test, seed=3))
    for label, size in sizes.items():
        for split, share in (("validation", validation), ("test", test)):
            deviation = math.sqrt(size * share * (1 - share))
            assert abs(counts[label, split] - size * share) <= 5 * deviation
        assert sum(counts[label, split] for split in ("train", "validation", "test")) == size


def test_the_same_seed_deals_the_same_and_another_deals_another_way() -> None:
    """The seed is the only chance there is."""
    assert dealt(samples(200)) == dealt(samples(200))
    assert dealt(samples(200)) != dealt(samples(200), seed=1)


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(0, 2**63 - 1))
def test_neither_order_nor_names_matter(random: object, seed: int) -> None:
    """Images that are listed in another order, or renamed, go where they went."""
    given = samples(60) + samples(60, "dog")
    before = {each.group: each.split for each in deal(given, validation=0.3, test=0.1, seed=seed)}
    shuffled = [replace(each, path=f"renamed {each.path}") for each in given]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    after = deal(shuffled, validation=0.3, test=0.1, seed=seed)
    assert {each.group: each.split for each in after} == before
    assert [each.path for each in after] == [each.path for each in shuffled]


def test_a_larger_share_only_takes_more() -> None:
    """Asking for more validation, or for a test split too, moves no image from validation to training."""
    small, large = dealt(samples(500), validation=0.1), dealt(samples(500), validation=0.2, test=0.1)
    assert all(large[path] == "validation" for path, split in small.items() if split == "validation")


def test_equal_images_are_in_one_split() -> None:
    """Copies go together, however many."""
    given = [replace(sample, path=f"{copy}/{sample.path}") for sample in samples(100) for copy in range(3)]
    splits = dealt(given)
    for number in range(100):
        assert len({splits[f"{copy}/cat/{number}.jpg"] for copy in range(3)}) == 1
    assert set(splits.values()) == {"train", "validation"}


def test_equal_images_of_different_classes_are_all_refused() -> None:
    """Nobody can tell which label is right: each is refused and names one that contradicts it, copies too."""
    one, other, third, copy = (Sample(path, path[:3], "", "same", "same") for path in ("cat1", "dog2", "elk3", "cat4"))
    splits = dealt([one, other, third, copy, *samples(50)])
    assert splits["cat1"] == splits["cat4"] == "equal to dog2 of class dog"
    assert splits["dog2"] == splits["elk3"] == "equal to cat1 of class cat"
    assert {split for path, split in splits.items() if path.startswith("cat/")} == {"train", "validation"}


def test_refused_samples_stay_refused_and_are_no_contradiction() -> None:
    """A file that could not be read has no content to be compared, and no split."""
    broken = [replace(sample, group="", sha256="", reason="truncated") for sample in samples(3) + samples(3, "dog")]
    kept = deal([*broken, *samples(20, first=3)], validation=0.16, test=0.0, seed=0)[: len(broken)]
    assert [(each.split, each.reason, each.status) for each in kept] == [("", "truncated", "refused")] * 6


@pytest.mark.parametrize("count", range(1, 12))
def test_a_tiny_class_trains_and_is_judged_if_it_can(count: int) -> None:
    """One image trains; two are one each; from three on each wanted split has one, whatever the seed."""
    for seed in range(40):
        splits = Counter(dealt(samples(count), validation=0.16, test=0.1, seed=seed).values())
        assert splits["train"] >= 1
        assert (splits["validation"] >= 1) == (count >= 2)
        assert (splits["test"] >= 1) == (count >= 3)


def test_a_split_that_is_not_wanted_is_not_made() -> None:
    """With a share of 0, not even a tiny class has a test image."""
    assert "test" not in dealt(samples(5)).values()


def test_given_splits_are_kept() -> None:
    """Where a person has dealt all three, nothing moves, whatever the shares."""
    given = [
        sample
        for n, split in enumerate(("train", "validation", "test"))
        for sample in samples(9, split=split, first=9 * n)
    ]
    assert dealt(given, validation=0.4, test=0.4) == {sample.path: sample.split for sample in given}


def test_a_wanted_split_that_was_not_given_is_taken_from_train() -> None:
    """With train and test given, validation comes out of train, and test stays what it was."""
    splits = dealt(samples(300, split="train") + samples(100, split="test", first=300))
    assert [splits[f"cat/{n}.jpg"] for n in range(300, 400)] == ["test"] * 100
    assert 20 < sum(split == "validation" for split in splits.values()) < 80


def test_samples_without_a_split_join_those_that_have_one() -> None:
    """In a manifest with some splits filled in, the others are dealt, but not into a split that was filled."""
    splits = dealt(samples(10, split="validation") + samples(200, first=10), test=0.2)
    assert sum(split == "validation" for split in splits.values()) == 10
    assert sum(split == "test" for split in splits.values()) > 10
    copy = replace(samples(1, split="validation")[0], path="copy.jpg", split="")
    assert dealt([*samples(1, split="validation"), copy, *samples(9, first=1)])["copy.jpg"] == "validation"


def test_images_that_given_splits_share_are_refused_where_they_teach() -> None:
    """The copy that judges stays, test before validation before train; the others name it."""
    images = samples(4)
    given = [
        *(replace(each, split="train", path=f"train/{n}") for n, each in enumerate(images)),
        *(replace(each, split="validation", path=f"val/{n}") for n, each in enumerate(images[:2])),
        replace(images[0], split="test", path="test/0"),
    ]
    assert dealt(given) == {
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
    """A group goes together, whatever the seed; who has none stays where they were without the groups."""
    alone, groups = samples(100), [near(f"group{n}", 2 + n % 4) for n in range(60)]
    for seed in range(5):
        splits = dealt([*alone, *(each for group in groups for each in group)], seed=seed)
        sides = [{splits[each.path] for each in group} for group in groups]
        assert all(len(side) == 1 for side in sides)
        assert {side.pop() for side in sides} == {"train", "validation"}
        assert {path: splits[path] for path in dealt(alone, seed=seed)} == dealt(alone, seed=seed)


def test_near_duplicates_of_two_classes_are_used_and_stay_together() -> None:
    """They contradict nobody and are dealt once; a class with little else is trained and judged as far as it can."""
    pairs = [[*near(f"pair{n}", 1), *near(f"pair{n}", 1, "dog", first=1)] for n in range(40)]
    for seed in range(20):
        splits = dealt([each for pair in pairs for each in pair] + samples(40), seed=seed)
        assert all(len({splits[each.path] for each in pair}) == 1 for pair in pairs)
        assert set(splits.values()) == {"train", "validation"}
        few = [*pairs[0], *pairs[1], *samples(30)]  # two dogs, both nearly equal to cats
        splits = dealt(few, seed=seed)
        assert {splits["pair0/1.jpg"], splits["pair1/1.jpg"]} == {"train", "validation"}
        only = [*near("pair", 1), *near("pair", 1, "dog", first=1), *samples(30)]
        assert dealt(only, validation=0.9, seed=seed)["pair/1.jpg"] == "train"
        assert dealt(only[:4], seed=seed)["pair/1.jpg"] == "train"  # cats need no validation of the only dog's


def test_shares_are_kept_with_near_duplicates() -> None:
    """Pairs are dealt like single images: the share of validation is what was asked for, up to chance."""
    given = [each for n in range(2000) for each in near(f"group{n}", 2)] + samples(2000)
    share = sum(split == "validation" for split in dealt(given).values()) / len(given)
    assert abs(share - 0.16) < 5 * math.sqrt(0.16 * 0.84 / 3000) * math.sqrt(2)


def test_near_duplicates_that_given_splits_share_are_refused_where_they_teach() -> None:
    """What judges stays, and names itself; an exact copy is called equal, where there is one."""
    test, validation, *train = near("group", 5, split="train")
    given = [
        replace(test, split="test", path="test"),
        replace(validation, split="validation", path="validation"),
        *train,
        replace(test, path="copy"),
        *samples(9, split="train"),
        *samples(3, split="validation", first=9),
    ]
    splits = dealt(given)
    assert (splits["test"], splits["validation"]) == ("test", "nearly equal to test in test")
    assert {splits[each.path] for each in train} == {"nearly equal to test in test"}
    assert splits["copy"] == "equal to test in test"
    assert [splits[f"cat/{n}.jpg"] for n in range(12)] == ["train"] * 9 + ["validation"] * 3


def test_undealt_near_duplicates_join_those_that_are_dealt() -> None:
    """In a manifest, a copy of what validates validates."""
    one, *others = near("group", 4)
    splits = dealt([replace(one, split="validation"), *others, *samples(30)])
    assert {splits[each.path] for each in (one, *others)} == {"validation"}


def test_a_large_group_trains() -> None:
    """More near duplicates than are worth judging by are learned from, whatever the seed; a smaller group may judge."""
    for seed in range(30):
        splits = dealt(near("large", LARGE_GROUP + 1) + samples(60), validation=0.5, seed=seed)
        assert {splits[f"large/{n}.jpg"] for n in range(LARGE_GROUP + 1)} == {"train"}
    sides = {
        dealt(near("small", LARGE_GROUP) + samples(60), validation=0.5, seed=seed)["small/0.jpg"] for seed in range(9)
    }
    assert sides == {"train", "validation"}


def test_a_group_that_is_most_of_a_class_is_dealt_image_by_image() -> None:
    """Where a class looks like that, it is still judged; its exact copies stay together; given splits are kept."""
    crowd = near("crowd", 200)
    copies = [replace(each, path=f"copy {each.path}") for each in crowd]
    splits = dealt([*crowd, *copies, *samples(100, "dog")])
    counts = Counter(splits[each.path] for each in crowd)
    assert 10 < counts["validation"] < 60
    assert all(splits[each.path] == splits[f"copy {each.path}"] for each in crowd)
    given = near("crowd", 50, split="train") + near("crowd", 30, split="validation", first=50)
    assert Counter(dealt(given).values()) == {"train": 50, "validation": 30}
    exact = [replace(each, path=f"{n}.jpg") for n, each in enumerate(near("same", 1) * 100)]
    assert len({dealt(exact + samples(20))[f"{n}.jpg"] for n in range(100)}) == 1
