"""The notebook: its cells are those of its .py, and it runs from the first cell to the last."""

from __future__ import annotations

import base64
import csv
import io
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sample_images import write_folder

import convscope

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "notebooks" / "dogs_vs_cats.py"
NOTEBOOK = SOURCE.with_suffix(".ipynb")
PHOTOS = ROOT.parent / "shared" / "data" / "dogs-vs-cats"
CLASSES = ("cat", "dog")
IMAGES_PER_CLASS = 40
STEPS = (1, 5, 20)
NUM_FIGURES = 15
PACKAGE = Path(convscope.__file__).parents[1]  # for child processes in any folder
OPTIONAL = "needs the extra `notebook`"


def prepare_images(folder: Path) -> None:
    """Some real photos of each class if they are there, else as many drawn images."""
    if not PHOTOS.is_dir():
        write_folder(folder, CLASSES, per_class=IMAGES_PER_CLASS)
        return
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for photo in sorted((PHOTOS / name).iterdir())[:IMAGES_PER_CLASS]:
            shutil.copy(photo, folder / name)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The variables of a child process: an empty home, and Jupyter with one kernel, `python3`, which is this Python."""
    pytest.importorskip("ipykernel", reason=OPTIONAL)
    pytest.importorskip("nbclient", reason=OPTIONAL)
    home = tmp_path / "home"
    home.mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "XDG_"))}
    install = [sys.executable, "-m", "ipykernel", "install", "--prefix", str(tmp_path / "kernels")]
    environment = inherited | {
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")])),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_NO_CONFIG": "1",
        "JUPYTER_PATH": str(tmp_path / "kernels" / "share" / "jupyter"),
        "JUPYTER_PREFER_ENV_PATH": "0",
        "CONVSCOPE_CACHE": str(tmp_path / "cache"),
        "CONVSCOPE_NOTEBOOK_DATA": str(tmp_path / "photos"),
        "CONVSCOPE_NOTEBOOK_STEPS": ",".join(map(str, STEPS)),
    }
    subprocess.run(install, env=environment, check=True, capture_output=True)
    return environment


def execute(environment: dict[str, str], folder: Path) -> Any:
    """The notebook with its outputs, run in a new folder.

    Jupyter runs in a child process: its warnings do not fail the test, and it changes nothing in this process.
    """
    import nbformat

    folder.mkdir()
    shutil.copy(NOTEBOOK, folder)
    command = [sys.executable, "-m", "jupyter", "execute", "--output=done.ipynb", NOTEBOOK.name]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return nbformat.read(folder / "done.ipynb", as_version=4)


def outputs_of(notebook: Any) -> list[Any]:
    """The outputs of all cells, in order."""
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def text_of(outputs: list[Any]) -> str:
    """Their text, without figures."""
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def check_outputs(notebook: Any, folder: Path) -> None:
    """Every cell ran; accuracy after each stage, all figures, a complete table."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = outputs_of(notebook)
    text = text_of(outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    assert "Warning" not in text
    positions = [text.index(f"{step} 步 · steps: 准确率 · accuracy ") for step in STEPS]
    assert all(earlier < later for earlier, later in pairwise(positions))
    figures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(figures) == NUM_FIGURES
    for figure in figures:
        pixels = Image.open(io.BytesIO(base64.b64decode(figure))).convert("L")
        assert pixels.getextrema() != (255, 255), "an empty figure"
    num_validation = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("validation"))
    with (folder.parent / "runs" / "dogs_vs_cats.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*CLASSES, "id"]
    assert len(rows) == num_validation > 0
    assert all(float(row["cat"]) + float(row["dog"]) == pytest.approx(1, abs=1e-5) for row in rows)


@pytest.mark.slow
def test_notebook_is_made_from_its_source(tmp_path: Path) -> None:
    """`jupytext --to ipynb --update` changes no byte of the notebook, and its cells are those of the source."""
    jupytext = pytest.importorskip("jupytext", reason=OPTIONAL)
    from jupytext.cli import jupytext as run_jupytext

    for file in (SOURCE, NOTEBOOK):
        shutil.copy(file, tmp_path)
    run_jupytext(["--quiet", "--to", "ipynb", "--update", str(tmp_path / SOURCE.name)])
    stale = "the notebook is stale: jupytext --to ipynb --update notebooks/dogs_vs_cats.py"
    assert (tmp_path / NOTEBOOK.name).read_bytes() == NOTEBOOK.read_bytes(), stale
    made, committed = jupytext.read(SOURCE).cells, jupytext.read(NOTEBOOK).cells
    for cell in (*made, *committed):
        del cell["id"]
    assert made == committed, f"{stale}; and commit no outputs"


def test_every_heading_is_in_both_languages() -> None:
    """Every heading of the source is in Chinese first, then in English."""
    headings = [line for line in SOURCE.read_text(encoding="utf-8").splitlines() if line.startswith("# #")]
    assert len(headings) > 10
    for heading in headings:
        chinese, _, english = heading.partition(" · ")
        assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese), heading
        assert english.strip().isascii(), heading
        assert english.strip(), heading


def test_missing_photos_are_an_error(tmp_path: Path) -> None:
    """Without photos the first cell names the folder, and the variable to set."""
    changes = {"CONVSCOPE_NOTEBOOK_DATA": str(tmp_path / "nowhere"), "PYTHONPATH": str(PACKAGE), "PYTHONUTF8": "1"}
    command = [sys.executable, str(SOURCE)]
    process = subprocess.run(command, env=os.environ | changes, capture_output=True, encoding="utf-8")
    last = process.stderr.splitlines()[-1]
    assert process.returncode == 1
    assert str(tmp_path / "nowhere") in last
    assert "set the environment variable CONVSCOPE_NOTEBOOK_DATA" in last


@pytest.mark.tensorflow
@pytest.mark.slow
def test_notebook_runs_from_images_to_table(environment: dict[str, str], tmp_path: Path) -> None:
    """With an empty home folder, on photos, or on drawn images without them."""
    prepare_images(tmp_path / "photos")
    folder = tmp_path / "notebooks"
    check_outputs(execute(environment, folder), folder)
