"""The screenshot of the page in the READMEs: the prediction for a held-out digit. Usage: page_picture.py RUN

RUN is the run folder of `make demo`. Taken with Debian's chromium and fonts-noto-core.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

from convscope.files import read_table
from convscope.run import Run
from convscope.serving.http_protocol import Server
from convscope.serving.service import open_service
from convscope.serving.serving import bind_socket
from convscope.serving.settings import ServiceSettings

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "page.png"
SIZE = {"width": 1280, "height": 1000}
MARGIN = 18  # pixels below the last element
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def main(run: Run) -> None:
    """Open the page, choose an image, and take the screenshot once everything is shown."""
    image = least_confident(run)
    with serving(run) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page(viewport=SIZE, locale="en-GB", color_scheme="light", reduced_motion="reduce")
        page.goto(address)
        page.locator("#filters .tile").first.wait_for()
        page.locator("#files").set_input_files(image)
        page.locator("#block-grids .tile").first.wait_for()
        page.mouse.move(0, 0)
        box = page.locator("#blocks").bounding_box()
        if box is None:
            raise RuntimeError("the page shows no blocks")
        height = box["y"] + box["height"] + MARGIN
        page.screenshot(path=PICTURE, full_page=True, clip={"x": 0, "y": 0, "width": SIZE["width"], "height": height})
        browser.close()


def least_confident(run: Run) -> Path:
    """The right prediction for a held-out image with the lowest confidence: several of its bars are visible."""
    root = Path(run.environment["data"])
    predictions = {
        Path(row["path"]).relative_to(root).as_posix(): row for row in read_table(run.path / "predictions.csv")
    }
    held_out = [row for row in read_table(run.data_file) if row["split"] == "test"]
    right = [row["path"] for row in held_out if predictions[row["path"]]["label"] == row["class"]]
    return root / min(right, key=lambda path: float(predictions[path]["confidence"]))


@contextmanager
def serving(run: Run) -> Iterator[str]:
    """The address of a service of the run, in a thread, on a free port of loopback."""
    server = Server(open_service(run.path, ServiceSettings()))
    with bind_socket("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


if __name__ == "__main__":
    main(Run(Path(sys.argv[1])))
