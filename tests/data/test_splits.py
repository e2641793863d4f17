"""Splits: shares are kept up to chance, and where an image goes depends on its content and the seed alone."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.data.splits import Sample, deal


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
