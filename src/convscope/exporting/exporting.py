"""The verb `export`: a trained model in the format of another runtime, compared with the model.

An export that loses accuracy is written only if `force` is set. An export appears complete, by one rename.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from convscope.bundle.bundle import GOLDEN_KEY, LABELS_FILE, Bundle, labels_text, open_bundle
from convscope.bundle.golden import GoldenImages
from convscope.bundle.model_file import METADATA_KEY
from convscope.environment import library_versions
from convscope.errors import ExportError, MissingExtra, RunError
from convscope.exporting.conversion_client import ConversionClient, ConversionJob
from convscope.exporting.export_images import open_export_data
from convscope.exporting.formats import FORMATS, Format
from convscope.exporting.parity import Parity, measure_parity
from convscope.exporting.quantization import TOLERANCE, set_metadata
from convscope.files import explain_write_errors, read_json, staged_folder, write_atomic, write_json
from convscope.formatting import plural
from convscope.progress import progress
from convscope.run import open_run

logger = logging.getLogger(__name__)

FORMAT = 1
MAX_POINTS_LOST = 0.5  # percentage points of accuracy; an export that loses more is refused
EXPORT_FILE = "export.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """An export that was written.

    Attributes:
        folder: where it is.
        to: the format.
        num_bytes: of the model in that format.
        model_bytes: of the model.onnx that it was made from.
        parity: how closely its predictions match those of that model.
    """

    folder: Path
    to: Format
    num_bytes: int
    model_bytes: int
    parity: Parity

    @property
    def file(self) -> Path:
        """What a runtime opens: a file, or the folder of a SavedModel."""
        return self.folder / FORMATS[self.to].file

    def to_json(self) -> dict[str, Any]:
        """The values, for programs."""
        return {
            "to": self.to,
            "file": str(self.file),
            "bytes": self.num_bytes,
            "model_bytes": self.model_bytes,
            **self.parity.to_json(),
        }

    def describe(self) -> str:
        """A few lines: file, sizes, parity."""
        sizes = f"{self.num_bytes / 1e6:,.2f} MB, made from {self.model_bytes / 1e6:,.2f} MB"
        return f"{self.file}: {sizes}\n{self.parity.describe()}"


def export(run: Path, *, to: Format, out: Path | None = None, force: bool = False, cache: Path | None = None) -> Export:
    """Write a run's model in another format, and compare the two.

    Args:
        run: the run folder, finished; its images have to be where they were.
        to: the format.
        out: the folder for it; None: `exports/FORMAT` in the run. An export that is there is replaced.
        force: also write an export that loses more than 0.5 points of validation accuracy.
        cache: where decoded images are kept; None: the user's cache.

    Raises:
        ExportError: the model cannot be converted, the export loses too much, or `out` cannot be written; nothing is
            left there.
        RunError, BundleError: the run is not there, not finished or damaged, or its images are gone.
        CacheError: there is no space to decode its images.
        MissingExtra: a library that writes the format is not installed.
    """
    source = open_run(Path(run))
    bundle = open_bundle(source.path)
    folder = (source.path / "exports" / to if out is None else Path(out)).absolute()
    _check_modules(to)
    with explain_write_errors(folder, ExportError):
        _check_replaceable(folder)
    golden = bundle.golden
    data = open_export_data(source, bundle.classes, cache=cache)
    with (
        explain_write_errors(folder, ExportError),
        staged_folder(folder) as staged,
        tempfile.TemporaryDirectory() as work,
    ):
        calibration = Path(work) / "calibration.npy"
        np.save(calibration, data.images[data.calibration])
        job = ConversionJob(to=to, run=str(source.path.absolute()), folder=str(staged), calibration=str(calibration))
        with ConversionClient(job, num_classes=len(bundle.classes)) as converter:
            facts = _convert(converter, to, len(data.calibration))
            parity, golden_probabilities = measure_parity(converter, bundle, golden=golden, data=data)
        _check_accuracy(to, parity, force=force)
        if to == "onnx-int8":
            _describe_quantized(staged, bundle, GoldenImages(golden.images, golden_probabilities), parity, facts)
        num_bytes = sum(file.stat().st_size for file in staged.rglob("*") if file.is_file())
        model_bytes = bundle.path.stat().st_size
        done = Export(folder=folder, to=to, num_bytes=num_bytes, model_bytes=model_bytes, parity=parity)
        write_atomic(staged / LABELS_FILE, labels_text(bundle.classes))
        write_json(staged / EXPORT_FILE, _export_facts(done, bundle, facts, staged=staged))
    return done


def _check_modules(to: Format) -> None:
    for module in FORMATS[to].modules:
        if find_spec(module) is None:
            raise MissingExtra(command=f"convscope export --to {to}", module=module, extra="train")


def _check_replaceable(folder: Path) -> None:
    """Make sure that `folder` contains nothing but an export."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        kind = FORMATS[read_json(folder / EXPORT_FILE)["to"]]
        others = {path.name for path in folder.iterdir()} - {kind.file, EXPORT_FILE, LABELS_FILE}
    except (RunError, KeyError, TypeError, OSError):
        others = {f"no {EXPORT_FILE} of convscope"}
    if others:
        raise ExportError(
            found=f"{folder} contains {min(others)}",
            expected="a new folder, or one with an export that may be replaced and nothing else",
            fix="choose another `out`, or move what is there",
        )


