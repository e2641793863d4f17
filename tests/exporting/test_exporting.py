"""exporting/exporting.py: an export answers as its model does, and proves it, or is not left behind."""

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
from commands import Command, finish, start
from halves import CLASSES, draw_half
from PIL import Image

from convscope.bundle.bundle import open_bundle
from convscope.bundle.verification import verify
from convscope.datasets.dataset import read_samples, write_samples
from convscope.errors import BundleError, ExportError, MissingExtra
from convscope.exporting.conversion_client import KINDS, Converter, Format, Order
from convscope.exporting.exporting import Export, export
from convscope.exporting.quantization import describe_file
from convscope.files import read_json, write_json
from convscope.prediction.prediction import predict
from convscope.run import Run

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated"),  # in favour of ai-edge-litert
]

MOST_DIFFERENT: dict[Format, float] = {"onnx-int8": 0.2, "litert": 1e-4, "litert-int8": 0.1, "savedmodel": 1e-4}
FRESH = np.stack([draw_half(kind, seed) for kind in CLASSES for seed in range(900, 910)])


@pytest.fixture(scope="module")
def run(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has learned, to export from."""
    return Run(shutil.copytree(trained.path, tmp_path_factory.mktemp("exporting") / "run"))


@pytest.fixture(scope="module", params=KINDS)
def done(request: pytest.FixtureRequest, run: Run) -> Export:
    """Each format once, by the verb."""
    return export(run.path, to=request.param)


@pytest.fixture(scope="module")
def quantized(run: Run) -> Path:
    """The model in 8 bits for ONNX Runtime."""
    return export(run.path, to="onnx-int8").file


@pytest.fixture
def hurt(trained: Run, tmp_path: Path) -> Run:
    """The same run, whose training images, which int8 is calibrated with, have become black."""
    run = Run(shutil.copytree(trained.path, tmp_path / "run"))
    data = shutil.copytree(run.environment["data"], tmp_path / "data")
    samples = []
    for number, sample in enumerate(read_samples(run.data_file)):
        if sample.split == "train":
            image = np.zeros((32, 32, 3), np.uint8)
            image[0, 0, :2] = divmod(number, 256)  # no two are equal
            Image.fromarray(image).save(data / sample.path)
            sha256 = hashlib.sha256((data / sample.path).read_bytes()).hexdigest()
            sample = type(sample)(sample.path, sample.label, sample.split, sha256[:16], sha256, "")
        samples.append(sample)
    write_samples(run.data_file, samples)
    write_json(run.environment_file, run.environment | {"data": str(data)})
    return run


def everything_in(folder: Path) -> list[str]:
    """All names below a folder, hidden ones too."""
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*")) if folder.exists() else []


def test_answers_are_the_models(run: Run, done: Export) -> None:
    """On golden and validation images no probability differs by more than the format explains; nor is accuracy lost."""
    trial, model = done.trial, open_bundle(run.path)
    assert trial.golden.images == len(model.golden.images)
    assert trial.validation.images == model.facts["metrics"]["images"]
    for difference in (trial.golden, trial.validation):
        assert difference.mean <= difference.largest <= MOST_DIFFERENT[done.to]
    assert trial.accuracy.model.to_json() == model.facts["metrics"]["accuracy"]
    assert trial.accuracy.points_lost <= 0.5
    assert trial.files.images == (trial.validation.images if done.to == "savedmodel" else 0)
    assert trial.files.largest <= 0.01


def test_folder_says_what_it_is(run: Run, done: Export) -> None:
    """The model, its classes, and export.json with its figures, its files' hashes, versions, and whose export it is."""
    assert done.folder == run.path / "exports" / done.to
    assert {each.name for each in done.folder.iterdir()} == {KINDS[done.to].file, "labels.txt", "export.json"}
    assert (done.folder / "labels.txt").read_text(encoding="utf-8").splitlines() == list(CLASSES)
    facts = read_json(done.folder / "export.json")
    assert facts["model"]["sha256"] == open_bundle(run.path).sha256
    for name, sha256 in facts["files"].items():
        assert hashlib.sha256((done.folder / name).read_bytes()).hexdigest() == sha256
    assert {*facts["files"]} | {"export.json"} == {
        name for name in everything_in(done.folder) if (done.folder / name).is_file()
    }
    assert {name: facts[name] for name in done.trial.to_json()} == done.trial.to_json()
    assert facts["versions"]["onnxruntime"]
    assert facts["forced"] is False
    assert not [name for name in everything_in(run.path / "exports") if name.startswith(".")]


def test_own_runtime_answers_the_same(run: Run, done: Export) -> None:
    """Opened by the format's own runtime, it gives new images the model's probabilities."""
    from convscope.networks.frameworks import tf

    if done.to == "onnx-int8":
        answers = open_bundle(done.file).predict(FRESH)
    elif done.to == "savedmodel":
        answers = (
            tf.saved_model.load(str(done.file)).signatures["serving_default"](image=FRESH)["probabilities"].numpy()
        )
    else:
        runner = tf.lite.Interpreter(str(done.file)).get_signature_runner("serving_default")
        answers = np.concatenate([runner(image=image[np.newaxis])["probabilities"] for image in FRESH])
    np.testing.assert_allclose(answers, open_bundle(run.path).predict(FRESH), atol=MOST_DIFFERENT[done.to])


def test_int8_is_small(done: Export) -> None:
    """Weights of a byte make a smaller file: beside them it holds its golden images, which no other format does."""
    if done.to.endswith("int8"):
        assert done.num_bytes < (0.6 if done.to == "onnx-int8" else 0.3) * done.model_bytes
    assert done.num_bytes == sum(each.stat().st_size for each in (done.file, *done.file.rglob("*")) if each.is_file())


def test_int8_is_a_model_of_convscope(run: Run, quantized: Path, halves: Path, tmp_path: Path) -> None:
    """`predict` and `verify` take it as they take the model; it says that it is quantized, and how accurate it is."""
    bundle, model = open_bundle(quantized), open_bundle(run.path)
    assert bundle.facts["quantized"]["model"] == model.sha256
    assert bundle.facts["quantized"]["method"] in ("minmax", "percentile", "entropy")
    assert bundle.facts["metrics"]["accuracy"] == read_json(quantized.with_name("export.json"))["accuracy"]["export"]
    assert bundle.metadata["names"] == model.metadata["names"]
    assert verify(quantized).agrees
    assert verify(quantized).difference < bundle.facts["tolerance"] < 0.1
    labels = []
    for number, place in enumerate((quantized, run.path)):
        table = tmp_path / f"{number}.csv"
        predict(place, [str(halves)], out=table)
        with table.open(encoding="utf-8") as file:
            labels.append([row["label"] for row in csv.DictReader(file)])
    assert np.mean([ours == theirs for ours, theirs in zip(*labels, strict=True)]) > 0.98


def test_verify_finds_an_int8_model_out(quantized: Path, tmp_path: Path) -> None:
    """Its golden answers are its own, and within its tolerance: the model's answers are not taken for them."""
    import onnx

    changed = onnx.load(quantized)
    for tensor in changed.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and "scale" in tensor.name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 1.5, tensor.name))
    (tmp_path / "model.onnx").write_bytes(changed.SerializeToString())
    describe_file(tmp_path / "model.onnx", {each.key: each.value for each in changed.metadata_props})
    assert not verify(tmp_path / "model.onnx").agrees


