"""exporting/exporting.py: an export predicts as its model does, which is measured, or nothing is written."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from localized_shapes import CLASSES, draw_shape
from PIL import Image
from processes import Command, finish, start

from convscope.bundle.bundle import open_bundle
from convscope.bundle.verification import verify
from convscope.datasets.dataset import read_samples, write_samples
from convscope.errors import BundleError, ExportError, MissingExtra
from convscope.exporting.exporting import Export, export
from convscope.exporting.formats import FORMATS, Format
from convscope.exporting.quantization import set_metadata
from convscope.files import read_json, write_json
from convscope.prediction.prediction import predict
from convscope.run import Run

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated"),  # in favour of ai-edge-litert
]

MAX_DIFFERENCE: dict[Format, float] = {"onnx-int8": 0.2, "litert": 1e-4, "litert-int8": 0.1, "savedmodel": 1e-4}
NEW_IMAGES = np.stack([draw_shape(kind, seed) for kind in CLASSES for seed in range(900, 910)])


@pytest.fixture(scope="module")
def run(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A trained run, to export from."""
    return Run(shutil.copytree(trained.path, tmp_path_factory.mktemp("exporting") / "run"))


@pytest.fixture(scope="module", params=FORMATS)
def done(request: pytest.FixtureRequest, run: Run) -> Export:
    """An export to each format."""
    return export(run.path, to=request.param)


@pytest.fixture(scope="module")
def quantized(run: Run) -> Path:
    """The int8 model for ONNX Runtime."""
    return export(run.path, to="onnx-int8").file


@pytest.fixture
def black_run(trained: Run, tmp_path: Path) -> Run:
    """The same run with black training images, which int8 is calibrated with."""
    run = Run(shutil.copytree(trained.path, tmp_path / "run"))
    data = shutil.copytree(run.environment["data"], tmp_path / "data")
    samples = []
    for number, sample in enumerate(read_samples(run.data_file)):
        if sample.split == "train":
            image = np.zeros((32, 32, 3), np.uint8)
            image[0, 0, :2] = divmod(number, 256)  # all different
            Image.fromarray(image).save(data / sample.path)
            sha256 = hashlib.sha256((data / sample.path).read_bytes()).hexdigest()
            sample = type(sample)(sample.path, sample.label, sample.split, sha256[:16], sha256, "")
        samples.append(sample)
    write_samples(run.data_file, samples)
    write_json(run.environment_file, run.environment | {"data": str(data)})
    return run


def all_names(folder: Path) -> list[str]:
    """All names below a folder, hidden ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) if folder.exists() else []


def test_probabilities_are_those_of_the_model(run: Run, done: Export) -> None:
    """On golden and validation images no probability differs by more than the format explains; nor is accuracy lost."""
    parity, model = done.parity, open_bundle(run.path)
    assert parity.golden.images == len(model.golden.images)
    assert parity.validation.images == model.facts["metrics"]["images"]
    for difference in (parity.golden, parity.validation):
        assert difference.mean <= difference.largest <= MAX_DIFFERENCE[done.to]
    assert parity.accuracy.model.to_json() == model.facts["metrics"]["accuracy"]
    assert parity.accuracy.points_lost <= 0.5
    assert parity.files.images == (parity.validation.images if done.to == "savedmodel" else 0)
    assert parity.files.largest <= 0.01


def test_folder_describes_itself(run: Run, done: Export) -> None:
    """The model, its classes, and export.json: parity, hashes of the files, versions, and the model's hash."""
    assert done.folder == run.path / "exports" / done.to
    assert {path.name for path in done.folder.iterdir()} == {FORMATS[done.to].file, "labels.txt", "export.json"}
    assert (done.folder / "labels.txt").read_text(encoding="utf-8").splitlines() == list(CLASSES)
    facts = read_json(done.folder / "export.json")
    assert facts["model"]["sha256"] == open_bundle(run.path).sha256
    for name, sha256 in facts["files"].items():
        assert hashlib.sha256((done.folder / name).read_bytes()).hexdigest() == sha256
    assert {*facts["files"]} | {"export.json"} == {
        name for name in all_names(done.folder) if (done.folder / name).is_file()
    }
    assert {name: facts[name] for name in done.parity.to_json()} == done.parity.to_json()
    assert facts["versions"]["onnxruntime"]
    assert facts["forced"] is False
    assert not [name for name in all_names(run.path / "exports") if name.startswith(".")]


def test_runtime_of_the_format_predicts_the_same(run: Run, done: Export) -> None:
    """Opened by the runtime of its format, it gives new images the model's probabilities."""
    from convscope.networks.frameworks import tf

    if done.to == "onnx-int8":
        probabilities = open_bundle(done.file).predict(NEW_IMAGES)
    elif done.to == "savedmodel":
        probabilities = (
            tf.saved_model.load(str(done.file)).signatures["serving_default"](image=NEW_IMAGES)["probabilities"].numpy()
        )
    else:
        runner = tf.lite.Interpreter(str(done.file)).get_signature_runner("serving_default")
        probabilities = np.concatenate([runner(image=image[np.newaxis])["probabilities"] for image in NEW_IMAGES])
    np.testing.assert_allclose(probabilities, open_bundle(run.path).predict(NEW_IMAGES), atol=MAX_DIFFERENCE[done.to])


