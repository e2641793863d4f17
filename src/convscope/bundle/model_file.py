"""An ONNX file of convscope: where it is, whether it is safe and intact, its session, its description.

Nothing in the file is trusted before it is checked: `onnx_safety` refuses what a network does not need, `checksum`
detects damage.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import onnxruntime

from convscope.bundle.checksum import has_checksum, is_intact
from convscope.bundle.onnx_safety import find_danger
from convscope.environment import available_cores
from convscope.errors import BundleError

FORMAT = 1
METADATA_KEY = "convscope"  # of the description, JSON, in the metadata of the file
MAX_BYTES = 1024**3
LOG_ERRORS_ONLY = 3  # a log level of ONNX Runtime
MAX_REASON_LENGTH = 200  # characters of another library's error message


def find_model(model: Path) -> Path:
    """The ONNX file of a run folder, of a model folder, or `model` itself.

    Raises:
        BundleError: there is none, or the folder cannot be read.
    """
    try:
        for path in (model, model / "model.onnx", model / "model" / "model.onnx"):
            if path.is_file():
                return path
        is_run = (model / "recipe.toml").is_file()
    except OSError as error:
        raise _cannot_be_opened(model, error) from None
    raise BundleError(
        found=f"no model in {model}" + (": its training is not finished" if is_run else ""),
        expected="a run folder whose training is finished, or a .onnx file",
        fix="continue the training: `convscope train` with `resume=True`" if is_run else "check the path",
    )


def read_model(path: Path) -> bytes:
    """The bytes of an ONNX file that is safe to run.

    Raises:
        BundleError: it is too large, cannot be read, has changed since it was written, or contains more than a network
            of convscope needs.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BundleError(
                found=f"{path} has over {MAX_BYTES // 2**30} GB", expected="a model of convscope", fix="check the path"
            )
        data = path.read_bytes()
        danger = find_danger(data)
    except (OSError, ValueError) as error:
        raise _cannot_be_opened(path, error) from None
    if danger:
        raise BundleError(
            found=f"{path} with {danger}",
            expected="a network that is one file of standard operators, as convscope writes it",
            fix="do not use it unless you know who made it; train or export it again",
        )
    if has_checksum(data) and not is_intact(data):
        raise _has_changed(path)
    return data


def start_session(path: Path, data: bytes, *, threads: int | None = None) -> onnxruntime.InferenceSession:
    """An inference session of ONNX Runtime.

    Args:
        path: the file, for errors.
        data: its bytes.
        threads: that compute one batch; None: one for each core.

    Raises:
        BundleError: the bytes are no ONNX model.
    """
    onnxruntime.disable_telemetry_events()  # nothing of the user's is sent anywhere
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.log_severity_level = LOG_ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no other common base class
        raise _cannot_be_opened(path, error) from None


def read_description(path: Path, data: bytes, metadata: dict[str, str]) -> dict[str, Any]:
    """The description inside a model file: the content of model.json.

    Args:
        path: the file, for errors.
        data: its bytes, from `read_model`.
        metadata: its custom metadata, from ONNX Runtime.

    Raises:
        BundleError: there is none, it is of another format, or the file has lost the checksum that it was written with.
    """
    try:
        facts = json.loads(metadata.get(METADATA_KEY, "null"))
    except (ValueError, RecursionError) as error:
        raise _cannot_be_opened(path, error) from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise BundleError(
            found=f"{path} has no description by convscope, or one of another format",
            expected=f"a model that convscope wrote, of format {FORMAT}",
            fix="train with `convscope train`, or use the convscope that wrote it",
        )
    if facts.get("sealed") and not has_checksum(data):
        raise _has_changed(path)
    return facts


def _has_changed(path: Path) -> BundleError:
    return BundleError(
        found=f"{path}, which has changed since it was written: its content does not match its checksum",
        expected="the file as it was written",
        fix="copy it again from where it came from, or write it again: train, or export",
    )


def _cannot_be_opened(path: Path, error: Exception) -> BundleError:
    reason = re.sub(r"\s+", " ", str(error))[:MAX_REASON_LENGTH]
    return BundleError(
        found=f"{path} cannot be opened: {reason}", expected="a model of convscope", fix="export it again"
    )
