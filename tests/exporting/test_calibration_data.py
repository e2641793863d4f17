"""deployment/material.py: what an export is made with and judged by is what the run learned from and was judged by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_images import draw
from tiny_model import colour_run

from convscope.datasets.dataset import read_samples
from convscope.errors import RunError
from convscope.exporting.calibration_data import open_material
from convscope.files import read_json, write_json
from convscope.run import Run

CLASSES = ("blue", "red")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run on 40 images that lie beside it."""
    for place, name in enumerate(CLASSES):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(20):
            image = Image.fromarray(draw("disc", 8, 20 * place + number))
            image.save(tmp_path / "data" / name / f"{number}.png")
    return colour_run(tmp_path / "run", tmp_path / "data")


def test_images_are_those_of_the_splits(run: Run) -> None:
    """Calibration is of training alone; those to judge by are all of validation, with their labels and files."""
    material = open_material(run, CLASSES)
    samples = read_samples(run.data_file)
    split = {sample.path: sample.split for sample in samples}
    places = [sample.path for sample in samples]
    assert {split[places[row]] for row in material.calibration} == {"train"}
    assert [places[row] for row in material.validation] == [path for path in places if split[path] == "validation"]
    for row, path in zip(material.validation, material.paths, strict=True):
        assert Path(path).parent.name == CLASSES[material.labels[row]]
        np.testing.assert_array_equal(material.images[row], np.asarray(Image.open(path)))


def test_what_has_changed_is_left_out(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """An image that is another now, or a new one, is not judged by; that some are missing is said."""
    before = open_material(run, CLASSES)
    Image.fromarray(draw("ring", 8, 500)).save(before.paths[0])
    Image.fromarray(draw("ring", 8, 501)).save(Path(before.paths[0]).with_name("new.png"))
    material = open_material(run, CLASSES)
    assert material.paths == before.paths[1:]
    assert "1 image of the split 'validation' gone or changed since: left out" in capsys.readouterr().err


def test_images_that_are_gone_are_told(run: Run) -> None:
    """Where they were, and where to say that they are elsewhere."""
    write_json(run.environment_file, read_json(run.environment_file) | {"data": str(run.path / "nowhere")})
    with pytest.raises(RunError) as caught:
        open_material(run, CLASSES)
    assert str(run.path / "nowhere") in caught.value.found
    assert "environment.json" in caught.value.fix


def test_other_images_in_their_place_are_told(run: Run) -> None:
    """A folder with as many other images is not the run's."""
    for path in Path(run.environment["data"]).rglob("*.png"):
        Image.fromarray(draw("bar", 8, hash(path) % 1000)).save(path)
    with pytest.raises(RunError, match="none of the"):
        open_material(run, CLASSES)
