"""The training images that an image is most like, by what the network's last layer decides by.

Some of them lie beside a model, in `neighbours.safetensors`: their features, classes, paths and small pictures. Whoever
does not want to give them away deletes the file; the model answers as well without it.

Features are of length 1 and rounded to steps of 1/2048. The products of two such numbers are exact in float32, and so
are sums of them, in whatever order a machine adds: the same features have the same neighbours everywhere.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from convscope.bundle.bundle import METADATA_KEY, Bundle, check_finite
from convscope.datasets.batches import evaluation_batches
from convscope.errors import BundleError, ImageRefused, RecipeError
from convscope.files import hash_file
from convscope.formatting import plural
from convscope.images.reading import decoding_work, read_image
from convscope.progress import progress
from convscope.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.datasets.dataset import Dataset

NEIGHBOURS = "neighbours.safetensors"
FORMAT = 1
SHOWN = 5  # beside an image, where nobody says how many
MOST_IMAGES = 4_000  # with twice as many `train` would end some seconds later
MOST_BYTES = 32 * 1024**2  # of the file
HEAD_BYTES = 4096  # at most, of what says which numbers stand where
NUMBER_BYTES = 13  # of an image: its class, the end of its picture, the end of its path
SIDE = 64  # pixels of a picture; 1.6 kB, and noise 3 kB
QUALITY = 75  # of its JPEG file
STEPS = 2048
LONGEST = 2.0  # square of a length: rounding makes a little more than 1 of 1
AT_ONCE = 32  # images that the network looks at
TENSORS = {"features": ("F16", 2), "labels": ("I32", 1), "paths": ("U8", 1), "pictures": ("U8", 1), "ends": ("I64", 1)}

See = Callable[["NDArray[np.uint8]"], "NDArray[np.float32]"]  # (n, size, size, channels) -> features (n, width)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training image that is like another one.

    Attributes:
        place: its place among those that the model carries.
        path: as the training had it; only a text, the file may be anywhere.
        label: its class.
        similarity: the cosine of the angle between both features, -1 to 1.
    """

    place: int
    path: str
    label: str
    similarity: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Neighbours:
    """The training images that lie beside a model.

    Attributes:
        file: what they were read from.
        bundle: the model.
        features: (n, width) float32, in steps of 1/2048; `squares`: (n,), of their lengths.
        labels: (n,) int32, the numbers of their classes.
        paths: n, as the training had them.
        pictures: their JPEG files, one after another; `ends`: (n,), where each ends.
    """

    file: Path
    bundle: Bundle
    features: NDArray[np.float32]
    squares: NDArray[np.float32]
    labels: NDArray[np.int32]
    paths: tuple[str, ...]
    pictures: NDArray[np.uint8]
    ends: NDArray[np.int64]

    def nearest(self, features: NDArray[np.float32], count: int = SHOWN) -> list[tuple[Neighbour, ...]]:
        """The most similar training images for each of (n, width) features; of equally similar ones the first.

        Raises:
            BundleError: the features are not those of this model.
        """
        if features.ndim != 2 or features.shape[1] != self.features.shape[1]:
            raise _stranger(self.file, self.bundle)
        asked = _to_steps(features)
        products = (asked @ self.features.T).astype(np.float64)  # (n, width) x (width, images) -> (n, images)
        squares = np.outer(_squares(asked).astype(np.float64), self.squares)
        return [self._best(row, count) for row in products / np.sqrt(np.where(squares > 0, squares, 1))]

    def check_count(self, count: int) -> None:
        """Make sure that there are as many as are to be named.

        Raises:
            RecipeError: there are not.
        """
        if count > len(self.labels):
            raise RecipeError(
                found=f"--neighbours {count} of a model that carries {plural(len(self.labels), 'training image')}",
                expected=f"at most {len(self.labels)}",
                fix="choose another --neighbours",
            )

    def picture(self, place: int) -> NDArray[np.uint8]:
        """The small picture of a training image, (side, side, channels) uint8, decoded here and now.

        Raises:
            BundleError: it is damaged.
        """
        first, last = self.ends[place - 1] if place else 0, self.ends[place]
        data, square = self.pictures[first:last].tobytes(), self.bundle.square
        try:
            if not 0 < decoding_work(data) <= SIDE**2:
                raise ImageRefused("no small picture")
            return read_image(data, size=min(SIDE, square.size), channels=square.channels)
        except ImageRefused as refusal:
            raise _damaged(self.file, f"picture {place}: {refusal}") from None

    def _best(self, similarities: NDArray[np.float64], count: int) -> tuple[Neighbour, ...]:
        """Of the similarities (images,) the largest, in order."""
        fewest = max(len(similarities) - count, 0)
        least = np.partition(similarities, fewest)[fewest]
        places = np.flatnonzero(similarities >= least)
        order = places[np.argsort(-similarities[places], kind="stable")][:count].tolist()
        classes = self.bundle.classes
        return tuple(
            Neighbour(place, self.paths[place], classes[self.labels[place]], float(similarities[place]))
            for place in order
        )


