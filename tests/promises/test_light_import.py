"""The promise: imports are light. A command loads only the packages that it needs; others need not be installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import run_python
from tiny_model import COLOURS, colour_model

from convscope.errors import EXTRA_OF_MODULE

HEAVY = ("tensorflow", "keras", "matplotlib", "onnxruntime", "sklearn", "scipy", "onnx", "tf2onnx", "jinja2")
TRAINING = ("tensorflow", "keras", "tf2onnx", "onnx", "sklearn", "safetensors", "tomli_w", "jinja2")

SAVE_MODULES = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=open(sys.argv.pop(), "w")))
"""
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
"""
COMMAND = """
from convscope.cli.commands import main
modules = sys.argv.pop()
try:
    main()
finally:
    sys.argv.append(modules)
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes with one image each."""
    from PIL import Image
    from sample_images import draw

    for seed, name in enumerate(COLOURS[:2]):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.fromarray(draw("disc", 8, seed)).save(tmp_path / "data" / name / "1.png")
    return tmp_path / "data"


def run(program: str, *arguments: object, folder: Path) -> tuple[str, set[str]]:
    """Run a program in a new process. Returns: its output, and the modules that were loaded at its end."""
    result = run_python(SAVE_MODULES + program, *arguments, folder / "modules.json", folder=folder)
    assert result.code == 0, result.err
    return result.out, set(json.loads((folder / "modules.json").read_text()))


def test_import_is_light(tmp_path: Path) -> None:
    """`import convscope` and listing its names load nothing heavy, not even NumPy."""
    _, modules = run("import convscope; dir(convscope); convscope.__version__", folder=tmp_path)
    assert modules.isdisjoint({*HEAVY, "numpy", "PIL", "typer", "rich"})


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_is_light(tmp_path: Path, arguments: list[str]) -> None:
    """`--help` loads neither TensorFlow nor NumPy."""
    out, modules = run(COMMAND, *arguments, folder=tmp_path)
    assert out.startswith("Usage: ")
    assert modules.isdisjoint({*HEAVY, "numpy", "PIL"})


@pytest.mark.slow
def test_predicting_needs_only_the_base_install(data: Path, tmp_path: Path) -> None:
    """Without the modules of the extra `train`, a model still predicts."""
    model = colour_model().write(tmp_path / "m.onnx")
    blocked = (*TRAINING, "matplotlib")
    out, modules = run(BLOCK % (blocked,) + COMMAND, "predict", model, data, folder=tmp_path)
    assert len(out.splitlines()) == 3
    assert modules.isdisjoint(blocked)


@pytest.mark.slow
def test_evaluating_needs_no_tensorflow(data: Path, tmp_path: Path) -> None:
    """Evaluating a bundle on a folder works without the extra `train`; with Matplotlib it also draws."""
    model = colour_model().write(tmp_path / "m.onnx")
    figure = tmp_path / "evaluations" / "data" / "figures" / "confusion.png"
    out, modules = run(BLOCK % ((*TRAINING, "matplotlib"),) + COMMAND, "evaluate", model, data, folder=tmp_path)
    assert out.startswith("accuracy ")
    assert not figure.exists()
    out, modules = run(COMMAND, "evaluate", model, data, folder=tmp_path)
    assert figure.exists()
    assert modules.isdisjoint({"tensorflow", "keras"})


@pytest.mark.slow
def test_predicting_loads_no_tensorflow(data: Path, tmp_path: Path) -> None:
    """Also if TensorFlow is installed."""
    _, modules = run(COMMAND, "predict", colour_model().write(tmp_path / "m.onnx"), data, folder=tmp_path)
    assert "onnxruntime" in modules
    assert modules.isdisjoint({*TRAINING, "matplotlib"})


@pytest.mark.slow
@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "data"], "train"),
        (["train", "data", "--find-rate"], "train"),
        (["demo"], "train"),
        (["explain", "."], "explain"),
        (["serve", "."], "serve"),
        (["predict", ".", "data", "--format", "parquet", "--out", "t.parquet"], "parquet"),
    ],
)
def test_missing_extra_is_named(tmp_path: Path, arguments: list[str], extra: str) -> None:
    """Without an extra, a command that needs it says which to install, in three lines."""
    colour_model().write(tmp_path / "model.onnx")
    blocked = tuple(EXTRA_OF_MODULE)
    program = BLOCK % (blocked,) + "from convscope.cli.commands import main\nmain()"
    result = run_python(program, *arguments, folder=tmp_path)
    assert result.code == 2, result.err
    found, _, fix = result.err.splitlines()
    assert "needs the Python module" in found
    assert fix == f"fix:      pip install 'convscope[{extra}]'"


@pytest.mark.slow
def test_missing_extra_is_named_in_python(tmp_path: Path) -> None:
    """A name of `convscope` whose module needs an extra raises a MissingExtra."""
    code = """
import convscope
try:
    convscope.train
except convscope.MissingExtra as error:
    print(error.found)
"""
    out, _ = run(BLOCK % (tuple(EXTRA_OF_MODULE),) + code, folder=tmp_path)
    assert out.startswith("training or exporting needs the Python module ")


@pytest.mark.slow
def test_quick_tests_need_no_tensorflow() -> None:
    """The tests of `make quick` can be collected without TensorFlow: the files that need it are marked."""
    program = BLOCK % (("tensorflow", "keras"),) + "import pytest\nsys.exit(pytest.main(sys.argv[1:]))"
    options = ["--collect-only", "--quiet", "-p", "no:cacheprovider", "-m", "not tensorflow and not slow"]
    tests = Path(__file__).parents[1]
    result = run_python(program, *options, tests, folder=tests.parent)
    assert result.code == 0, result.out
