"""A conversion in a worker process: steps, predictions and errors come back; no TensorFlow."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tiny_model import SMALL, random_model

from convscope.errors import ExportError
from convscope.exporting.conversion_client import ConversionClient, ConversionJob
from convscope.exporting.formats import FORMATS

IMAGES = np.random.default_rng(4).integers(256, size=(20, *SMALL.shape), dtype=np.uint8)


@pytest.fixture
def job(tmp_path: Path) -> ConversionJob:
    """A small model in `run`, to be quantized with 20 images."""
    random_model(("a", "b", "c")).write(tmp_path / "run" / "model" / "model.onnx")
    np.save(tmp_path / "images.npy", IMAGES)
    return ConversionJob(
        to="onnx-int8", run=str(tmp_path / "run"), folder=str(tmp_path), calibration=str(tmp_path / "images.npy")
    )


@pytest.mark.slow
def test_a_worker_converts_and_predicts(job: ConversionJob) -> None:
    """The steps add up, the probabilities are those of the file that it wrote; it decodes no files."""
    steps: list[int] = []
    with ConversionClient(job, num_classes=3) as client:
        facts = client.convert(steps.append)
        probabilities = client.predict(IMAGES)
        readable, of_files = client.predict_files(["a.jpg", "b.jpg"])
    assert sum(steps) == 2 + FORMATS["onnx-int8"].calibration_passes * len(IMAGES)
    assert facts["images"] == len(IMAGES)
    assert job.file.is_file()
    assert (probabilities.shape, probabilities.dtype) == ((20, 3), np.float32)
    (expected,) = onnxruntime.InferenceSession(job.file).run(["probabilities"], {"image": IMAGES})
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert (readable.tolist(), of_files.shape) == ([False, False], (0, 3))


@pytest.mark.slow
def test_an_error_of_the_conversion_is_raised_here(job: ConversionJob) -> None:
    """What the worker found, expected and proposes, as if there were no worker."""
    Path(job.run, "model", "model.onnx").unlink()
    with ConversionClient(job, num_classes=3) as client, pytest.raises(ExportError) as caught:
        client.convert(lambda _: None)
    assert job.run in caught.value.found
    assert "converter" not in caught.value.found


@pytest.mark.parametrize("call", [lambda client: client.convert(lambda _: None), lambda client: client.predict(IMAGES)])
def test_a_killed_converter_is_an_error(job: ConversionJob, call: Callable[[ConversionClient], object]) -> None:
    """A process that is killed, as by a system that runs out of memory: the text has its exit code and the format."""
    with ConversionClient(job, num_classes=3) as client:
        os.kill(client.worker.pid, signal.SIGKILL)
        with pytest.raises(ExportError, match="the converter to onnx-int8 ended with -9"):
            call(client)


@pytest.mark.slow
def test_a_crash_of_a_converter_is_an_error(job: ConversionJob) -> None:
    """An exception that is a bug, or of a library, is quoted."""
    Path(job.calibration).unlink()
    with ConversionClient(job, num_classes=3) as client, pytest.raises(ExportError, match=r"ended with 1.*images\.npy"):
        client.convert(lambda _: None)


def test_a_converter_that_cannot_start_is_an_error(job: ConversionJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an interpreter there is no conversion."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(ExportError, match="the converter to onnx-int8 could not be started"):
        ConversionClient(job, num_classes=3)
