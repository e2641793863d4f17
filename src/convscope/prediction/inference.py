"""Files to a model's answers: decoding, inference and whoever takes the answers all run beside each other.

An answer depends on its image, on its place in the list and on the model, and on nothing else: each batch is a fixed
range of the list, an image has its fixed place in it, and what is unreadable or of another shard leaves its place
black. So a run that was resumed, or dealt to many machines, gives the bits of one that was not.
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
from convscope.images.decoding import Decoded, decode_files

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_IMAGES = 32
MOST_ASKED_AT_ONCE = 8  # batches: each needs memory for all that its layers compute

# features (n, width) -> for each the training images that are most like it
Nearest: TypeAlias = "Callable[[NDArray[np.float32]], Sequence[tuple[Neighbour, ...]]]"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one file: the probabilities (classes,) float32, or the reason why there are none.

    `neighbours`: the most similar training images, best first, where they were asked for. `sha256`: of the file's
    content, "" where it could not be read.
    """

    path: str
    reason: str
    probabilities: NDArray[np.float32] | None
    neighbours: tuple[Neighbour, ...] = ()
    sha256: str = ""


def open_for_answering(model: Path) -> Bundle:
    """Open a model so that it shares the cores with decoding.

    Many batches at once with one thread each wait for nobody; two threads on one batch wait for each other whenever a
    decoder has taken a core.

    Raises:
        BundleError: the model cannot be used.
    """
    return open_bundle(model, threads=max(1, available_cores() // _asked_at_once()))


def answer_files(bundle: Bundle, paths: Sequence[str | Path], *, mirror: bool = False) -> Iterator[Answer]:
    """The model's answer to each file, in order; memory stays flat. `mirror`: as in `answer_batches`."""
    names = (os.fspath(path) for path in paths)
    with closing(answer_batches(bundle, names, first=0, total=len(paths), mirror=mirror)) as batches:
        for answers in batches:
            yield from answers


def answer_batches(
    bundle: Bundle,
    paths: Iterable[str],
    *,
    first: int,
    total: int,
    nearest: Nearest | None = None,
    mirror: bool = False,
) -> Generator[list[Answer]]:
    """The model's answers to a stretch of a list, in order, batch by batch; paths are taken a few hundred ahead.

    Args:
        bundle: the model.
        paths: the files of the stretch.
        first: the number of its first file in the whole list.
        total: how many files the whole list has.
        nearest: what finds the neighbours of features; None: none are asked for.
        mirror: average each image's probabilities with those of its mirror image, for twice the work.
    """
    at_once = _asked_at_once()
    ours, theirs = itertools.tee(paths)
    pairs = zip(ours, decode_files(theirs, bundle.square), strict=True)
    pool = ThreadPoolExecutor(at_once)
    try:
        waiting: deque[Future[list[Answer]]] = deque()
        while first < total:
            start = first % BATCH_IMAGES
            size = min(BATCH_IMAGES, total - first + start)  # of the whole batch, its other shards' part included
            batch = list(itertools.islice(pairs, size - start))
            if not batch:
                break
            waiting.append(pool.submit(_answer, bundle, batch, start, size, nearest=nearest, mirror=mirror))
            first += len(batch)
            if len(waiting) > at_once:  # one more than is computed, so that none waits for the decoder
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _asked_at_once() -> int:
    return min(available_cores(), MOST_ASKED_AT_ONCE)


def _answer(
    bundle: Bundle,
    batch: Sequence[tuple[str, Decoded]],
    start: int,
    size: int,
    *,
    nearest: Nearest | None,
    mirror: bool,
) -> list[Answer]:
    """The answers to files that have the places from `start` on in a batch of `size`."""
    images = np.zeros((size, *bundle.square.shape), np.uint8)
    for place, (_, decoded) in enumerate(batch, start):
        if decoded.image is not None:
            images[place] = decoded.image
    if all(decoded.image is None for _, decoded in batch):
        return [Answer(path, decoded.reason, None, sha256=decoded.sha256) for path, decoded in batch]
    ours = slice(start, start + len(batch))
    neighbours: Sequence[tuple[Neighbour, ...]] = [()] * len(batch)
    if nearest is None:
        rows = bundle.predict(images)[ours]
    else:
        rows, features = (each[ours] for each in bundle.see(images))
        neighbours = nearest(features)
    if mirror:
        turned = np.ascontiguousarray(images[:, :, ::-1])
        rows = (rows + bundle.predict(turned)[ours]) * np.float32(0.5)
    return [
        Answer(path, decoded.reason, None, sha256=decoded.sha256)
        if decoded.image is None
        else Answer(path, decoded.reason, row, near, decoded.sha256)
        for (path, decoded), row, near in zip(batch, rows, neighbours, strict=True)
    ]
