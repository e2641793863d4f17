"""The images to explain: held-out ones of a run, or those that the user names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convscope.bundle.bundle import Bundle
from convscope.datasets.dataset import read_samples
from convscope.errors import FolderError
from convscope.evaluation.labelled_images import image_root
from convscope.images.decoder_pool import decode_file
from convscope.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_HELD_OUT = 24  # as many as a grid has
EXPLAINED_IMAGES = 2  # when none are named


@dataclass(frozen=True, slots=True)
class Photo:
    """An image to explain: (size, size, channels) uint8, its name, its true class if known, and its probabilities."""

    name: str
    image: NDArray[np.uint8]
    true: str | None
    probabilities: NDArray[np.float32]


def read_held_out(run: Run, bundle: Bundle) -> list[Photo]:
    """Up to 24 readable images that the network was not trained on, the classes in turn."""
    samples = [sample for sample in read_samples(run.data_file) if sample.split in ("validation", "test")]
    num_seen: dict[str, int] = {}
    order = []
    for sample in samples:
        num_seen[sample.label] = turn = num_seen.get(sample.label, 0) + 1
        order.append((turn, sample.label, sample.path))
    photos: list[Photo] = []
    for _, label, path in sorted(order):
        if len(photos) == MAX_HELD_OUT:
            break
        decoded = decode_file(image_root(run) / path, bundle.square)
        if decoded.image is not None:
            photos.append(_make_photo(bundle, path, decoded.image, label))
    return photos


def one_per_class(held_out: Sequence[Photo]) -> list[Photo]:
    """The first image of each of the first two classes by name."""
    first = {photo.true: photo for photo in reversed(held_out)}
    return sorted(first.values(), key=lambda photo: str(photo.true))[:EXPLAINED_IMAGES]


def read_named(bundle: Bundle, path: Path) -> Photo:
    """An image that the user named."""
    decoded = decode_file(path, bundle.square)
    if decoded.image is None:
        raise FolderError(found=f"{path}: {decoded.reason}", expected="an image", fix="name another")
    return _make_photo(bundle, path.name, decoded.image, None)


def _make_photo(bundle: Bundle, name: str, image: NDArray[np.uint8], true: str | None) -> Photo:
    return Photo(name, image, true, bundle.predict(image[np.newaxis])[0])
