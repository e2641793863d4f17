"""Image files -> predictions, in order: decoding, inference and the caller run at the same time.

A prediction depends only on its image, its position in the list, and the model: each batch is a fixed range of the
list, and each image has a fixed position in its batch; that of an unreadable image, or of one of another shard, stays
black. So a resumed run and a sharded run give the same bits as an uninterrupted run on one machine.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from convscope.bundle.bundle import Bundle, open_bundle
from convscope.bundle.neighbours import Neighbour
from convscope.environment import available_cores
from convscope.images.decoder_pool import DecodedFile, decode_files

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_IMAGES = 32
MAX_CONCURRENT_BATCHES = 8  # each needs memory for the activations of all layers

# features (n, width) float32 -> for each image its most similar training images
FindNeighbours: TypeAlias = "Callable[[NDArray[np.float32]], Sequence[tuple[Neighbour, ...]]]"


@dataclass(frozen=True, slots=True)
class Prediction:
    """The model's prediction for one file.

    Attributes:
        path: the file.
        reason: why it is unreadable; "" if it is not.
        probabilities: (num_classes,) float32; None if the file is unreadable.
        neighbours: the most similar training images, best first, if requested.
        sha256: of the file's content; "" if it could not be read.
    """

    path: str
    reason: str
    probabilities: NDArray[np.float32] | None
    neighbours: tuple[Neighbour, ...] = ()
    sha256: str = ""


def open_for_inference(model: Path) -> Bundle:
    """Open a model so that it shares the cores with decoding.

    Many concurrent batches of one thread each never wait for each other; two threads of one batch do, whenever a
    decoder has taken a core.

    Args:
        model: a run folder or a .onnx file.

    Raises:
        BundleError: the model cannot be used.
    """
    return open_bundle(model, threads=max(1, available_cores() // _num_concurrent_batches()))


def predict_files(bundle: Bundle, paths: Sequence[str | Path], *, mirror: bool = False) -> Iterator[Prediction]:
    """The prediction for each file, in order; memory stays flat.

    Args:
        bundle: the model.
        paths: the files.
        mirror: as in `Predictor`.
    """
    predictor = Predictor(bundle=bundle, mirror=mirror)
    names = (os.fspath(path) for path in paths)
    with closing(predictor.predict_batches(names, first=0, total=len(paths))) as batches:
        for predictions in batches:
            yield from predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """A model, and what to predict with it.

    Attributes:
        bundle: the model.
        find_neighbours: finds the most similar training images; None: predictions have no neighbours.
        mirror: test-time augmentation: average the probabilities of each image and of its horizontal flip. Takes twice
            the time.
    """

    bundle: Bundle
    find_neighbours: FindNeighbours | None = None
    mirror: bool = False

    def predict_batches(self, paths: Iterable[str], *, first: int, total: int) -> Generator[list[Prediction]]:
        """The predictions for a range of a list, in order, batch by batch; reads a few hundred paths ahead.

        Args:
            paths: the files of the range.
            first: the position of the first of them in the list.
            total: how many files the list has.
        """
        max_running = _num_concurrent_batches()
        paths, paths_to_decode = itertools.tee(paths)
        files = zip(paths, decode_files(paths_to_decode, self.bundle.square), strict=True)
        pool = ThreadPoolExecutor(max_running)
        try:
            running: deque[Future[list[Prediction]]] = deque()
            while first < total:
                start = first % BATCH_IMAGES
                size = min(BATCH_IMAGES, total - first + start)  # of the batch with the files of other shards
                batch = list(itertools.islice(files, size - start))
                if not batch:
                    break
                running.append(pool.submit(self._predict_batch, batch, start=start, size=size))
                first += len(batch)
                if len(running) > max_running:  # one more than there are threads, so that none waits for the decoder
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _predict_batch(self, files: Sequence[tuple[str, DecodedFile]], *, start: int, size: int) -> list[Prediction]:
        """The predictions for files that have the positions from `start` on in a batch of `size`."""
        if all(decoded.image is None for _, decoded in files):
            return [Prediction(path, decoded.reason, None, sha256=decoded.sha256) for path, decoded in files]
        images = np.zeros((size, *self.bundle.square.shape), np.uint8)
        for position, (_, decoded) in enumerate(files, start):
            if decoded.image is not None:
                images[position] = decoded.image
        positions = slice(start, start + len(files))
        neighbours: Sequence[tuple[Neighbour, ...]] = [()] * len(files)
        if self.find_neighbours is None:
            probabilities = self.bundle.predict(images)[positions]
        else:
            probabilities, features = (output[positions] for output in self.bundle.predict_with_features(images))
            neighbours = self.find_neighbours(features)
        if self.mirror:
            flipped = np.ascontiguousarray(images[:, :, ::-1])
            probabilities = (probabilities + self.bundle.predict(flipped)[positions]) * np.float32(0.5)
        return [
            Prediction(path, decoded.reason, None, sha256=decoded.sha256)
            if decoded.image is None
            else Prediction(path, decoded.reason, row, nearest, decoded.sha256)
            for (path, decoded), row, nearest in zip(files, probabilities, neighbours, strict=True)
        ]


def _num_concurrent_batches() -> int:
    return min(available_cores(), MAX_CONCURRENT_BATCHES)
