"""The promise: `pip install .` predicts and verifies, `.[serve]` serves, where there is no TensorFlow at all."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import urllib.request
import venv
from pathlib import Path

import pytest
from tiny_model import colour_model

from convscope.run import Run

ROOT = Path(__file__).parents[2]
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new environment with convscope and its extra [serve] only, at the pinned versions."""
    folder = tmp_path_factory.mktemp("fresh")
    source = folder / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / name, source)
    venv.create(folder / "env", with_pip=True, symlinks=True)
    program = folder / "env" / "bin"
    pip = [program / "python", "-m", "pip", "install", "--quiet", "-c", source / "constraints.txt", f"{source}[serve]"]
    result = subprocess.run(pip, capture_output=True, text=True, env=without_paths())
    if "No matching distribution" in result.stderr or "connection" in result.stderr.lower():
        pytest.skip(f"no package index can be reached: {result.stderr.splitlines()[-1]}")
    assert result.returncode == 0, result.stderr
    return program


def without_paths() -> dict[str, str]:
    """The environment of this process, without the variables that would make its packages visible."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(fresh: Path, *arguments: object) -> str:
    """Run `convscope ARGUMENTS...` there. Returns: its standard output."""
    result = subprocess.run(
        [fresh / "convscope", *map(str, arguments)], capture_output=True, text=True, env=without_paths()
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_there_is_no_tensorflow(fresh: Path) -> None:
    """No package that only training needs is installed."""
    listed = subprocess.run(
        [fresh / "python", "-m", "pip", "list", "--format", "freeze"], capture_output=True, text=True
    ).stdout.lower()
    assert "onnxruntime" in listed
    for name in ("tensorflow", "keras", "torch", "onnx==", "tf2onnx", "scikit-learn", "matplotlib"):
        assert name not in listed


def test_model_predicts_and_verifies(fresh: Path, trained: Run, localized_shapes: Path, tmp_path: Path) -> None:
    """model.onnx alone, in another folder, predicts each image as where it was trained."""
    from convscope.bundle.bundle import open_bundle
    from convscope.prediction.prediction import predict

    model = shutil.copy(trained.model / "model.onnx", tmp_path)
    assert run(fresh, "verify", model).startswith("agree")
    photos = sorted((localized_shapes / "disc").iterdir())[:20]
    run(fresh, "predict", model, *photos, "--out", tmp_path / "there.csv")
    predict(trained.path, list(map(str, photos)), out=tmp_path / "here.csv")
    rows = [
        list(csv.DictReader((tmp_path / name).read_text("utf-8").splitlines())) for name in ("there.csv", "here.csv")
    ]
    assert [row["label"] for row in rows[0]] == [row["label"] for row in rows[1]]
    assert {row["status"] for row in rows[0]} == {"ok"}
    assert set(rows[0][0]) >= set(open_bundle(trained.path).classes)


def test_missing_extra_is_named(fresh: Path, trained: Run, tmp_path: Path) -> None:
    """The errors of `train` and `explain` name the extra, in three lines."""
    (tmp_path / "photos" / "a").mkdir(parents=True)
    for arguments, extra in ((["train", tmp_path / "photos"], "train"), (["explain", trained.path], "explain")):
        command = [fresh / "convscope", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, env=without_paths(), cwd=tmp_path)
        assert result.returncode == 2, result.stderr
        assert f"pip install 'convscope[{extra}]'" in result.stderr.splitlines()[-1]


def test_model_is_served(fresh: Path, tmp_path: Path) -> None:
    """`convscope serve` listens on loopback, serves its page, and exits with 0 on SIGTERM."""
    model = colour_model().write(tmp_path / "model.onnx")
    service = subprocess.Popen(
        [fresh / "convscope", "serve", model, "--port", "0"], stderr=subprocess.PIPE, text=True, env=without_paths()
    )
    assert service.stderr is not None
    try:
        address = next(match[0] for line in service.stderr if (match := ADDRESS.search(line)))
        with urllib.request.urlopen(f"{address}/ready") as response:
            assert response.status == 200
        with urllib.request.urlopen(address) as page:
            assert b"</html>" in page.read()
    finally:
        service.send_signal(signal.SIGTERM)
        service.communicate(timeout=30)
    assert service.returncode == 0
