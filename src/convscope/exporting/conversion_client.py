"""Converts a model in a worker process, and predicts there with what came out.

A converter loads a gigabyte of libraries, prints to standard output, and may crash; so it runs in a worker process. The
first request is the job; the replies count the steps done, and the last one has facts about the conversion. Every other
request has images, or paths of files, and its reply has probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from convscope.errors import ExportError
from convscope.exporting.formats import FORMATS, Format
from convscope.worker_process import Message, WorkerFailed, WorkerProcess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Probabilities = NDArray[np.float32]

WORKER = "convscope.exporting.conversion_worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionJob:
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
        """Where the converted model is written to."""
        return Path(self.folder) / FORMATS[self.to].file


def predict_no_files(files: list[bytes]) -> list[Probabilities | None]:
    """The predictions for encoded images of an export that takes pixels only: none."""
    return [None] * len(files)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedModel:
    """A converted model, in the worker process.

    Attributes:
        predict: images (n, size, size, channels) uint8 -> probabilities (n, classes) float32.
        facts: how it was converted, for export.json.
        predict_encoded: the bytes of image files -> (classes,) float32 of each, None where it cannot decode them.
    """

    predict: Callable[[NDArray[np.uint8]], Probabilities]
    facts: dict[str, Any]
    predict_encoded: Callable[[list[bytes]], list[Probabilities | None]] = predict_no_files


class ConversionClient:
    """A conversion in a worker process. Use it in a `with`: leaving it ends the process, whatever that is doing.

    Raises:
        ExportError: the process cannot be started; so do all methods where it ends before it has replied.
    """

    def __init__(self, job: ConversionJob, *, num_classes: int) -> None:
        self.job, self.num_classes = job, num_classes
        try:
            self.worker = WorkerProcess(WORKER, keep_stderr=True)
        except WorkerFailed as failure:
            raise self._error(failure) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.close()

    def convert(self, count_steps: Callable[[int], None]) -> dict[str, Any]:
        """Convert the model; `count_steps` is called with the number of steps done since the last call.

        Returns: how it was converted, for export.json.

        Raises:
            ExportError: it cannot be converted.
        """
        reply, _ = self._request(asdict(self.job))
        while "steps" in reply:
            count_steps(reply["steps"])
            reply, _ = self._checked(self.worker.receive)
        facts: dict[str, Any] = reply["facts"]
        return facts

    def predict(self, images: NDArray[np.uint8]) -> Probabilities:
        """The export's probabilities (n, classes) float32 for images (n, size, size, channels) uint8."""
        _, data = self._request({"shape": images.shape}, images.tobytes())
        return np.frombuffer(data, np.float32).reshape(-1, self.num_classes)

    def predict_files(self, paths: Sequence[str]) -> tuple[NDArray[np.bool_], Probabilities]:
        """Which files the export itself can decode, (n,) bool, and its probabilities (readable, classes) for those."""
        reply, data = self._request({"paths": list(paths)})
        return np.array(reply["readable"], bool), np.frombuffer(data, np.float32).reshape(-1, self.num_classes)

    def _request(self, fields: dict[str, Any], data: bytes = b"") -> Message:
        return self._checked(lambda: self.worker.request(fields, data))

    def _checked(self, receive: Callable[[], Message]) -> Message:
        """A reply that is neither an error nor the end of the process."""
        try:
            reply, data = receive()
        except WorkerFailed as failure:
            raise self._error(failure) from None
        if "found" in reply:
            raise ExportError(found=reply["found"], expected=reply["expected"], fix=reply["fix"])
        return reply, data

    def _error(self, failure: WorkerFailed) -> ExportError:
        return ExportError(
            found=f"the converter to {self.job.to} {failure}",
            expected="a converted model",
            fix="is there memory left? Else please report this, with the versions in the run's environment.json",
        )
