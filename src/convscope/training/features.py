"""What a network makes of every image before its head, computed once and kept beside the decoded images.

They are kept in parts that appear whole, so a computation that was stopped goes on where it stood, and two of them at
once make the same files. Their name follows from the network and its weights.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.datasets.memory_map import Reader
from convscope.datasets.resizing import file_of
from convscope.files import open_atomic
from convscope.networks.catalog import read_weights
from convscope.networks.frameworks import keras
from convscope.progress import progress
from convscope.training.step import make_inference

if TYPE_CHECKING:
    from numpy.typing import NDArray

PART_IMAGES = 2048  # whose features are kept in one file: some seconds of work
COMPUTED_AT_ONCE = 64


def features_of(model: Any, images: NDArray[np.uint8]) -> NDArray[np.float16]:
    """The features of each image, (n, d) float16: computed now where they were not before.

    Half precision keeps three digits of numbers that are means of activations; bfloat16 would keep two.

    Args:
        model: a `keras.Model` with the layer `features`.
        images: (n, size, size, channels) uint8; a memory map, whose file the features are kept beside, or an array.
    """
    width = model.get_layer("features").output.shape[-1]
    source = file_of(images)
    folder = None if source is None else source.with_name(f"features-{_fingerprint(model)}")
    features = np.empty((len(images), width), np.float16)
    missing = [part for part in _parts(len(images)) if not _read(folder, part, features[part])]
    if not missing:
        return features
    infer = make_inference(keras.Model(model.input, model.get_layer("features").output))
    reader = Reader(images)
    with progress("computing features", sum(len(features[part]) for part in missing), unit="images") as bar:
        for part in missing:
            for some in _pieces(part):
                features[some] = infer(np.asarray(reader[some])).numpy()
                bar.advance(len(features[some]))
            if folder is not None:
                with open_atomic(_file(folder, part)) as whole:
                    whole.write(features[part].tobytes())
    return features


def _parts(count: int) -> list[slice]:
    """The images whose features are in a file of their own."""
    return [slice(first, min(first + PART_IMAGES, count)) for first in range(0, count, PART_IMAGES)]


def _pieces(part: slice) -> list[slice]:
    """The images that are looked at in one go."""
    firsts = range(part.start, part.stop, COMPUTED_AT_ONCE)
    return [slice(first, min(first + COMPUTED_AT_ONCE, part.stop)) for first in firsts]


def _file(folder: Path, part: slice) -> Path:
    return folder / f"{part.start:09d}.float16"


def _read(folder: Path | None, part: slice, features: NDArray[np.float16]) -> bool:
    """Fill in the features of a part, (n, width); False where they are not there, or not whole."""
    if folder is None:
        return False
    try:
        features[:] = np.fromfile(_file(folder, part), np.float16).reshape(features.shape)
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