def neighbours_of(bundle: Bundle) -> Neighbours:
    """The training images that lie beside a model.

    Raises:
        BundleError: there are none, or they are damaged, or another model's.
    """
    file = bundle.path.with_name(NEIGHBOURS)
    if not file.is_file():
        raise BundleError(
            found=f"no {NEIGHBOURS} beside {bundle.path}",
            expected="the training images that a run of this version keeps beside its model",
            fix="name the run folder, or do without neighbours",
        )
    try:
        facts, tensors = _read(file)
        if facts.get("weights", "") != bundle.facts.get("weights"):
            raise _stranger(file, bundle)
        if hash_file(file) != bundle.facts.get("neighbours", {}).get("sha256"):
            raise ValueError("it has changed since it was written")
        _check(tensors, len(bundle.classes))
        paths = _split_paths(tensors["paths"], len(tensors["labels"]))
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from None
    features = tensors.pop("features").astype(np.float32)
    del tensors["paths"]
    return Neighbours(file=file, bundle=bundle, features=features, squares=_squares(features), paths=paths, **tensors)


def has_neighbours(bundle: Bundle) -> bool:
    """Whether training images lie beside a model."""
    return bundle.path.with_name(NEIGHBOURS).is_file()


def draw_neighbours(see: See, dataset: Dataset, *, weights: str, seed: int) -> tuple[bytes, dict[str, Any]]:
    """Draw training images, as many of each class where they do not all fit, and describe them.

    Args:
        see: the model, (n, size, size, channels) uint8 -> features (n, width) float32.
        dataset: that it learned from.
        weights: the hash of its weights, by which the file says whose it is.
        seed: of the draw.

    Returns: the content of `neighbours.safetensors`, and what the model says of it: `images`, how many; `of` how many;
        `sha256`.

    Raises:
        BundleError: the model's features are no numbers.
    """
    rows = dataset.rows("train")
    drawn = draw_evenly(rows, dataset.labels[rows], seed=seed)[:MOST_IMAGES]
    features: list[NDArray[np.float32]] = []
    pictures: list[bytes] = []
    room = MOST_BYTES - HEAD_BYTES
    with progress("remembering training images", len(drawn), unit="images") as bar:
        for images, _ in evaluation_batches(dataset.images, dataset.labels, drawn, batch_size=AT_ONCE):
            seen = see(images)
            check_finite(Path(NEIGHBOURS), seen)
            features.append(_to_steps(seen))
            pictures += map(_to_picture, images)
            bar.advance(len(images))
            if len(pictures) * 2 * seen.shape[1] + sum(map(len, pictures)) > room:
                break
    paths = [dataset.samples[row].path.encode("utf-8", "surrogateescape") for row in drawn[: len(pictures)]]
    width = 2 * features[0].shape[1]
    sizes = [width + NUMBER_BYTES + len(one) + len(path) for one, path in zip(pictures, paths, strict=True)]
    count = int((np.cumsum(sizes) <= room).sum())
    order = np.argsort(drawn[:count])
    data = encode_neighbours(
        np.concatenate(features)[order],
        dataset.labels[drawn[order]],
        paths=[paths[place] for place in order],
        pictures=[pictures[place] for place in order],
        weights=weights,
    )
    return data, {"images": count, "of": len(rows), "sha256": hashlib.sha256(data).hexdigest()}


def draw_evenly(rows: NDArray[np.int64], labels: NDArray[np.int32], *, seed: int) -> NDArray[np.int64]:
    """Shuffle (n,) rows with their (n,) classes so that in each beginning the classes are as even as can be."""
    order = generator(seed, "neighbours").permutation(len(rows))
    by_class = np.argsort(labels[order], kind="stable")
    of_class = np.sort(labels)
    turns = np.empty(len(rows), np.int64)  # the first of each class, the second of each class, ...
    turns[by_class] = np.arange(len(rows)) - np.searchsorted(of_class, of_class)
    return rows[order[np.argsort(turns, kind="stable")]]


