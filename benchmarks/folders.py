"""Folders of links to photos for one run of a benchmark: the split that all competitors read, and copies of photos."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from convscope.datasets.listing import Item, list_folder
from convscope.randomness import generator


def make_split(data: Path, folder: Path, *, num_validation: int, max_photos: int | None, seed: int) -> dict[str, int]:
    """Link photos in `folder`/train/CLASS/ and `folder`/validation/CLASS/; returns the number of photos in each.

    Args:
        data: a folder of photos that convscope can list.
        folder: where the links are made.
        num_validation: photos for validation, drawn by `seed` as `reference.py` draws them.
        max_photos: photos in all; None: every one.
        seed: of the draw.
    """
    items = list_usable(data)
    order = generator(seed, "benchmark").permutation(len(items))[:max_photos].tolist()
    splits = {"validation": order[:num_validation], "train": order[num_validation:]}
    for split, numbers in splits.items():
        link_photos(data, folder / split, ((number, items[number]) for number in sorted(numbers)))
    return {split: len(numbers) for split, numbers in splits.items()}


def make_copies(data: Path, folder: Path, *, count: int, seed: int) -> None:
    """Link `count` photos in `folder`/CLASS/; after the last photo, the first ones again under other names."""
    items = list_usable(data)
    order = generator(seed, "benchmark").permutation(len(items))
    link_photos(data, folder, ((number, items[order[number % len(items)]]) for number in range(count)))


def link_photos(data: Path, folder: Path, items: Iterable[tuple[int, Item]]) -> None:
    """Link each photo in the folder of its class, named by its number."""
    for number, item in items:
        link = folder / item.label / f"{number:06d}{Path(item.path).suffix.lower()}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((data / item.path).absolute())


def list_usable(data: Path) -> list[Item]:
    """The photos of a folder that are not refused, in order."""
    return [item for item in list_folder(data).items if not item.reason]
