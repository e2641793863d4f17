"""Fixtures of the tests of exporting: a small trained `compact`, and jobs that convert it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from localized_shapes import CLASSES, draw_shape

from convscope.exporting.conversion_client import ConversionJob
from convscope.exporting.formats import Format
from convscope.recipe.recipe import Recipe
from convscope.run import Run


@pytest.fixture(scope="session")
def compact_run(localized_shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A `compact` after a few training steps. Read-only."""
    from convscope.training.training import train

    recipe = Recipe(network="compact", image_size=32, filters=(8, 8, 16, 16), steps=12)
    return train(localized_shapes, recipe, out=tmp_path_factory.mktemp("compact") / "run")


@pytest.fixture
def compact_job(compact_run: Run, tmp_path: Path) -> Callable[[Format], ConversionJob]:
    """Makes a job that converts it into a folder of the test, with 16 images for calibration."""
    images = np.stack([draw_shape(kind, seed) for kind in CLASSES for seed in range(8)])
    np.save(tmp_path / "images.npy", images)

    def make_job(to: Format) -> ConversionJob:
        calibration = str(tmp_path / "images.npy")
        return ConversionJob(to=to, run=str(compact_run.path), folder=str(tmp_path), calibration=calibration)

    return make_job
