"""Many image files to arrays, in order, on all cores: a few child processes that decode and answer through pipes.

Processes, since a decoder that crashes on a hostile file must cost that one file, and a thread would take the program
with it; and since threads share Python's lock with whatever else the program does. On two idle cores both are about
1.5 times one thread (docs/decisions/decoding.md). Children of our own, not multiprocessing's, since those import the
caller's script again. A child imports what its parent would, whatever the folder that it is started
in holds, and ends when its input does, so none outlives its parent.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from convscope.environment import available_cores
from convscope.errors import ConvscopeError, ImageRefused
from convscope.images.reading import read_bytes, read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.recipe.recipe import Fit

CHUNK_IMAGES = 32
CHUNK_BYTES = 16 * 1024**2  # of pixels: fewer large squares go into a chunk, so that memory stays flat
CHUNKS_AHEAD = 3  # per child: one being decoded, one waiting, one on its way back
INLINE_IMAGES = 64  # fewer than this are decoded here: starting children takes 0.2 s
GREETING = b"ready\n"  # what a child says first


@dataclass(frozen=True, slots=True)
class Square:
    """What images are decoded to: (size, size, channels) uint8."""

    size: int
    fit: Fit = "stretch"
    channels: int = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.size, self.size, self.channels)

    @property
    def num_bytes(self) -> int:
        return self.size * self.size * self.channels


@dataclass(frozen=True, slots=True)
class Decoded:
    """One file: its content's SHA-256 ("" if it could not be read), and its pixels or the reason why there are none."""

    sha256: str
    reason: str
    image: NDArray[np.uint8] | None


def decode_files(paths: Iterable[str | Path], square: Square, *, workers: int | None = None) -> Iterator[Decoded]:
    """Decode files, answers in the order of `paths`; a bad file is an answer with a reason. Memory stays flat.

    Args:
        paths: files; taken lazily, a few hundred ahead.
        square: what every image becomes.
        workers: child processes; None: one per core, and none at all for a few images.
    """
    files = (os.fspath(path) for path in paths)
    first = list(itertools.islice(files, INLINE_IMAGES))
    if workers is None and len(first) < INLINE_IMAGES:
        yield from (decode_file(path, square) for path in first)
        return
    chunks = _chunks(itertools.chain(first, files), max(1, min(CHUNK_IMAGES, CHUNK_BYTES // square.num_bytes)))
    with ExitStack() as stack:
        children = [stack.enter_context(_Child(square)) for _ in range(workers or available_cores())]
        waiting: deque[Future[list[Decoded]]] = deque()
        for chunk, child in zip(chunks, itertools.cycle(children), strict=False):
            waiting.append(child.submit(chunk))
            if len(waiting) >= CHUNKS_AHEAD * len(children):
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def decode_file(path: str | Path, square: Square) -> Decoded:
    """Decode one file, here and now."""
    sha256 = ""
    try:
        data = read_bytes(Path(path))
        sha256 = hashlib.sha256(data).hexdigest()
        return Decoded(sha256, "", read_image(data, size=square.size, fit=square.fit, channels=square.channels))
    except ImageRefused as refusal:
        return Decoded(sha256, str(refusal), None)


def _chunks(paths: Iterator[str], size: int) -> Iterator[list[str]]:
    while chunk := list(itertools.islice(paths, size)):
        yield chunk


class _Child:
    """A decoding process and the thread that talks to it: a line of paths in; a line of facts and the pixels out."""

    def __init__(self, square: Square) -> None:
        self.square = square
        self.greeted = False
        self.process = self._start()
        self.thread = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.shutdown(wait=True, cancel_futures=True)
        self._stop()

    def submit(self, paths: list[str]) -> Future[list[Decoded]]:
        return self.thread.submit(self._decode, paths)

    def _decode(self, paths: list[str]) -> list[Decoded]:
        for _ in range(2):  # it may have been dead before it was asked
            try:
                return self._ask(paths)
            except (OSError, EOFError, ValueError):  # the child died: on which file?
                self._stop()
                self.process = self._start()
                if len(paths) > 1:
                    return [answer for path in paths for answer in self._decode([path])]
        return [Decoded("", "crashes the decoder", None)]

    def _ask(self, paths: list[str]) -> list[Decoded]:
        requests, answers = _pipes(self.process)
        if not self.greeted:
            self.greeted = answers.readline() == GREETING
        if not self.greeted:  # no file is to blame
            raise ConvscopeError(
                found="a decoding process that ended before its first image",
                expected=f"that {sys.executable} can start itself and import convscope",
                fix="see what it wrote above; is there memory left?",
            )
        requests.write(json.dumps(paths).encode() + b"\n")
        requests.flush()
        facts = json.loads(answers.readline())
        pixels = np.empty((sum(not reason for _, reason in facts), *self.square.shape), np.uint8)
        if answers.readinto(pixels.reshape(-1)) != pixels.nbytes:  # type: ignore[attr-defined]
            raise EOFError
        images = iter(pixels)
        return [Decoded(sha256, reason, None if reason else next(images)) for sha256, reason in facts]

    def _start(self) -> subprocess.Popen[bytes]:
        self.greeted = False
        square = (self.square.size, self.square.fit, self.square.channels)
        program = (
            f"import sys; sys.path[:] = {[str(folder) for folder in sys.path]!r}\n"
            f"from convscope.images.decoding import live; live(*{square!r})"
        )
        return subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=1 << 20,
            process_group=0 if os.name == "posix" else None,  # Ctrl-C is for the parent alone, from the first moment on
        )

    def _stop(self) -> None:
        for pipe in _pipes(self.process):
            try:
                pipe.close()
            except OSError:  # what it could not be told any more no longer matters
                continue
        self.process.kill()
        self.process.wait()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a decoding process has no pipes")
    return process.stdin, process.stdout


def live(size: int, fit: Fit, channels: int) -> None:
    """A child's life: answer each line of paths until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the input
    warnings.simplefilter("ignore")  # an oddity that Pillow can live with is no news to a person
    try:
        serve_parent(Square(size, fit, channels), sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:  # the parent is gone
        os._exit(0)


def serve_parent(square: Square, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer each line of paths: a line of hashes and reasons, then the pixels of those that have any."""
    answers.write(GREETING)
    answers.flush()
    for line in requests:
        decoded = [decode_file(path, square) for path in json.loads(line)]
        answers.write(json.dumps([(each.sha256, each.reason) for each in decoded]).encode() + b"\n")
        for each in decoded:
            if each.image is not None:
                answers.write(each.image.tobytes())
        answers.flush()