def test_int8_is_small(done: Export) -> None:
    """Weights of one byte make a smaller file, though it contains golden images, which no other format does."""
    if done.to.endswith("int8"):
        assert done.num_bytes < (0.6 if done.to == "onnx-int8" else 0.3) * done.model_bytes
    assert done.num_bytes == sum(path.stat().st_size for path in (done.file, *done.file.rglob("*")) if path.is_file())


def test_int8_is_a_model_of_convscope(run: Run, quantized: Path, localized_shapes: Path, tmp_path: Path) -> None:
    """`predict` and `verify` take it as they take the model; its description has the quantization and the accuracy."""
    bundle, model = open_bundle(quantized), open_bundle(run.path)
    assert bundle.facts["quantized"]["model"] == model.sha256
    assert bundle.facts["quantized"]["method"] in ("minmax", "percentile", "entropy")
    assert bundle.facts["metrics"]["accuracy"] == read_json(quantized.with_name("export.json"))["accuracy"]["export"]
    assert bundle.metadata["names"] == model.metadata["names"]
    assert verify(quantized).agrees
    assert verify(quantized).difference < bundle.facts["tolerance"] < 0.1
    labels = []
    for number, model_path in enumerate((quantized, run.path)):
        table = tmp_path / f"{number}.csv"
        predict(model_path, [str(localized_shapes)], out=table)
        with table.open(encoding="utf-8") as file:
            labels.append([row["label"] for row in csv.DictReader(file)])
    assert np.mean([first == second for first, second in zip(*labels, strict=True)]) > 0.98


def test_verify_detects_a_changed_int8_model(quantized: Path, tmp_path: Path) -> None:
    """With other scales it differs from its golden images by more than its tolerance."""
    import onnx

    changed = onnx.load(quantized)
    for tensor in changed.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and "scale" in tensor.name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 1.5, tensor.name))
    (tmp_path / "model.onnx").write_bytes(changed.SerializeToString())
    set_metadata(tmp_path / "model.onnx", {entry.key: entry.value for entry in changed.metadata_props})
    assert not verify(tmp_path / "model.onnx").agrees


def test_export_that_loses_accuracy_is_refused(black_run: Run, cli: Command) -> None:
    """Calibrated on black images it is an error that leaves nothing; `force` writes it, a later refusal keeps that."""
    with pytest.raises(ExportError, match=r"points lost"):
        export(black_run.path, to="onnx-int8")
    assert all_names(black_run.path / "exports") == []
    forced = cli("export", black_run.path, "--to", "onnx-int8", "--force", "--json")
    assert forced.code == 0
    assert json.loads(forced.out)["accuracy"]["points_lost"] > 0.5
    before = (black_run.path / "exports" / "onnx-int8" / "export.json").read_bytes()
    assert json.loads(before)["forced"] is True
    refused = cli("export", black_run.path, "--to", "onnx-int8")
    assert refused.code == 2
    assert "force" in refused.err
    assert (black_run.path / "exports" / "onnx-int8" / "export.json").read_bytes() == before


def test_only_an_export_is_replaced(run: Run, quantized: Path, tmp_path: Path) -> None:
    """A second export replaces the first; a folder with anything else is an error, and stays as it is."""
    out = Path(shutil.copytree(quantized.parent, tmp_path / "out"))
    (out / "labels.txt").write_text("old\n")
    assert export(run.path, to="onnx-int8", out=out).folder == out
    assert (out / "labels.txt").read_text(encoding="utf-8").splitlines() == list(CLASSES)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"notes\.txt"):
        export(run.path, to="onnx-int8", out=out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.onnx").write_text("mine")
    with pytest.raises(ExportError, match=r"no export\.json"):
        export(run.path, to="onnx-int8", out=tmp_path / "other")
    assert (tmp_path / "other" / "model.onnx").read_text() == "mine"


def test_folder_that_cannot_be_written_is_an_error(run: Run, tmp_path: Path) -> None:
    """The error is raised before anything is converted, and names the folder."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ExportError, match=r"file/out cannot be written: Not a directory"):
        export(run.path, to="litert", out=tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "mine"


def test_damaged_weights_are_an_error(run: Run, tmp_path: Path) -> None:
    """Weights that are not those of the model are not converted: the error of the worker process is raised."""
    copy = Run(shutil.copytree(run.path, tmp_path / "run", ignore=shutil.ignore_patterns("exports")))
    weights = copy.model / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ExportError) as caught:
        export(copy.path, to="litert")
    assert str(weights) in caught.value.found
    assert all_names(copy.path / "exports") == []


def test_missing_model_or_library_is_an_error(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without a model; a converter that is not installed, and the extra that installs it."""
    shutil.copy(run.recipe_file, tmp_path)
    with pytest.raises(BundleError, match="its training is not finished"):
        export(tmp_path, to="litert")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra) as caught:
        export(run.path, to="onnx-int8")
    assert caught.value.fix == "pip install 'convscope[train]'"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes as Linux lists them")
def test_stopped_export_leaves_nothing(trained: Run, tmp_path: Path) -> None:
    """Ctrl-C while it converts: exit code 130; no process and no file of an export remain."""
    run = Run(shutil.copytree(trained.path, tmp_path / "run"))
    child = start("export", run.path, "--to", "litert")
    listed = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    while child.poll() is None and not (converters := listed.read_text().split()):
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGINT)
    result = finish(child)
    assert (result.code, result.err.splitlines()[-1]) == (130, "stopped")
    assert all_names(run.path / "exports") == []
    assert not any(Path(f"/proc/{number}").exists() for number in converters)
