"""The picture of the page in the READMEs: a held-out digit, answered. Usage: python scripts/page_picture.py RUN

RUN is what `make demo` left. Taken with Debian's chromium and fonts-noto-core; other fonts give another picture.
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
from convscope.serving.service import ServiceSettings, open_service
from convscope.serving.serving import Server, listen

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "page.png"
SIZE = {"width": 1280, "height": 1000}
MARGIN = 18  # pixels below what is shown
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def main(run: Run) -> None:
    """Open the page, choose the image, and take the picture once all is there."""
    image = doubtful(run)
    with serving(run) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page(viewport=SIZE, locale="en-GB", color_scheme="light", reduced_motion="reduce")
        page.goto(address)
        page.locator("#filters .tile").first.wait_for()
        page.locator("#files").set_input_files(image)
        page.locator("#strips .tile").first.wait_for()
        page.mouse.move(0, 0)
        end = page.locator("#blocks").bounding_box()
        if end is None:
            raise RuntimeError("the page shows no blocks")
        height = end["y"] + end["height"] + MARGIN
        page.screenshot(path=PICTURE, full_page=True, clip={"x": 0, "y": 0, "width": SIZE["width"], "height": height})
        browser.close()


def doubtful(run: Run) -> Path:
    """Of the held-out images whose class the network tells, the one that it is least sure of: its bars say most."""
    root = Path(run.environment["data"])
    answers = {Path(row["path"]).relative_to(root).as_posix(): row for row in read_table(run.path / "predictions.csv")}
    held_out = [row for row in read_table(run.data_file) if row["split"] == "test"]
    right = [row["path"] for row in held_out if answers[row["path"]]["label"] == row["class"]]
    return root / min(right, key=lambda path: float(answers[path]["confidence"]))


@contextmanager
def serving(run: Run) -> Iterator[str]:
    """The service of a run on a free port of loopback, in a thread: its address."""
    server = Server(open_service(run.path, ServiceSettings()))
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


if __name__ == "__main__":
    main(Run(Path(sys.argv[1])))
