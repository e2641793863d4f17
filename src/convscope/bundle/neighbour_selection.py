"""Which training images the neighbour index of a model contains, with their features and thumbnails."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from convscope.bundle.bundle import NEIGHBOURS_FILE, check_finite
from convscope.bundle.neighbour_file import MAX_BYTES, MAX_IMAGES, encode_neighbours, round_features
from convscope.datasets.batches import evaluation_batches
from convscope.progress import progress
from convscope.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.datasets.dataset import Dataset

HEADER_BYTES = 4096  # of a safetensors file, at most
BYTES_PER_IMAGE = 13  # for its label, the end of its picture, the end of its path
PICTURE_SIDE = 64  # pixels, at most; such a JPEG file has 1.6 kB, one of noise 3 kB
JPEG_QUALITY = 75
BATCH_SIZE = 32

ComputeFeatures = Callable[["NDArray[np.uint8]"], "NDArray[np.float32]"]


def build_neighbour_index(
    compute_features: ComputeFeatures, dataset: Dataset, *, weights: str, seed: int
) -> tuple[bytes, dict[str, Any]]:
    """Select training images and compute their features: all where they fit, else equally many of each class.

    Args:
        compute_features: the model, (n, size, size, channels) uint8 -> features (n, width) float32.
        dataset: that it was trained on.
        weights: the SHA-256 of its weights, kept in the file.
        seed: of the selection.

    Returns: the content of neighbours.safetensors, and its description in model.json: `images`, how many it contains;
        `of`, how many there are; `sha256`.

    Raises:
        BundleError: a feature is not finite.
    """
    rows = dataset.rows("train")
    drawn = balanced_order(rows, dataset.labels[rows], seed=seed)[:MAX_IMAGES]
    features: list[NDArray[np.float32]] = []
    pictures: list[bytes] = []
    available = MAX_BYTES - HEADER_BYTES
    with progress("writing the neighbour index", len(drawn), unit="images") as bar:
        for images, _ in evaluation_batches(dataset.images, dataset.labels, drawn, batch_size=BATCH_SIZE):
            batch = compute_features(images)
            check_finite(Path(NEIGHBOURS_FILE), batch)
            features.append(round_features(batch))
            pictures += map(encode_picture, images)
            bar.advance(len(images))
            if len(pictures) * 2 * batch.shape[1] + sum(map(len, pictures)) > available:
                break
    paths = [dataset.samples[row].path.encode("utf-8", "surrogateescape") for row in drawn[: len(pictures)]]
    feature_bytes = 2 * features[0].shape[1]
    sizes = [
        feature_bytes + BYTES_PER_IMAGE + len(picture) + len(path)
        for picture, path in zip(pictures, paths, strict=True)
    ]
    count = int((np.cumsum(sizes) <= available).sum())
    order = np.argsort(drawn[:count])
    data = encode_neighbours(
        np.concatenate(features)[order],
        dataset.labels[drawn[order]],
        paths=[paths[position] for position in order],
        pictures=[pictures[position] for position in order],
        weights=weights,
    )
    return data, {"images": count, "of": len(rows), "sha256": hashlib.sha256(data).hexdigest()}


def balanced_order(rows: NDArray[np.int64], labels: NDArray[np.int32], *, seed: int) -> NDArray[np.int64]:
    """Shuffle (n,) rows, given their (n,) classes, so that every prefix is class-balanced, as far as classes last."""
    order = generator(seed, "neighbours").permutation(len(rows))
    by_class = np.argsort(labels[order], kind="stable")
    sorted_labels = np.sort(labels)
    turns = np.empty(len(rows), np.int64)  # the first of each class, the second of each class, ...
    turns[by_class] = np.arange(len(rows)) - np.searchsorted(sorted_labels, sorted_labels)
    return rows[order[np.argsort(turns, kind="stable")]]


def encode_picture(image: NDArray[np.uint8]) -> bytes:
    """(size, size, channels) uint8 as a JPEG file of at most 64 x 64 pixels."""
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    if len(image) > PICTURE_SIDE:
        picture = picture.resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
