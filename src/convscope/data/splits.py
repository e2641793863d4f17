"""Deal images into train, validation and test, so that nothing leaks and nothing moves.

Where an image goes is a function of its content and the seed alone: adding, removing or renaming images never moves
the others, and equal images are always together. Each class is dealt with the same shares, so class shares are kept
up to chance. Equal images with different labels are refused: one of them is wrong, and nobody can tell which.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from convscope.data.folder import SPLITS, Split
from convscope.randomness import uniform


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of data.csv: a file, its class, where it was dealt, and why not if it was not.

    `split` is "" where it is not dealt yet, or refused; `group` names the images that must stay together.
    """

    path: str
    label: str
    split: Split | str
    group: str
    sha256: str
    reason: str = ""

    @property
    def status(self) -> str:
        return "refused" if self.reason else "used"


def deal(samples: Sequence[Sample], *, validation: float, test: float, seed: int) -> list[Sample]:
    """Give every usable sample its split; a split that a sample came with is kept, and its equals follow it.

    Args:
        samples: `split` as the person gave it, or ""; `group` the key that decides, equal for equal images.
        validation, test: shares of the images that came without a split; a split that the person gave is not added to.
        seed: another seed deals another way.
    """
    samples = _refuse_leaks(_refuse_contradictions(samples))
    given = {sample.split for sample in samples if not sample.reason}
    shares: dict[Split, float] = {
        "validation": 0.0 if "validation" in given else validation,
        "test": 0.0 if "test" in given else test,
    }
    if "" not in given and any(shares.values()):  # a split that is wanted and was not given is taken from `train`
        samples = [replace(sample, split="") if sample.split == "train" else sample for sample in samples]
    splits = {sample.group: sample.split for sample in samples if sample.split and not sample.reason}
    to_deal: defaultdict[str, set[str]] = defaultdict(set)
    for sample in samples:
        if not sample.reason and sample.group not in splits:
            to_deal[sample.label].add(sample.group)
    for groups in to_deal.values():
        splits |= _deal_class(groups, shares, seed)
    return [replace(sample, split="" if sample.reason else splits[sample.group]) for sample in samples]


def _deal_class(groups: Iterable[str], shares: Mapping[Split, float], seed: int) -> dict[str, Split]:
    """Deal the groups of one class: each to the split in whose share its place in [0, 1) falls.

    A class so small that chance leaves a split without it gives that split its nearest group, as long as there are
    groups: first it trains, then it validates, then it tests. This is the one case in which adding an image can move
    another.
    """
    places = sorted((uniform(seed, "split", group), group) for group in groups)
    splits = {group: _side(place, shares) for place, group in places}
    for rank, wanted in enumerate(SPLITS):
        if wanted in splits.values() or not shares.get(wanted, 1.0):
            continue
        counts = Counter(splits.values())
        spare = [group for group, split in splits.items() if counts[split] > 1 or SPLITS.index(split) > rank]
        if spare:
            splits[spare[-1] if wanted == "train" else spare[0]] = wanted
    return splits


def _side(place: float, shares: Mapping[Split, float]) -> Split:
    top = 0.0
    for split, share in shares.items():
        top += share
        if place < top:
            return split
    return "train"


def _refuse_contradictions(samples: Sequence[Sample]) -> list[Sample]:
    """Refuse equal images with different labels, all of them."""
    first: dict[str, Sample] = {}
    contradicted: dict[str, tuple[Sample, Sample]] = {}
    for sample in samples:
        if not sample.reason:
            other = first.setdefault(sample.group, sample)
            if other.label != sample.label:
                contradicted.setdefault(sample.group, (other, sample))

    def judge(sample: Sample) -> Sample:
        if sample.reason or sample.group not in contradicted:
            return sample
        one, two = contradicted[sample.group]
        other = two if sample.label == one.label else one
        return replace(sample, reason=f"equal to {other.path} of class {other.label}")

    return [judge(sample) for sample in samples]


def _refuse_leaks(samples: Sequence[Sample]) -> list[Sample]:
    """Where a person's own splits share an image, keep the copy that judges and refuse the one that teaches."""
    weight = {"test": 2, "validation": 1}
    keeper: dict[str, Sample] = {}
    for sample in samples:
        held = keeper.get(sample.group)
        if not sample.reason and sample.split in weight and (held is None or weight[sample.split] > weight[held.split]):
            keeper[sample.group] = sample

    def judge(sample: Sample) -> Sample:
        held = keeper.get(sample.group)
        if sample.reason or held is None or sample.split in ("", held.split):
            return sample
        return replace(sample, reason=f"equal to {held.path} in {held.split}")

    return [judge(sample) for sample in samples]
