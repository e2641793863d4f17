"""Folders of links to photos, made for one run of the benchmark: the split that everybody reads, and copies."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from convscope.datasets.listing import Item, list_folder
from convscope.randomness import generator


def make_split(data: Path, folder: Path, *, held_out: int, most: int | None, seed: int) -> dict[str, int]:
    """Deal photos to `folder`/train/CLASS/ and `folder`/validation/CLASS/; returns how many each has.

    Args:
        data: a folder of photos that convscope can list.
        folder: where the links go.
        held_out: photos for validation, drawn by `seed` as `reference.py` draws them.
        most: photos in all; None: every one.
        seed: of the draw.
    """
    items = usable(data)
    order = generator(seed, "benchmark").permutation(len(items))[:most].tolist()
    splits = {"validation": order[:held_out], "train": order[held_out:]}
    for split, numbers in splits.items():
        link(data, folder / split, ((number, items[number]) for number in sorted(numbers)))
    return {split: len(numbers) for split, numbers in splits.items()}


def make_copies(data: Path, folder: Path, *, count: int, seed: int) -> None:
    """Links to `count` photos in `folder`/CLASS/; beyond the last one they begin again, under other names."""
    items = usable(data)
    order = generator(seed, "benchmark").permutation(len(items))
    link(data, folder, ((number, items[order[number % len(items)]]) for number in range(count)))


def link(data: Path, folder: Path, items: Iterable[tuple[int, Item]]) -> None:
    """A link to each photo, in the folder of its class, named by its number."""
    for number, item in items:
        place = folder / item.label / f"{number:06d}{Path(item.path).suffix.lower()}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to((data / item.path).absolute())


def usable(data: Path) -> list[Item]:
    """The photos of a folder, in order."""
    return [item for item in list_folder(data).items if not item.reason]
