"""Converter: a process of ours that converts a model, and then answers images as what came out of it does.

A converter brings a gigabyte of libraries, writes to the terminal as it likes, and may end its process; so it has one
of its own. The parent speaks first: what to convert. Then it gets a line for each step done, and a line when all is.
After that it sends images, or paths of files, and gets probabilities. The child ends when its input does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Self

import numpy as np

from convscope.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Format = Literal["onnx-int8", "litert", "litert-int8", "savedmodel"]
LAST_WORDS = 300  # characters of what a child wrote before it died


@dataclass(frozen=True, slots=True)
class Kind:
    """A format.

    Attributes:
        file: what it is written to.
        modules: what writes it.
        looks: how often that looks at each calibration image.
        reads_files: whether the export itself can decode image files.
    """

    file: str
    modules: tuple[str, ...]
    looks: int = 0
    reads_files: bool = False


KINDS: dict[Format, Kind] = {
    "onnx-int8": Kind("model.onnx", ("onnx",), looks=3),
    "litert": Kind("model.tflite", ("tensorflow", "keras")),
    "litert-int8": Kind("model.tflite", ("tensorflow", "keras"), looks=1),
    # TensorFlow Serving looks for folders that are called by the number of a version
    "savedmodel": Kind("1", ("tensorflow", "keras"), reads_files=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to convert.

    Attributes:
        to: the format.
        run: the run folder.
        folder: where the export is written; it exists.
        calibration: a file of images (n, size, size, channels) uint8, in NumPy's format.
    """

    to: Format
    run: str
    folder: str
    calibration: str

    @property
    def file(self) -> Path:
        """Where the converted model goes."""
        return Path(self.folder) / KINDS[self.to].file


def reads_no_files(files: list[bytes]) -> list[NDArray[np.float32] | None]:
    """What an export answers to encoded images where it takes pixels only."""
    return [None] * len(files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What came out, in the child.

    Attributes:
        answer: images (n, size, size, channels) uint8 -> probabilities (n, classes) float32.
        facts: how it went, for export.json.
        answer_encoded: the bytes of image files -> (classes,) float32 of each, or None where it cannot read them.
    """

    answer: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    facts: dict[str, Any]
    answer_encoded: Callable[[list[bytes]], list[NDArray[np.float32] | None]] = reads_no_files


class Converter:
    """The parent's end. Use it in a `with`: leaving it ends the process, whatever that is doing."""

    def __init__(self, order: Order, *, num_classes: int) -> None:
        self.order, self.num_classes = order, num_classes
        self.said = tempfile.TemporaryFile()  # noqa: SIM115  # closed in __exit__
        program = (
            f"import sys; sys.path[:] = {[str(folder) for folder in sys.path]!r}\n"
            "from convscope.exporting.conversion_worker import live; live()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            process_group=0 if os.name == "posix" else None,  # Ctrl-C is for the parent alone
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.said):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # what it could not be told any more no longer matters
                continue

    def convert(self, tell: Callable[[int], None]) -> dict[str, Any]:
        """Have the model converted, telling how many more steps are done.

        Returns: what the converter says of how it went; kept in export.json.

        Raises:
            ExportError: it cannot be converted.
        """
        message = self._ask(asdict(self.order))
        while "steps" in message:
            tell(message["steps"])
            message = self._hear()
        facts: dict[str, Any] = message["facts"]
        return facts

    def answer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The probabilities (n, classes) that the export gives images (n, size, size, channels)."""
        count = self._ask({"shape": images.shape}, images.tobytes())["count"]
        return self._read(count)

    def answer_files(self, paths: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Which files the export itself can read, (n,), and its probabilities for those, (readable, classes)."""
        readable = np.array(self._ask({"paths": list(paths)})["readable"], bool)
        return readable, self._read(int(readable.sum()))

    def _ask(self, request: dict[str, Any], data: bytes = b"") -> dict[str, Any]:
        try:
            requests = _pipe(self.process.stdin)
            requests.write(json.dumps(request).encode() + b"\n" + data)
            requests.flush()
        except OSError:
            raise self._death() from None
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        line = _pipe(self.process.stdout).readline()
        if not line.endswith(b"\n"):
            raise self._death()
        message: dict[str, Any] = json.loads(line)
        if "found" in message:
            raise ExportError(found=message["found"], expected=message["expected"], fix=message["fix"])
        return message

    def _read(self, count: int) -> NDArray[np.float32]:
        answers = np.empty((count, self.num_classes), np.float32)
        data = _pipe(self.process.stdout).read(answers.nbytes)
        if len(data) != answers.nbytes:
            raise self._death()
        return np.frombuffer(data, np.float32).reshape(answers.shape)

    def _death(self) -> ExportError:
        """The error that says how the process ended before its work did."""
        code = self.process.wait()
        self.said.seek(0)
        words = " ".join(self.said.read().decode("utf-8", "replace").split())[-LAST_WORDS:]
        return ExportError(
            found=f"the converter to {self.order.to} ended with {code}: {words or 'it said nothing'}",
            expected="a converted model",
            fix="is there memory left? Else please report this, with the versions in the run's environment.json",
        )


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("a converter has no pipes")
    return pipe
