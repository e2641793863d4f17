"""Neighbours: the training images that are most similar to an image, by the features that the network decides by.

Some training images lie beside a model, in neighbours.safetensors. Whoever does not want to give them away deletes the
file; the model predicts as well without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convscope.bundle.bundle import NEIGHBOURS_FILE, Bundle
from convscope.bundle.neighbour_file import (
    check_tensors,
    read_tensors,
    round_features,
    split_paths,
    squared_lengths,
)
from convscope.bundle.neighbour_selection import PICTURE_SIDE
from convscope.errors import BundleError, ImageRefused, RecipeError
from convscope.files import hash_file
from convscope.formatting import plural
from convscope.images.image_reader import decoding_work, read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_NEIGHBOURS = 5  # for an image


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training image that is similar to another image.

    Attributes:
        row: its row in the index.
        path: its path at training; only a text, the file may be anywhere.
        label: its class.
        similarity: the cosine similarity of both features, -1 to 1.
    """

    row: int
    path: str
    label: str
    similarity: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class NeighbourIndex:
    """The training images that lie beside a model, to search.

    Attributes:
        file: that they were read from.
        bundle: the model.
        features: (n, width) float32, of length 1 in steps of 1/2048.
        squares: (n,) float32, the squared lengths of the features.
        labels: (n,) int32, the indices of their classes.
        paths: n, their paths at training.
        pictures: (bytes,) uint8, their JPEG files, concatenated.
        ends: (n,) int64, where each JPEG file ends.
    """

    file: Path
    bundle: Bundle
    features: NDArray[np.float32]
    squares: NDArray[np.float32]
    labels: NDArray[np.int32]
    paths: tuple[str, ...]
    pictures: NDArray[np.uint8]
    ends: NDArray[np.int64]

    def nearest(self, features: NDArray[np.float32], count: int = DEFAULT_NEIGHBOURS) -> list[tuple[Neighbour, ...]]:
        """The most similar training images for each of (n, width) features; of equally similar ones the first.

        Raises:
            BundleError: the features are another model's.
        """
        if features.ndim != 2 or features.shape[1] != self.features.shape[1]:
            raise _another_model(self.file, self.bundle)
        queries = round_features(features)
        products = (queries @ self.features.T).astype(np.float64)  # (n, width) x (width, images) -> (n, images)
        squares = np.outer(squared_lengths(queries).astype(np.float64), self.squares)
        return [self._most_similar(row, count) for row in products / np.sqrt(np.where(squares > 0, squares, 1))]

    def check_count(self, count: int) -> None:
        """Make sure that the index contains at least `count` images.

        Raises:
            RecipeError: it does not.
        """
        if count > len(self.labels):
            raise RecipeError(
                found=f"`neighbours={count}` of a model with {plural(len(self.labels), 'training image')} beside it",
                expected=f"at most {len(self.labels)}",
                fix="choose another `neighbours`",
            )

    def picture(self, row: int) -> NDArray[np.uint8]:
        """The thumbnail of a training image, (side, side, channels) uint8, at most 64 pixels a side; decoded here.

        Raises:
            BundleError: it is damaged.
        """
        first, last = self.ends[row - 1] if row else 0, self.ends[row]
        data, square = self.pictures[first:last].tobytes(), self.bundle.square
        try:
            if not 0 < decoding_work(data) <= PICTURE_SIDE**2:
                raise ImageRefused("no thumbnail")
            return read_image(data, size=min(PICTURE_SIDE, square.size), channels=square.channels)
        except ImageRefused as refusal:
            raise _damaged(self.file, f"picture {row}: {refusal}") from None

    def _most_similar(self, similarities: NDArray[np.float64], count: int) -> tuple[Neighbour, ...]:
        """The neighbours with the largest of the similarities (images,), in descending order."""
        kth = max(len(similarities) - count, 0)
        threshold = np.partition(similarities, kth)[kth]
        candidates = np.flatnonzero(similarities >= threshold)
        rows = candidates[np.argsort(-similarities[candidates], kind="stable")][:count].tolist()
        classes = self.bundle.classes
        return tuple(
            Neighbour(row, self.paths[row], classes[self.labels[row]], float(similarities[row])) for row in rows
        )


def open_neighbours(bundle: Bundle) -> NeighbourIndex:
    """Open the neighbour index that lies beside a model.

    Raises:
        BundleError: there is none, it is damaged, or another model's.
    """
    file = bundle.path.with_name(NEIGHBOURS_FILE)
    if not file.is_file():
        raise BundleError(
            found=f"no {NEIGHBOURS_FILE} beside {bundle.path}",
            expected="the file that this version of convscope writes beside the model of a run",
            fix="name the run folder, or do without neighbours",
        )
    try:
        facts, tensors = read_tensors(file)
        if facts.get("weights", "") != bundle.facts.get("weights"):
            raise _another_model(file, bundle)
        if hash_file(file) != bundle.facts.get("neighbours", {}).get("sha256"):
            raise ValueError("it has changed since it was written")
        check_tensors(tensors, len(bundle.classes))
        paths = split_paths(tensors["paths"], len(tensors["labels"]))
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from None
    features = tensors["features"].astype(np.float32)
    return NeighbourIndex(
        file=file,
        bundle=bundle,
        features=features,
        squares=squared_lengths(features),
        labels=tensors["labels"],
        paths=paths,
        pictures=tensors["pictures"],
        ends=tensors["ends"],
    )


def has_neighbours(bundle: Bundle) -> bool:
    """Whether a neighbour index lies beside a model."""
    return bundle.path.with_name(NEIGHBOURS_FILE).is_file()


def _another_model(file: Path, bundle: Bundle) -> BundleError:
    return BundleError(
        found=f"{file} of another model than {bundle.path}",
        expected="training images of this model",
        fix="copy the folder again, or delete that file: the model predicts without it",
    )


def _damaged(file: Path, reason: str) -> BundleError:
    return BundleError(
        found=f"{file} is damaged: {reason}",
        expected="the file that was written beside the model",
        fix="copy the folder again, or delete that file: the model predicts without it",
    )
