"""The file neighbours.safetensors: the features, classes, paths and thumbnails of training images of a model.

Features are of length 1 and rounded to steps of 1/2048. The products of two such numbers are exact in float32, and so
are sums of them, in whatever order a machine adds: the same features have the same neighbours everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.bundle.model_file import METADATA_KEY

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
MAX_IMAGES = 4_000  # with twice as many `train` would end some seconds later
MAX_BYTES = 32 * 1024**2  # of the file
STEPS = 2048
MAX_SQUARED_LENGTH = 2.0  # of a vector of features: rounding makes a little more than 1 of 1
TENSORS = {  # their types and numbers of axes
    "features": ("F16", 2),
    "labels": ("I32", 1),
    "paths": ("U8", 1),
    "pictures": ("U8", 1),
    "ends": ("I64", 1),
}


def encode_neighbours(
    features: NDArray[np.float32],
    labels: NDArray[np.int32],
    *,
    paths: Sequence[bytes],
    pictures: Sequence[bytes],
    weights: str,
) -> bytes:
    """The content of the file.

    Args:
        features: (n, width) float32, from `round_features`.
        labels: (n,) int32, the indices of the classes.
        paths: n.
        pictures: n JPEG files.
        weights: the SHA-256 of the model's weights: whose neighbours these are.
    """
    from safetensors.numpy import save

    tensors: dict[str, NDArray[Any]] = {
        "features": features.astype(np.float16, order="C"),  # safetensors ignores strides: it writes the memory
        "labels": labels.astype(np.int32),
        "paths": np.frombuffer(b"\0".join(paths), np.uint8),
        "pictures": np.frombuffer(b"".join(pictures), np.uint8),
        "ends": np.cumsum([len(picture) for picture in pictures], dtype=np.int64),
    }
    # one key: safetensors writes several in an order that changes from process to process
    return save(tensors, {METADATA_KEY: json.dumps({"format": FORMAT, "weights": weights})})


def read_tensors(file: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The metadata of the file, and its tensors by name; their values are not checked yet.

    Raises:
        OSError, ValueError: the file is too large, damaged, or has other tensors than `TENSORS`.
    """
    from safetensors import SafetensorError, safe_open

    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"over {MAX_BYTES // 2**20} MB")
    try:
        with safe_open(file, framework="numpy") as opened:
            facts = json.loads((opened.metadata() or {}).get(METADATA_KEY, "null"))
            if not isinstance(facts, dict) or facts.get("format") != FORMAT:
                raise ValueError("no description by convscope, or one of another format")
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 (it is no dictionary)
            if {name: (part.get_dtype(), len(part.get_shape())) for name, part in slices.items()} != TENSORS:
                raise ValueError("other tensors than expected")
            return facts, {name: opened.get_tensor(name) for name in TENSORS}
    except (SafetensorError, RecursionError) as error:
        raise ValueError(str(error)) from None


def check_tensors(tensors: dict[str, NDArray[Any]], num_classes: int) -> None:
    """Make sure that all tensors are of the same images, and that every value is in its range.

    Raises:
        ValueError: they are not.
    """
    features, labels, ends = (tensors[name] for name in ("features", "labels", "ends"))
    steps = features.astype(np.float32) * np.float32(STEPS)
    sizes = np.diff(ends, prepend=0)
    if not 0 < len(labels) <= MAX_IMAGES or not len(features) == len(labels) == len(ends) or not features.size:
        raise ValueError("tensors of different images")
    if not ((steps == np.rint(steps)).all() and squared_lengths(steps / np.float32(STEPS)).max() <= MAX_SQUARED_LENGTH):
        raise ValueError("invalid features")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError("classes that the model does not have")
    if sizes.min() <= 0 or sizes.max() > len(tensors["pictures"]) or ends[-1] != len(tensors["pictures"]):
        raise ValueError("invalid ends of pictures")


def split_paths(data: NDArray[np.uint8], count: int) -> tuple[str, ...]:
    """The paths in the tensor `paths`.

    Raises:
        ValueError: there are not `count` of them.
    """
    paths = tuple(data.tobytes().decode("utf-8", "surrogateescape").split("\0"))
    if len(paths) != count:
        raise ValueError("not as many paths as images")
    return paths


def round_features(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, width) scaled to length 1 and rounded to steps of 1/2048; a vector of zeros stays one."""
    exact = features.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    return (np.rint(exact / np.where(lengths > 0, lengths, 1) * STEPS) / STEPS).astype(np.float32)


def squared_lengths(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, width) -> (n,)."""
    squares: NDArray[np.float32] = np.einsum("nw,nw->n", features, features)
    return squares
