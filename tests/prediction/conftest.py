"""Fixtures of the tests of predictions: one model, with and without a neighbour index, and its input files."""

from __future__ import annotations

from pathlib import Path

import pytest
from prediction_tables import CLASSES, SQUARE
from sample_images import KINDS, refused_files
from tiny_model import TinyModel, random_model


@pytest.fixture(scope="session")
def model() -> TinyModel:
    """A model whose prediction differs for every image."""
    return random_model(CLASSES, SQUARE, seed=3)


@pytest.fixture(scope="session")
def model_file(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `model`. Read-only."""
    return model.write(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="session")
def model_with_neighbours(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the photos in its neighbour index. Read-only."""
    return random_model(KINDS, SQUARE, seed=3).write_with_neighbours(tmp_path_factory.mktemp("neighbours"), photos)


@pytest.fixture(scope="session")
def unreadable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that are refused, each for a different reason. Read-only."""
    folder = tmp_path_factory.mktemp("unreadable")
    for name, (content, _) in refused_files().items():
        (folder / name).write_bytes(content)
    return folder
