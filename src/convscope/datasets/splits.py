"""Deal images into train, validation and test, so that nothing leaks and nothing moves.

Where an image goes is a function of its content and the seed alone: adding, removing or renaming images never moves
the others, and equal and nearly equal images are always together. A group of near duplicates goes by the one whose
SHA-256 is smallest, so one that joins a group, or two of them, may move it; an image without near duplicates stays.
Each class is dealt with the same shares, so class shares are kept up to chance. Equal images with different labels
are refused: one of them is wrong, and nobody can tell which. Near duplicates with different labels are used, since a
small difference may be the very one that is to be learned; they too are in one split.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from convscope.datasets.listing import SPLITS, Split
from convscope.randomness import uniform

LARGE_GROUP = 20  # near duplicates of one picture: a group with more of them has no place where others are judged


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of data.csv: a file, its class, where it was dealt, and why not if it was not.

    `split` is "" where it is not dealt yet, or refused; `group` names the images that are equal or nearly so, which
    stay together.
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
        samples: `split` as the person gave it, or ""; `group` the key that decides, equal for near duplicates.
        validation, test: shares of the images that came without a split; a split that the person gave is not added to.
        seed: another seed deals another way.
    """
    samples = _refuse_contradictions(samples)
    large, crowds = _large_groups(samples)
    samples = _refuse_leaks(samples, crowds)
    given = {sample.split for sample in samples if not sample.reason}
    shares: dict[Split, float] = {
        "validation": 0.0 if "validation" in given else validation,
        "test": 0.0 if "test" in given else test,
    }
    if "" not in given and any(shares.values()):  # a split that is wanted and was not given is taken from `train`
        samples = [replace(sample, split="") if sample.split == "train" else sample for sample in samples]
    splits = {_key(sample, crowds): sample.split for sample in samples if sample.split and not sample.reason}
    to_deal: defaultdict[str, set[str]] = defaultdict(set)
    for sample in samples:
        if not sample.reason and _key(sample, crowds) not in splits:
            to_deal[sample.label].add(_key(sample, crowds))
    splits = dict.fromkeys(large, "train") | splits
    # a group may hold images of two classes: the one with fewer groups has more need of it
    for groups in sorted(to_deal.values(), key=lambda groups: (len(groups), min(groups))):
        splits |= _deal_class(groups, shares, seed, settled=splits)
    return [replace(each, split="" if each.reason else splits[_key(each, crowds)]) for each in samples]


def _large_groups(samples: Sequence[Sample]) -> tuple[frozenset[str], frozenset[str]]:
    """Groups with more than `LARGE_GROUP` near duplicates: those that train, and crowds, which are dealt file by file.

    A crowd is over half of a class. So much is no set of copies; it is how the class looks, as frames of one film do.
    Kept together, it would leave next to nothing to judge the class by.
    """
    used = [sample for sample in samples if not sample.reason]
    counts = Counter(group for group, _ in {(sample.group, sample.sha256) for sample in used})
    large = {group for group, count in counts.items() if count > LARGE_GROUP}
    classes, parts = Counter(sample.label for sample in used), Counter((sample.group, sample.label) for sample in used)
    crowds = {group for (group, label), part in parts.items() if group in large and 2 * part > classes[label]}
    return frozenset(large - crowds), frozenset(crowds)


def _key(sample: Sample, crowds: Container[str]) -> str:
    """What decides where an image goes: its group, in a crowd its own content."""
    return sample.sha256[:16] if sample.group in crowds else sample.group


def _deal_class(
    groups: Iterable[str], shares: Mapping[Split, float], seed: int, *, settled: Mapping[str, str]
) -> dict[str, str]:
    """Deal the groups of one class: each to the split in whose share its place in [0, 1) falls, if it is in none yet.

    A class so small that chance leaves a split without it gives that split its nearest group, as long as there are
    groups: first it trains, then it validates, then it tests. This is the one case in which adding an image without
    near duplicates can move another, but for a crowd that is no longer over half of its class.
    """
    places = sorted((uniform(seed, "split", group), group) for group in groups)
    splits = {group: settled.get(group) or _side(place, shares) for place, group in places}
    for rank, wanted in enumerate(SPLITS):
        if wanted in splits.values() or not shares.get(wanted, 1.0):
            continue
        counts = Counter(splits.values())
        spare = [
            group
            for group, split in splits.items()
            if group not in settled and (counts[split] > 1 or SPLITS.index(split) > rank)
        ]
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
            other = first.setdefault(sample.sha256, sample)
            if other.label != sample.label:
                contradicted.setdefault(sample.sha256, (other, sample))

    def judge(sample: Sample) -> Sample:
        if sample.reason or sample.sha256 not in contradicted:
            return sample
        one, two = contradicted[sample.sha256]
        other = two if sample.label == one.label else one
        return replace(sample, reason=f"equal to {other.path} of class {other.label}")

    return [judge(sample) for sample in samples]


def _refuse_leaks(samples: Sequence[Sample], crowds: Container[str]) -> list[Sample]:
    """Where a person's own splits share an image, or nearly, keep the copy that judges and refuse the one that teaches.

    A near duplicate is refused like a copy: a network that learned the one knows the other. What judges is left as it
    was, so figures stay comparable with those of others on the same test images, and training has images to spare.
    Where much of a person's training is so refused, `check_dataset` stops, and names what leaks.
    """
    weight = {"test": 2, "validation": 1}
    keeper: dict[str, Sample] = {}
    for sample in samples:
        if sample.reason or sample.split not in weight:
            continue
        for name in {sample.sha256, _key(sample, crowds)}:
            held = keeper.get(name)
            if held is None or weight[sample.split] > weight[held.split]:
                keeper[name] = sample

    def judge(sample: Sample) -> Sample:
        held, equal = keeper.get(_key(sample, crowds)), keeper.get(sample.sha256)
        if sample.reason or held is None or sample.split in ("", held.split):
            return sample
        if equal is not None and equal.split == held.split:
            return replace(sample, reason=f"equal to {equal.path} in {held.split}")
        return replace(sample, reason=f"nearly equal to {held.path} in {held.split}")

    return [judge(sample) for sample in samples]
