"""Many image files to arrays, in order, on all cores: a few worker processes decode them.

Processes, since a decoder that crashes on a hostile file must cost that file only, and in a thread it would end the
program; and since threads share Python's lock with everything else that the program does. On two idle cores both are
about 1.5 times as fast as one thread (docs/decisions/decoding.md).
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convscope.environment import available_cores
from convscope.errors import ConvscopeError, ImageRefused
from convscope.images.image_reader import read_bytes, read_image
from convscope.worker_process import WorkerFailed, WorkerProcess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.recipe.validation import Fit

CHUNK_IMAGES = 32
CHUNK_BYTES = 16 * 1024**2  # of pixels: a chunk has fewer large images, so that memory stays flat
CHUNKS_AHEAD = 3  # per worker: one being decoded, one queued, one being sent back
INLINE_IMAGES = 64  # fewer than this are decoded in this process: starting workers takes 0.2 s
WORKER = "convscope.images.decoder_worker"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What every image is decoded to, which is what a network takes: (size, size, channels) uint8.

    Attributes:
        size: side of the square in pixels.
        fit: how an image becomes square: `stretch`, `pad` or `crop`.
        channels: 3 for RGB, 1 for grey.
    """

    size: int
    fit: Fit = "stretch"
    channels: int = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """(size, size, channels)."""
        return (self.size, self.size, self.channels)

    @property
    def num_bytes(self) -> int:
        """The size of one decoded image."""
        return self.size * self.size * self.channels


@dataclass(frozen=True, slots=True)
class DecodedFile:
    """One file, decoded or refused.

    Attributes:
        sha256: of its content; "" if it could not be read.
        reason: why it was refused; "" if it was not.
        image: (size, size, channels) uint8, RGB or grey, 0-255, upright; None if it was refused.
    """

    sha256: str
    reason: str
    image: NDArray[np.uint8] | None


def decode_files(paths: Iterable[str | Path], spec: InputSpec, *, workers: int | None = None) -> Iterator[DecodedFile]:
    """Decode files, in the order of `paths`; a bad file has a reason in place of pixels. Memory stays flat.

    Args:
        paths: files; taken lazily, a few hundred ahead.
        spec: what every image becomes.
        workers: number of worker processes; None: one per core, and none at all for a few images.

    Raises:
        ConvscopeError: no worker process can be started.
    """
    files = (os.fspath(path) for path in paths)
    first = list(itertools.islice(files, INLINE_IMAGES))
    if workers is None and len(first) < INLINE_IMAGES:
        yield from (decode_file(path, spec) for path in first)
        return
    chunks = _chunks(itertools.chain(first, files), max(1, min(CHUNK_IMAGES, CHUNK_BYTES // spec.num_bytes)))
    with ExitStack() as stack:
        decoders = [stack.enter_context(_Decoder(spec)) for _ in range(workers or available_cores())]
        pending: deque[Future[list[DecodedFile]]] = deque()
        for chunk, decoder in zip(chunks, itertools.cycle(decoders), strict=False):
            pending.append(decoder.submit(chunk))
            if len(pending) >= CHUNKS_AHEAD * len(decoders):
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def decode_file(path: str | Path, spec: InputSpec) -> DecodedFile:
    """Decode one file, in this process."""
    sha256 = ""
    try:
        data = read_bytes(Path(path))
        sha256 = hashlib.sha256(data).hexdigest()
        return DecodedFile(sha256, "", read_image(data, size=spec.size, fit=spec.fit, channels=spec.channels))
    except ImageRefused as refusal:
        return DecodedFile(sha256, str(refusal), None)


def _chunks(paths: Iterator[str], size: int) -> Iterator[list[str]]:
    while chunk := list(itertools.islice(paths, size)):
        yield chunk


class _Decoder:
    """A worker process, started again when a file has crashed it, and the thread that waits for it."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._worker = _start_worker()
        self._thread = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> _Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._worker.close()

    def submit(self, paths: list[str]) -> Future[list[DecodedFile]]:
        return self._thread.submit(self._decode, paths)

    def _decode(self, paths: list[str]) -> list[DecodedFile]:
        for _ in range(2):  # the worker may have been killed before it got this request
            try:
                return self._request(paths)
            except WorkerFailed as failure:
                if not failure.has_started:
                    raise _cannot_start(failure) from None
                self._worker.close()
                self._worker = _start_worker()
                if len(paths) > 1:  # which file was it?
                    return [file for path in paths for file in self._decode([path])]
        return [DecodedFile("", "crashes the decoder", None)]

    def _request(self, paths: list[str]) -> list[DecodedFile]:
        reply, data = self._worker.request({"paths": paths, **asdict(self._spec)})
        pixels = np.frombuffer(data, np.uint8).reshape(-1, *self._spec.shape)  # (readable, size, size, channels)
        images = iter(pixels)
        return [DecodedFile(sha256, reason, None if reason else next(images)) for sha256, reason in reply["files"]]


def _start_worker() -> WorkerProcess:
    try:
        return WorkerProcess(WORKER)
    except WorkerFailed as failure:
        raise _cannot_start(failure) from None


def _cannot_start(failure: WorkerFailed) -> ConvscopeError:
    return ConvscopeError(
        found=f"a decoding process that ended before its first image: {failure}",
        expected=f"that {sys.executable} can start itself and import convscope",
        fix="see its output above; is there memory left?",
    )
