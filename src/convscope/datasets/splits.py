"""Assigns images to train, validation and test, so that nothing leaks and the assignment is stable.

The split of an image is a function of its content and the seed alone: adding, removing or renaming images never moves
the others, and equal and nearly equal images are always in the same split. The split of a group of near duplicates
follows from the smallest SHA-256 in it, so an image that joins a group, or joins two of them, may move it; an image
without near duplicates stays. Each class is split with the same shares, so the classes are stratified up to chance.
Equal images with different labels are refused: one label is wrong, and it is unknown which. Near duplicates with
different labels are used, since a small difference may be the one that is to be learned; they too share a split.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from convscope.datasets.listing import SPLITS, Split
from convscope.randomness import uniform

LARGE_GROUP = 20  # near duplicates of one picture: a larger group would dominate a validation or test split


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of data.csv: a file, its class and its split.

    Attributes:
        path: relative to the folder of the data set.
        label: the name of its class.
        split: "" where none is assigned yet, or the file is refused.
        group: equal for near duplicates, which share a split.
        sha256: of its content; "" if it could not be read.
        reason: why it is refused; "" if it is used.
    """

    path: str
    label: str
    split: Split | str
    group: str
    sha256: str
    reason: str = ""

    @property
    def status(self) -> str:
        """`refused` or `used`."""
        return "refused" if self.reason else "used"


def assign_splits(samples: Sequence[Sample], *, validation: float, test: float, seed: int) -> list[Sample]:
    """Assign a split to every usable sample; given splits are kept, and near duplicates of their images follow them.

    Args:
        samples: with the splits that the user gave, or "".
        validation, test: shares of the images without a given split, 0 to 1; a split that the user gave gets no more.
        seed: of the assignment.

    Returns: the samples in the same order, each with a split or a reason.
    """
    samples = _refuse_contradictions(samples)
    large, dominant = _large_groups(samples)
    samples = _refuse_leaks(samples, dominant)
    given = {sample.split for sample in samples if not sample.reason}
    shares: dict[Split, float] = {
        "validation": 0.0 if "validation" in given else validation,
        "test": 0.0 if "test" in given else test,
    }
    if "" not in given and any(shares.values()):  # a split that is wanted and not given is taken from `train`
        samples = [replace(sample, split="") if sample.split == "train" else sample for sample in samples]
    splits = {_key(sample, dominant): sample.split for sample in samples if sample.split and not sample.reason}
    unassigned: defaultdict[str, set[str]] = defaultdict(set)
    for sample in samples:
        if not sample.reason and _key(sample, dominant) not in splits:
            unassigned[sample.label].add(_key(sample, dominant))
    splits = dict.fromkeys(large, "train") | splits
    # a group may have images of two classes: the class with fewer groups is assigned first
    for groups in sorted(unassigned.values(), key=lambda groups: (len(groups), min(groups))):
        splits |= _assign_class(groups, shares, seed, assigned=splits)
    return [replace(sample, split="" if sample.reason else splits[_key(sample, dominant)]) for sample in samples]


def _large_groups(samples: Sequence[Sample]) -> tuple[frozenset[str], frozenset[str]]:
    """Groups with more than `LARGE_GROUP` near duplicates: those that train, and dominant ones, split file by file.

    A dominant group is over half of a class: not copies of one picture, but what the class looks like, as the frames of
    a video do. In one split, it would leave next to nothing to evaluate the class with.
    """
    used = [sample for sample in samples if not sample.reason]
    counts = Counter(group for group, _ in {(sample.group, sample.sha256) for sample in used})
    large = {group for group, count in counts.items() if count > LARGE_GROUP}
    class_counts = Counter(sample.label for sample in used)
    group_counts = Counter((sample.group, sample.label) for sample in used)
    dominant = {
        group for (group, label), count in group_counts.items() if group in large and 2 * count > class_counts[label]
    }
    return frozenset(large - dominant), frozenset(dominant)


def _key(sample: Sample, dominant: Container[str]) -> str:
    """What the split of an image follows from: its group, or its content where its group is dominant."""
    return sample.sha256[:16] if sample.group in dominant else sample.group


def _assign_class(
    groups: Iterable[str], shares: Mapping[Split, float], seed: int, *, assigned: Mapping[str, str]
) -> dict[str, str]:
    """Assign the groups of one class: each to the split in whose share its number in [0, 1) falls, if it has none yet.

    Where a class is so small that a split gets none of its groups by chance, that split gets the nearest one, as long
    as there are groups: first train, then validation, then test. Only here can adding an image without near duplicates
    move another one, and where a group is no longer dominant.
    """
    numbers = sorted((uniform(seed, "split", group), group) for group in groups)
    splits = {group: assigned.get(group) or _split_of(number, shares) for number, group in numbers}
    for rank, wanted in enumerate(SPLITS):
        if wanted in splits.values() or not shares.get(wanted, 1.0):
            continue
        counts = Counter(splits.values())
        spare = [
            group
            for group, split in splits.items()
            if group not in assigned and (counts[split] > 1 or SPLITS.index(split) > rank)
        ]
        if spare:
            splits[spare[-1] if wanted == "train" else spare[0]] = wanted
    return splits


def _split_of(number: float, shares: Mapping[Split, float]) -> Split:
    top = 0.0
    for split, share in shares.items():
        top += share
        if number < top:
            return split
    return "train"


def _refuse_contradictions(samples: Sequence[Sample]) -> list[Sample]:
    """Refuse all equal images that have different labels."""
    first: dict[str, Sample] = {}
    contradictions: dict[str, tuple[Sample, Sample]] = {}
    for sample in samples:
        if not sample.reason:
            other = first.setdefault(sample.sha256, sample)
            if other.label != sample.label:
                contradictions.setdefault(sample.sha256, (other, sample))

    def refuse(sample: Sample) -> Sample:
        if sample.reason or sample.sha256 not in contradictions:
            return sample
        one, two = contradictions[sample.sha256]
        other = two if sample.label == one.label else one
        return replace(sample, reason=f"equal to {other.path} of class {other.label}")

    return [refuse(sample) for sample in samples]


def _refuse_leaks(samples: Sequence[Sample], dominant: Container[str]) -> list[Sample]:
    """Where given splits share an image or near duplicates, keep those of the test split, else of validation.

    A near duplicate is refused like a copy: a network that was trained on one has seen the other. The test images stay
    complete, so metrics stay comparable with others on the same test images. Where many training images are refused,
    `check_dataset` raises an error that names the reason.
    """
    priority = {"test": 2, "validation": 1}
    kept: dict[str, Sample] = {}
    for sample in samples:
        if sample.reason or sample.split not in priority:
            continue
        for key in {sample.sha256, _key(sample, dominant)}:
            other = kept.get(key)
            if other is None or priority[sample.split] > priority[other.split]:
                kept[key] = sample

    def refuse(sample: Sample) -> Sample:
        near, equal = kept.get(_key(sample, dominant)), kept.get(sample.sha256)
        if sample.reason or near is None or sample.split in ("", near.split):
            return sample
        if equal is not None and equal.split == near.split:
            return replace(sample, reason=f"equal to {equal.path} in {near.split}")
        return replace(sample, reason=f"nearly equal to {near.path} in {near.split}")

    return [refuse(sample) for sample in samples]