def test_what_loses_accuracy_is_refused(hurt: Run, cli: Command) -> None:
    """Calibrated on black images it is told and leaves nothing; --force writes it, and a later refusal keeps that."""
    with pytest.raises(ExportError, match=r"points lost"):
        export(hurt.path, to="onnx-int8")
    assert everything_in(hurt.path / "exports") == []
    forced = cli("export", hurt.path, "--to", "onnx-int8", "--force", "--json")
    assert forced.code == 0
    assert json.loads(forced.out)["accuracy"]["points_lost"] > 0.5
    before = (hurt.path / "exports" / "onnx-int8" / "export.json").read_bytes()
    assert json.loads(before)["forced"] is True
    refused = cli("export", hurt.path, "--to", "onnx-int8")
    assert refused.code == 2
    assert "--force" in refused.err
    assert (hurt.path / "exports" / "onnx-int8" / "export.json").read_bytes() == before


def test_only_an_export_is_replaced(run: Run, quantized: Path, tmp_path: Path) -> None:
    """A second export takes the place of the first; a folder with anything else is told and left as it is."""
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


def test_damaged_weights_are_told(run: Run, tmp_path: Path) -> None:
    """Weights that are not those of the model convert to nothing: the child's words reach the person."""
    copy = Run(shutil.copytree(run.path, tmp_path / "run", ignore=shutil.ignore_patterns("exports")))
    weights = copy.model / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ExportError) as caught:
        export(copy.path, to="litert")
    assert str(weights) in caught.value.found
    assert everything_in(copy.path / "exports") == []


def test_what_is_missing_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without a model; a converter that is not installed: which extra brings it."""
    shutil.copy(run.recipe_file, tmp_path)
    with pytest.raises(BundleError, match="its training is not finished"):
        export(tmp_path, to="litert")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra) as caught:
        export(run.path, to="onnx-int8")
    assert caught.value.fix == "pip install 'convscope[train]'"


def test_dead_converter_is_told(run: Run, tmp_path: Path) -> None:
    """A process that is killed, as by a system without memory, is an error with its code and its last words."""
    order = Order(to="onnx-int8", run=str(run.path), folder=str(tmp_path), calibration="nowhere")
    with Converter(order, num_classes=2) as converter:
        converter.process.kill()
        with pytest.raises(ExportError, match="ended with -9"):
            converter.answer(FRESH)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes as Linux lists them")
def test_stopped_export_leaves_nothing(trained: Run, tmp_path: Path) -> None:
    """Ctrl-C while it converts: exit code 130, no process and no part of an export remain."""
    run = Run(shutil.copytree(trained.path, tmp_path / "run"))
    child = start("export", run.path, "--to", "litert")
    listed = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    while child.poll() is None and not (converters := listed.read_text().split()):
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGINT)
    ended = finish(child)
    assert (ended.code, ended.err.splitlines()[-1]) == (130, "stopped")
    assert everything_in(run.path / "exports") == []
    assert not any(Path(f"/proc/{number}").exists() for number in converters)
