"""Fixtures of the tests of the service: models, a server with the default settings, servers with others, a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from live_server import StartServer, running_server, write_run
from tiny_model import COLOURS, colour_model

from convscope.serving import http_protocol
from convscope.serving.service import open_service
from convscope.serving.settings import ServiceSettings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",  # which root may not use
    "--disable-gpu",
    "--disable-software-rasterizer",  # a fifth less CPU time per page
    "--no-first-run",
    "--disable-background-networking",
    "--use-fake-device-for-media-stream",  # a camera that films a test card
    "--use-fake-ui-for-media-stream",  # without asking for permission
]


@pytest.fixture(scope="session", autouse=True)
def no_shutdown_grace() -> Iterator[None]:
    """Servers in this process end without the grace period; `convscope serve` is tested with it in test_serving.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_protocol, "SHUTDOWN_GRACE_SECONDS", 0.0)
        yield


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose model has intermediate outputs. Read-only."""
    return write_run(tmp_path_factory.mktemp("served") / "colours")


@pytest.fixture(scope="session")
def bare_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.onnx` file without intermediate outputs. Read-only."""
    return colour_model(COLOURS).write(tmp_path_factory.mktemp("bare") / "bare.onnx")


@pytest.fixture(scope="session")
def client(run_folder: Path) -> Iterator[httpx.Client]:
    """A client of a server with the default settings, which all tests share and none changes."""
    with running_server(open_service(run_folder, ServiceSettings())) as client:
        yield client


@pytest.fixture
def start_server(run_folder: Path) -> Iterator[StartServer]:
    """Start a server with other settings or another model: `start_server(queue=1)` is a client of it."""
    with ExitStack() as stack:

        def start(model: Path = run_folder, **settings: Any) -> httpx.Client:
            return stack.enter_context(running_server(open_service(model, ServiceSettings(**settings))))

        yield start


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One headless Chromium for the session; each test opens its own context in it, which shares nothing."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()
