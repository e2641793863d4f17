"""The verb `export`: a trained model in a format of others, compared with the original on golden and held-out images.

What answers worse than the model is not left behind unless one insists. An export appears whole, by one rename.
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

from convscope.bundle.bundle import GOLDEN_KEY, LABELS, METADATA_KEY, Bundle, labels_text, open_bundle
from convscope.bundle.golden import Golden
from convscope.environment import library_versions
from convscope.errors import ExportError, MissingExtra, RunError
from convscope.exporting.calibration_data import open_material
from convscope.exporting.comparison import Trial, try_export
from convscope.exporting.conversion_client import KINDS, Converter, Format, Order
from convscope.exporting.quantization import TOLERANCE, describe_file
from convscope.files import read_json, staged_folder, write_atomic, write_json
from convscope.formatting import plural
from convscope.progress import progress
from convscope.run import open_run

logger = logging.getLogger(__name__)

FORMAT = 1
MOST_POINTS_LOST = 0.5  # of accuracy; what loses more is refused
FACTS = "export.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What was written.

    Attributes:
        folder: where.
        to: the format.
        num_bytes: of the model in that format. model_bytes: of the one that it was made from.
        trial: how it compares with that.
    """

    folder: Path
    to: Format
    num_bytes: int
    model_bytes: int
    trial: Trial

    @property
    def file(self) -> Path:
        """What a runtime opens: a file, or the folder of a SavedModel."""
        return self.folder / KINDS[self.to].file

    def to_json(self) -> dict[str, Any]:
        """The figures, for programs."""
        return {
            "to": self.to,
            "file": str(self.file),
            "bytes": self.num_bytes,
            "model_bytes": self.model_bytes,
            **self.trial.to_json(),
        }

    def describe(self) -> str:
        """A few lines for a person."""
        sizes = f"{self.num_bytes / 1e6:,.2f} MB, made from {self.model_bytes / 1e6:,.2f} MB"
        return f"{self.file}: {sizes}\n{self.trial.describe()}"


def export(run: Path, *, to: Format, out: Path | None = None, force: bool = False, cache: Path | None = None) -> Export:
    """Write a run's model in another format, and compare the two.

    Args:
        run: the run folder, finished; its images have to be where they were.
        to: the format.
        out: the folder for it; None: `exports/FORMAT` in the run. An export that is there is replaced.
        force: also write what loses more than 0.5 points of validation accuracy.
        cache: where decoded images are kept.

    Raises:
        ExportError: it cannot be converted, or loses too much; nothing is written.
        RunError, BundleError: the run is not there, not finished or damaged, or its images are gone.
        MissingExtra: what writes the format is not installed.
    """
    home = open_run(Path(run))
    bundle = open_bundle(home.path)
    folder = (home.path / "exports" / to if out is None else Path(out)).absolute()
    _check_modules(to)
    _check_replaceable(folder)
    golden = bundle.golden
    material = open_material(home, bundle.classes, cache=cache)
    with staged_folder(folder) as part, tempfile.TemporaryDirectory() as work:
        calibration = Path(work) / "calibration.npy"
        np.save(calibration, material.images[material.calibration])
        order = Order(to=to, run=str(home.path.absolute()), folder=str(part), calibration=str(calibration))
        with Converter(order, num_classes=len(bundle.classes)) as converter:
            facts = _convert(converter, to, len(material.calibration))
            trial, answers = try_export(converter, bundle, golden=golden, material=material)
        _check_loss(to, trial, force=force)
        if to == "onnx-int8":
            _describe_quantized(part, bundle, Golden(golden.images, answers), trial, facts)
        num_bytes = sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
        done = Export(folder=folder, to=to, num_bytes=num_bytes, model_bytes=bundle.path.stat().st_size, trial=trial)
        write_atomic(part / LABELS, labels_text(bundle.classes))
        write_json(part / FACTS, _facts_of(done, bundle, facts, part=part))
    return done


def _check_modules(to: Format) -> None:
    for module in KINDS[to].modules:
        if find_spec(module) is None:
            raise MissingExtra(command=f"convscope export --to {to}", module=module, extra="train")


def _check_replaceable(folder: Path) -> None:
    """Only an export is ever replaced."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        kind = KINDS[read_json(folder / FACTS)["to"]]
        strange = {each.name for each in folder.iterdir()} - {kind.file, FACTS, LABELS}
    except (RunError, KeyError, TypeError, OSError):
        strange = {f"no {FACTS} of convscope"}
    if strange:
        raise ExportError(
            found=f"{folder} holds {min(strange)}",
            expected="a new folder, or one with an export that may be replaced and nothing else",
            fix="choose another folder, or move what is there",
        )


def _convert(converter: Converter, to: Format, num_images: int) -> dict[str, Any]:
    """Convert, with two steps and one for each look at a calibration image, where there are any."""
    looks = KINDS[to].looks
    if not looks:
        logger.info(f"converting to {to}: some 10 s, most of which TensorFlow takes to start")
        return converter.convert(lambda _: None)
    with progress(f"converting to {to}", 2 + looks * num_images, unit="steps") as bar:
        return converter.convert(bar.advance)


def _check_loss(to: Format, trial: Trial, *, force: bool) -> None:
    lost = trial.accuracy.points_lost
    if lost > MOST_POINTS_LOST and not force:
        raise ExportError(
            found=f"an export to {to} with an accuracy of {trial.accuracy.describe()},"
            f" on {plural(trial.validation.images, 'validation image')}",
            expected=f"at most {MOST_POINTS_LOST} points lost",
            fix="choose another format, train with more images, or write it all the same with --force",
        )


def _describe_quantized(part: Path, bundle: Bundle, golden: Golden, trial: Trial, facts: dict[str, Any]) -> None:
    """Make `model.onnx` a model of convscope: what it says of itself, and its own answers to the golden images."""
    own = {
        "quantized": {**facts, "weights": "int8", "activations": "uint8", "model": bundle.sha256},
        "tolerance": TOLERANCE,
        "difference": trial.validation.largest,
        "metrics": {
            "split": "validation",
            "images": trial.validation.images,
            "accuracy": trial.accuracy.export.to_json(),
        },
    }
    said = {METADATA_KEY: json.dumps(bundle.facts | own, ensure_ascii=False), GOLDEN_KEY: golden.to_text()}
    file = part / KINDS["onnx-int8"].file
    describe_file(file, bundle.metadata | said)
    open_bundle(file)  # what nobody could open is not put in the place of what was there


def _facts_of(done: Export, bundle: Bundle, facts: dict[str, Any], *, part: Path) -> dict[str, Any]:
    """What export.json says, the hashes of all other files in `part` among it."""
    files = sorted(file for file in part.rglob("*") if file.is_file())
    square = bundle.square
    return {
        "format": FORMAT,
        "to": done.to,
        "model": {"sha256": bundle.sha256, "weights": bundle.facts.get("weights", ""), "bytes": done.model_bytes},
        "classes": list(bundle.classes),
        "image": {"size": square.size, "fit": square.fit, "channels": square.channels, "dtype": "uint8"},
        "bytes": done.num_bytes,
        "files": {file.relative_to(part).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        "calibration": facts,
        **done.trial.to_json(),
        "forced": done.trial.accuracy.points_lost > MOST_POINTS_LOST,
        "versions": library_versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
