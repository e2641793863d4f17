"""What the tests of the service share: models, a server with the usual settings, and a way to start others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import Served, serving, write_run
from tiny_model import COLOURS, colour_model

from convscope.serving.service import ServiceSettings, open_service


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose model has an inside. Only to be read."""
    return write_run(tmp_path_factory.mktemp("served") / "colours")


@pytest.fixture(scope="session")
def bare_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.onnx` file that has no inside. Only to be read."""
    return colour_model(COLOURS).write(tmp_path_factory.mktemp("bare") / "bare.onnx")


@pytest.fixture(scope="session")
def client(run_folder: Path) -> Iterator[httpx.Client]:
    """A client of a server with the usual settings; no test leaves it in another state."""
    with serving(open_service(run_folder, ServiceSettings())) as client:
        yield client


@pytest.fixture
def served(run_folder: Path) -> Iterator[Served]:
    """Start a server with settings of its own: `served(queue=1)` is a client of it."""
    with ExitStack() as stack:

        def start(model: Path = run_folder, **choices: Any) -> httpx.Client:
            return stack.enter_context(serving(open_service(model, ServiceSettings(**choices))))

        yield start
