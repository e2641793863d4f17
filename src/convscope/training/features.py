"""The features of every image, the input of a network's head: computed once and kept beside the decoded images.

They are kept in files that are written atomically, so a computation that was stopped continues where it was, and two at
once write the same files. The name of their folder follows from the network and its weights.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.datasets.memory_map import RowReader
from convscope.datasets.resizing import memory_map_file
from convscope.files import open_atomic
from convscope.networks.catalog import read_weights
from convscope.networks.frameworks import keras
from convscope.progress import progress
from convscope.training.step import make_inference

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGES_PER_FILE = 2048  # some seconds of work
BATCH_SIZE = 64


def compute_features(model: Any, images: NDArray[np.uint8]) -> NDArray[np.float16]:
    """The features of each image, (n, d) float16: read where they are kept, else computed and kept.

    Half precision keeps three digits of values that are means of activations; bfloat16 would keep two.

    Args:
        model: a `keras.Model` with the layer `features`.
        images: (n, size, size, channels) uint8; a memory map, beside whose file the features are kept, or an array.
    """
    width = model.get_layer("features").output.shape[-1]
    source = memory_map_file(images)
    folder = None if source is None else source.with_name(f"features-{_fingerprint(model)}")
    features = np.empty((len(images), width), np.float16)
    missing = [rows for rows in _split(0, len(images), IMAGES_PER_FILE) if not _read(folder, rows, features[rows])]
    if not missing:
        return features
    infer = make_inference(keras.Model(model.input, model.get_layer("features").output))
    reader = RowReader(images)
    with progress("computing features", sum(len(features[rows]) for rows in missing), unit="images") as counter:
        for rows in missing:
            for batch in _split(rows.start, rows.stop, BATCH_SIZE):
                features[batch] = infer(np.asarray(reader[batch])).numpy()
                counter.advance(len(features[batch]))
            if folder is not None:
                with open_atomic(_file(folder, rows)) as file:
                    file.write(features[rows].tobytes())
    return features


def _split(start: int, stop: int, count: int) -> list[slice]:
    """The rows from `start` to `stop` as slices of `count`, the last one perhaps shorter."""
    return [slice(first, min(first + count, stop)) for first in range(start, stop, count)]


def _file(folder: Path, rows: slice) -> Path:
    return folder / f"{rows.start:09d}.float16"


def _read(folder: Path | None, rows: slice, features: NDArray[np.float16]) -> bool:
    """Fill in kept features, (n, width); False where they are missing or incomplete."""
    if folder is None:
        return False
    try:
        features[:] = np.fromfile(_file(folder, rows), np.float16).reshape(features.shape)
    except (OSError, ValueError):
        return False
    return True


def _fingerprint(model: Any) -> str:
    """16 hexadecimal digits that change with the network, its precision or its weights, but for its head."""
    layers = [layer.get_config() for layer in model.layers if layer.name not in ("logits", "probabilities")]
    digest = hashlib.sha256(json.dumps(layers, sort_keys=True, default=str).encode())
    for name, weight in sorted(read_weights(model).items()):
        if not name.startswith("logits/"):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:16]