def encode_neighbours(
    features: NDArray[np.float32],
    labels: NDArray[np.int32],
    *,
    paths: Sequence[bytes],
    pictures: Sequence[bytes],
    weights: str,
) -> bytes:
    """The content of `neighbours.safetensors`: (n, width) features in steps, n classes, paths and JPEG files."""
    from safetensors.numpy import save

    tensors: dict[str, NDArray[Any]] = {
        "features": features.astype(np.float16, order="C"),  # safetensors writes the memory as it lies
        "labels": labels.astype(np.int32),
        "paths": np.frombuffer(b"\0".join(paths), np.uint8),
        "pictures": np.frombuffer(b"".join(pictures), np.uint8),
        "ends": np.cumsum([len(picture) for picture in pictures], dtype=np.int64),
    }
    # one key: safetensors writes several in an order that changes from process to process
    return save(tensors, {METADATA_KEY: json.dumps({"format": FORMAT, "weights": weights})})


def _read(file: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What a file says of itself, and its tensors.

    Raises:
        OSError, ValueError: it is too large, damaged, or has other tensors than it should.
    """
    from safetensors import SafetensorError, safe_open

    if file.stat().st_size > MOST_BYTES:
        raise ValueError(f"over {MOST_BYTES // 2**20} MB")
    try:
        with safe_open(file, framework="numpy") as opened:
            facts = json.loads((opened.metadata() or {}).get(METADATA_KEY, "null"))
            if not isinstance(facts, dict) or facts.get("format") != FORMAT:
                raise ValueError("no description of convscope, or one of another format")
            found = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 (it is no dictionary)
            if {name: (one.get_dtype(), len(one.get_shape())) for name, one in found.items()} != TENSORS:
                raise ValueError("other tensors than it should have")
            return facts, {name: opened.get_tensor(name) for name in TENSORS}
    except (SafetensorError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _check(tensors: dict[str, NDArray[Any]], num_classes: int) -> None:
    """All tensors are of the same images, and every number is one that can be.

    Raises:
        ValueError: they are not.
    """
    features, labels, ends = (tensors[name] for name in ("features", "labels", "ends"))
    steps = features.astype(np.float32) * np.float32(STEPS)
    sizes = np.diff(ends, prepend=0)
    if not 0 < len(labels) <= MOST_IMAGES or not len(features) == len(labels) == len(ends) or not features.size:
        raise ValueError("tensors of different images")
    if not ((steps == np.rint(steps)).all() and _squares(steps / np.float32(STEPS)).max() <= LONGEST):
        raise ValueError("features that are none")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError("classes that the model does not have")
    if sizes.min() <= 0 or sizes.max() > len(tensors["pictures"]) or ends[-1] != len(tensors["pictures"]):
        raise ValueError("pictures without an end")


def _split_paths(data: NDArray[np.uint8], count: int) -> tuple[str, ...]:
    paths = tuple(data.tobytes().decode("utf-8", "surrogateescape").split("\0"))
    if len(paths) != count:
        raise ValueError("not as many paths as images")
    return paths


def _to_steps(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, width) as vectors of length 1, rounded to steps of 1/2048; what has no length stays so."""
    exact = features.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    return (np.rint(exact / np.where(lengths > 0, lengths, 1) * STEPS) / STEPS).astype(np.float32)


def _squares(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, width) -> (n,), the squares of the lengths."""
    squares: NDArray[np.float32] = np.einsum("nw,nw->n", features, features)
    return squares


def _to_picture(image: NDArray[np.uint8]) -> bytes:
    """(size, size, channels) uint8 as a small JPEG file."""
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    if len(image) > SIDE:
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _stranger(file: Path, bundle: Bundle) -> BundleError:
    return BundleError(
        found=f"{file} of another model than {bundle.path}",
        expected="training images of this model",
        fix="copy the folder again, or delete that file: the model answers without it",
    )


def _damaged(file: Path, why: str) -> BundleError:
    return BundleError(
        found=f"{file} is damaged: {why}",
        expected="the file that was written beside the model",
        fix="copy the folder again, or delete that file: the model answers without it",
    )
