"""exporting/export_images.py: an export is calibrated with training images of its run and evaluated on validation."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_images import draw
from tiny_model import colour_run
from unprivileged_user import UnprivilegedUser

from convscope.datasets.dataset import read_samples
from convscope.errors import RunError
from convscope.exporting.export_images import open_export_data
from convscope.files import read_json, write_json
from convscope.run import Run

CLASSES = ("blue", "red")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run on 40 images, which lie beside it."""
    for label, name in enumerate(CLASSES):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(20):
            image = Image.fromarray(draw("disc", 8, 20 * label + number))
            image.save(tmp_path / "data" / name / f"{number}.png")
    return colour_run(tmp_path / "run", tmp_path / "data")


def test_images_are_those_of_the_splits(run: Run) -> None:
    """Calibration images are of training alone; validation has all of its images, with their labels and files."""
    data = open_export_data(run, CLASSES)
    samples = read_samples(run.data_file)
    split = {sample.path: sample.split for sample in samples}
    paths = [sample.path for sample in samples]
    assert {split[paths[row]] for row in data.calibration} == {"train"}
    assert [paths[row] for row in data.validation] == [path for path in paths if split[path] == "validation"]
    for row, path in zip(data.validation, data.paths, strict=True):
        assert Path(path).parent.name == CLASSES[data.labels[row]]
        np.testing.assert_array_equal(data.images[row], np.asarray(Image.open(path)))


@pytest.mark.slow
def test_changed_images_are_left_out(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A changed image, or a new one, is left out; that some are missing is logged."""
    caplog.set_level(logging.INFO, logger="convscope")
    before = open_export_data(run, CLASSES)
    Image.fromarray(draw("ring", 8, 500)).save(before.paths[0])
    Image.fromarray(draw("ring", 8, 501)).save(Path(before.paths[0]).with_name("new.png"))
    data = open_export_data(run, CLASSES)
    assert data.paths == before.paths[1:]
    assert "1 image of the split 'validation' missing or changed: left out" in caplog.messages


@pytest.mark.slow
def test_missing_images_are_an_error(run: Run) -> None:
    """It names where they were, and the file to correct if they are elsewhere."""
    write_json(run.environment_file, read_json(run.environment_file) | {"data": str(run.path / "nowhere")})
    with pytest.raises(RunError) as caught:
        open_export_data(run, CLASSES)
    assert str(run.path / "nowhere") in caught.value.found
    assert "environment.json" in caught.value.fix


@pytest.mark.slow
def test_images_without_permission_are_an_error(run: Run, unprivileged_user: UnprivilegedUser) -> None:
    """They are as good as gone."""
    copy = Run(Path(shutil.copytree(run.path, unprivileged_user.folder / "run")))
    (unprivileged_user.folder / "closed").mkdir(mode=0)
    write_json(copy.environment_file, run.environment | {"data": str(unprivileged_user.folder / "closed" / "data")})
    with unprivileged_user.impersonate(), pytest.raises(RunError, match="no images at"):
        open_export_data(copy, CLASSES)


@pytest.mark.slow
def test_other_images_are_an_error(run: Run) -> None:
    """A folder with as many other images in place of the run's."""
    for path in Path(run.environment["data"]).rglob("*.png"):
        Image.fromarray(draw("bar", 8, hash(path) % 1000)).save(path)
    with pytest.raises(RunError, match="none of the"):
        open_export_data(run, CLASSES)