def _convert(converter: ConversionClient, to: Format, num_images: int) -> dict[str, Any]:
    """Convert the model; progress counts two steps, and one for each pass over a calibration image."""
    num_passes = FORMATS[to].calibration_passes
    if not num_passes:
        logger.info(f"converting to {to}: takes about 10 s, mostly to start TensorFlow")
        return converter.convert(lambda _: None)
    with progress(f"converting to {to}", 2 + num_passes * num_images, unit="steps") as bar:
        return converter.convert(bar.advance)


def _check_accuracy(to: Format, parity: Parity, *, force: bool) -> None:
    """Make sure that the export does not lose too much accuracy."""
    if parity.accuracy.points_lost > MAX_POINTS_LOST and not force:
        raise ExportError(
            found=f"an export to {to} with an accuracy of {parity.accuracy.describe()},"
            f" on {plural(parity.validation.images, 'validation image')}",
            expected=f"at most {MAX_POINTS_LOST} points lost",
            fix="choose another format, train on more images, or write it anyway with `force=True`",
        )


def _describe_quantized(
    staged: Path, bundle: Bundle, golden: GoldenImages, parity: Parity, facts: dict[str, Any]
) -> None:
    """Make the quantized `model.onnx` a model of convscope: add its description and its golden images."""
    changes = {
        "quantized": {**facts, "weights": "int8", "activations": "uint8", "model": bundle.sha256},
        "tolerance": TOLERANCE,
        "difference": parity.validation.largest,
        "metrics": {
            "split": "validation",
            "images": parity.validation.images,
            "accuracy": parity.accuracy.export.to_json(),
        },
    }
    description = json.dumps(bundle.facts | changes, ensure_ascii=False)
    file = staged / FORMATS["onnx-int8"].file
    set_metadata(file, bundle.metadata | {METADATA_KEY: description, GOLDEN_KEY: golden.to_text()})
    open_bundle(file)  # a model that cannot be opened replaces nothing


def _export_facts(done: Export, bundle: Bundle, facts: dict[str, Any], *, staged: Path) -> dict[str, Any]:
    """The content of export.json, with the hashes of all other files in `staged`."""
    files = sorted(file for file in staged.rglob("*") if file.is_file())
    square = bundle.square
    return {
        "format": FORMAT,
        "to": done.to,
        "model": {"sha256": bundle.sha256, "weights": bundle.facts.get("weights", ""), "bytes": done.model_bytes},
        "classes": list(bundle.classes),
        "image": {"size": square.size, "fit": square.fit, "channels": square.channels, "dtype": "uint8"},
        "bytes": done.num_bytes,
        "files": {file.relative_to(staged).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        "calibration": facts,
        **done.parity.to_json(),
        "forced": done.parity.accuracy.points_lost > MAX_POINTS_LOST,
        "versions": library_versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
