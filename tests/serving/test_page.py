"""The page at `/` in a headless Chromium: what the user sees and does."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from live_server import StartServer, photo, write_run
from playwright.sync_api import Browser, Locator, Page, Request, Route, expect
from processes import Command
from tiny_model import COLOURS, colour_model

from convscope.prediction.inference import Prediction
from convscope.prediction.rows import Table
from convscope.prediction.writers import open_writer

API_PATHS = ("/info", "/filters", "/predict", "/explain")  # a browser logs their error statuses on its console
HOSTILE = ("<img src=x onerror=alert(1)>", "path", '"><script>alert(2)</script>')
METADATA = {
    "date": "2026-05-04T03:02:01+00:00",
    "license": "CC-BY-4.0",
    "data": {"images": 1234, "train": 1000, "sha256": "0123456789abcdef"},
    "metrics": {"split": "validation", "images": 200, "accuracy": {"value": 0.93, "low": 0.886, "high": 0.958}},
}
Visit = Callable[..., Page]

pytestmark = pytest.mark.slow


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Open the page of a server in a new context: `visit(client)`. In every test all requests go to that server,
    and nothing is logged on the console."""
    contexts, problems = [], []

    def open_page(client: httpx.Client, prepare: Callable[[Page], object] | None = None, **options: Any) -> Page:
        base = str(client.base_url)
        context = browser.new_context(**{"locale": "en-GB", "reduced_motion": "reduce"} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)

        def check_request(request: Request) -> None:
            if not request.url.startswith((base, f"blob:{base}", "data:")):
                problems.append(f"a request to {request.url}")

        page.on("request", check_request)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"a script was executed: {dialog.message}"))
        page.on(
            "console",
            lambda message: (
                problems.append(f"{message.text} {message.location}")
                if message.type in ("error", "warning") and urlsplit(message.location["url"]).path not in API_PATHS
                else None
            ),
        )
        if prepare is not None:
            prepare(page)
        page.goto(base)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def input_file(name: str, content: bytes) -> Any:
    """A file for Playwright's file chooser."""
    return {"name": name, "mimeType": "image/png", "buffer": content}


def choose(page: Page, *files: Any) -> None:
    """Choose files by the button, as a user does."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose images").click()
    chooser.value.set_files(list(files))


def dispatch_images(page: Page, event: str, *names: str) -> None:
    """Dispatch a paste or drop event with red images."""
    page.evaluate(
        """([event, names, content]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            for (const name of names) transfer.items.add(new File([bytes], name, { type: "image/png" }));
            const options = { bubbles: true, cancelable: true };
            document.body.dispatchEvent(
                event === "paste"
                    ? new ClipboardEvent("paste", { ...options, clipboardData: transfer })
                    : new DragEvent("drop", { ...options, dataTransfer: transfer }),
            );
        }""",
        [event, names, base64.b64encode(photo("red")).decode()],
    )


def label(page: Page) -> Locator:
    """The predicted class."""
    return page.locator("#prediction-label")


def rows(page: Page) -> Locator:
    """The rows of the table."""
    return page.locator("#rows tr")


def test_chosen_image_is_classified(client: httpx.Client, visit: Visit) -> None:
    """Label, bars in the order of the probabilities, heat map, activations; screen readers announce the label."""
    page = visit(client)
    choose(page, input_file("green.png", photo("lime")))
    expect(label(page)).to_have_text("green")
    bars = page.get_by_role("list", name="Probability of each class").get_by_role("listitem")
    expect(bars).to_have_count(3)
    expect(bars.first).to_have_text("green98.7 %")
    expect(page.get_by_role("img", name="Heat map for green")).to_be_visible()
    expect(page.get_by_role("group", name="Activations of block1", exact=True).get_by_role("button")).to_have_count(4)
    expect(page.locator("#status")).to_have_text("green.png: green, 98.7 %")
    expect(page.locator("#table")).to_be_hidden()
    expect(page.locator("#neighbours")).to_be_hidden()
    width = page.locator("#heatmap").evaluate("image => image.naturalWidth")
    assert width == 8  # the browser could decode it


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_pasted_and_dropped_images_are_classified(client: httpx.Client, visit: Visit, event: str) -> None:
    """A single image is opened; several are shown in the table."""
    page = visit(client)
    expect(page.locator("#facts")).to_contain_text("tiny")
    dispatch_images(page, event, "one.png")
    expect(label(page)).to_have_text("red")
    dispatch_images(page, event, "two.png", "three.png")
    expect(rows(page)).to_have_count(3)
    expect(rows(page).last).to_contain_text("three.pngred98.7 %ok")


def test_dropped_folder(client: httpx.Client, visit: Visit, tmp_path: Path) -> None:
    """A real drop: images by name, then sub-folders, each with its path; files with other suffixes are counted."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "deep/c.png"):
        (folder / name).write_bytes(photo("red"))
    (folder / "notes.txt").write_text("text")
    page = visit(client)
    expect(page.locator("#filters")).to_be_visible()
    dragged = {"items": [], "files": [str(folder), str(folder / "b.png")], "dragOperationsMask": 1}
    protocol = page.context.new_cdp_session(page)
    for step in ("dragEnter", "dragOver", "drop"):
        protocol.send("Input.dispatchDragEvent", {"type": step, "x": 200, "y": 200, "data": dragged})
    names = ["photos/a.JPG", "photos/b.png", "photos/deep/c.png", "b.png"]
    expect(page.locator("#rows .file-name")).to_have_text(names)
    expect(page.locator("#status")).to_have_text("1 file skipped: the suffix is not that of an image.")


def test_opacity_of_the_heat_map(client: httpx.Client, visit: Visit) -> None:
    """A slider sets it by keyboard, 50 % at first; a button hides the heat map; the colours are explained."""
    page = visit(client)
    choose(page, input_file("a.png", photo("blue")))
    slider, heatmap = page.get_by_role("slider", name="Opacity"), page.locator("#heatmap")
    button = page.get_by_role("button", name="Image only")
    expect(heatmap).to_have_css("opacity", "0.5")
    for pressed, opacity in (("true", "0"), ("false", "0.5")):
        button.click()
        expect(button).to_have_attribute("aria-pressed", pressed)
        expect(heatmap).to_have_css("opacity", opacity)
    for key, opacity in (("Home", "0"), ("End", "1"), ("ArrowLeft", "0.99")):
        slider.press(key)
        expect(heatmap).to_have_css("opacity", opacity)
    expect(slider).to_have_attribute("aria-valuetext", "99 %")
    expect(page.locator("#heatmap-controls")).to_contain_text("No colour: no evidence.")


def test_table_counts_unreadable_images_and_numbers_equal_names(client: httpx.Client, visit: Visit) -> None:
    """The number of unreadable images is shown beside the progress; a repeated name gets a number."""
    page = visit(client)
    choose(page, input_file("1.jpg", photo("red")), input_file("2.jpg", b"text"))
    expect(page.locator("#progress-text")).to_have_text("2 of 2 · 1 unreadable")
    choose(page, input_file("1.jpg", photo("blue")))
    expect(page.locator("#rows .file-name")).to_have_text(["1.jpg", "2.jpg", "1.jpg (2)"])


def test_narrow_screen_offers_the_camera(client: httpx.Client, visit: Visit) -> None:
    """There is nothing to drop images from on a phone."""
    page = visit(client)
    expect(page.get_by_text("Drop images here")).to_be_visible()
    page.set_viewport_size({"width": 360, "height": 700})
    expect(page.get_by_text("Drop images here")).to_be_hidden()
    expect(page.get_by_text("Choose or take a photo")).to_be_visible()


def test_heat_map_for_another_class(client: httpx.Client, visit: Visit) -> None:
    """It is requested and replaces that for the predicted class; the prediction stays."""
    page = visit(client)
    choose(page, input_file("a.png", photo("yellow")))
    heatmap = page.locator("#heatmap")
    expect(page.get_by_role("combobox", name="Heat map for")).to_have_value("0")
    before = heatmap.get_attribute("src")
    with page.expect_response(lambda response: response.url.endswith("/explain?class=blue")):
        page.get_by_role("combobox", name="Heat map for").select_option("blue")
    expect(page.get_by_role("img", name="Heat map for blue")).to_be_visible()
    assert heatmap.get_attribute("src") != before
    expect(label(page)).to_have_text("red")


def test_channel_is_enlarged_by_keyboard(client: httpx.Client, visit: Visit) -> None:
    """Tab reaches one tile of a grid, arrow keys the others; Enter enlarges; Escape closes at the tile shown last."""
    page = visit(client)
    choose(page, input_file("a.png", photo("red")))
    grid = page.get_by_role("group", name="Activations of block1", exact=True)
    expect(grid.locator("[tabindex='0']")).to_have_count(1)
    grid.get_by_role("button", name="block1, channel 1 of 4").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("block1, channel 2 of 4")
    assert page.locator("#tile-canvas").evaluate("canvas => [canvas.width, canvas.height]") == [8, 8]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(dialog.get_by_role("heading")).to_have_text("block1, channel 4 of 4")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(grid.get_by_role("button", name="block1, channel 4 of 4")).to_be_focused()


def test_tile_is_the_right_part_of_the_picture(client: httpx.Client, visit: Visit) -> None:
    """The fourth of four tiles in three columns is the one below the first."""
    page = visit(client)
    filters = client.get("/filters").json()
    assert (filters["columns"], filters["count"]) == (3, 4)
    from PIL import Image

    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(filters["picture"].partition(",")[2]))))
    tile = page.get_by_role("button", name="block1_convolution, filter 4 of 4").locator("canvas")
    shown = tile.evaluate("canvas => [...canvas.getContext('2d').getImageData(0, 0, 1, 1).data]")
    assert shown[:3] == picture[1, 0].tolist()


def test_csv_is_that_of_predict(
    run_folder: Path,
    start_server: StartServer,
    visit: Visit,
    cli: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One row per image, in order, unreadable ones with the reason; the same bytes as `convscope predict`."""
    colours = [COLOURS[index % 3] for index in range(39)]
    contents = {f"{index:02} a, b.png": photo(colour) for index, colour in enumerate(colours)}
    contents |= {"broken.png": photo("red")[:-30], "empty.png": b"", "照片.png": photo("olive")}
    contents['a "b", c.png'] = photo("red")
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    page = visit(start_server(queue=8))  # small: most requests are rejected at first and retried
    choose(page, *(tmp_path / name for name in contents))
    expect(page.locator("#progress-text")).to_have_text("43 of 43 · 2 unreadable", timeout=30_000)
    expect(rows(page)).to_have_count(len(contents))
    expect(rows(page).nth(40)).to_contain_text("empty.pngunreadableempty file")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    monkeypatch.chdir(tmp_path)
    assert download.value.suggested_filename == "predictions.csv"
    text = download.value.path().read_text(encoding="utf-8")
    assert text == cli("predict", run_folder, *contents).out
    assert [row["path"] for row in csv.DictReader(io.StringIO(text))] == list(contents)


def test_single_unreadable_image_of_a_table(client: httpx.Client, visit: Visit) -> None:
    """An image that is alone in its request gets 415 instead of a row; the table shows the same reason."""
    page = visit(client)
    choose(page, *(input_file(f"{index}.png", photo("red")) for index in range(16)), input_file("last.png", b"text"))
    reason = "not an image"
    expect(rows(page).last).to_contain_text("unreadable")
    assert client.post("/predict", content=b"text").json()["error"]["found"].endswith(reason)
    expect(rows(page).last.locator("small")).to_have_text(reason)


def test_row_opens_its_image(client: httpx.Client, visit: Visit) -> None:
    """By keyboard: the focus moves to the prediction, and the row is marked. `Clear` removes everything."""
    page = visit(client)
    choose(page, input_file("a.png", photo("red")), input_file("b.png", photo("blue")))
    expect(page.locator("#prediction")).to_be_hidden()
    page.get_by_role("button", name="b.png").press("Enter")
    expect(label(page)).to_have_text("blue")
    expect(page.get_by_role("heading", name="Prediction")).to_be_focused()
    expect(page.get_by_role("button", name="b.png")).to_have_attribute("aria-current", "true")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#prediction")).to_be_hidden()
    expect(page.locator("#table")).to_be_hidden()
    expect(page.get_by_role("button", name="Choose images")).to_be_focused()


def test_csv_of_any_names_and_numbers(client: httpx.Client, visit: Visit) -> None:
    """The same bytes as convscope writes for names of every kind and numbers of every size, halves included."""
    generator = np.random.default_rng(0)
    values = generator.random((500, 3)) * 10.0 ** -generator.integers(0, 9, (500, 3))
    values[:5] = [[13 / 128, 1.0, 0.0], [0.0001, 0.00001, 1e-30], [0.5, 3 / 128, 11 / 2**10], [1 / 3] * 3, [1e-38] * 3]
    table = [Prediction(f"{index}.png", "", row.astype(np.float32)) for index, row in enumerate(values)]
    table += [Prediction(name, "truncated", None) for name in ('a"b.png', "a,b", "a\nb", "a\rb", " a ", "照片.png")]
    page = visit(client)
    for classes in (("cat", "path", "a, b"), ("label1", "class:x", 'q"\r'), ("狗", "label²", "label٣")):
        csv_text = page.evaluate(
            "async ([entries, classes]) => (await import('/page/csv.js')).toCsv(entries, classes)",
            [[as_entry(row, classes) for row in table], classes],
        )
        assert csv_text.encode() == open_writer(Table(), classes).encode(table)


def as_entry(row: Prediction, classes: tuple[str, ...]) -> dict[str, Any]:
    """A prediction as an `Entry` of the page."""
    if row.probabilities is None:
        return {"path": row.path, "state": "unreadable", "error": row.reason, "prediction": None}
    probabilities = row.probabilities.tolist()
    predicted = int(row.probabilities.argmax())
    prediction = {
        "label": classes[predicted],
        "confidence": probabilities[predicted],
        "probabilities": dict(zip(classes, probabilities, strict=True)),
    }
    return {"path": row.path, "state": "ok", "error": "", "prediction": prediction}


def test_hostile_names_are_text(start_server: StartServer, visit: Visit, tmp_path: Path) -> None:
    """Names of classes and files with markup are shown as text; nothing in them becomes an element."""
    page = visit(start_server(model=write_run(tmp_path / "<b>run", HOSTILE)))
    name = "<img src=y onerror=alert(3)>.png"
    choose(page, input_file(name, photo("red")))
    expect(label(page)).to_have_text(HOSTILE[0])
    expect(page.get_by_role("list", name="Probability of each class")).to_contain_text(HOSTILE[2])
    expect(page.locator("#prediction-file")).to_have_text(name)
    page.locator("#heatmap-class").select_option(index=2)
    expect(page.locator("#heatmap")).to_have_attribute("alt", f"Heat map for {HOSTILE[2]}")
    choose(page, input_file(name, b"text"))
    expect(page.get_by_role("alert")).to_contain_text(f"No prediction for {name}")
    expect(rows(page)).to_have_count(2)
    expect(page.locator("#model-name")).to_have_text("<b>run")
    assert page.locator("[onerror], main b, script:not([src])").count() == 0


def test_unreadable_file_shows_the_error(client: httpx.Client, visit: Visit) -> None:
    """In three parts, in English, with `lang` on a Chinese page; the next image is classified."""
    page = visit(client)
    choose(page, input_file("notes.png", b"text"))
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("No prediction for notes.png")
    expect(alert.get_by_role("definition")).to_have_text(
        [
            "an image that cannot be used: not an image",
            "an intact JPEG, PNG, WebP, BMP, GIF or TIFF file",
            "send the bytes of such a file, or convert the image",
        ]
    )
    page.get_by_role("button", name="中文").click()
    expect(alert).to_contain_text("没有预测结果：notes.png")
    expect(alert.locator("[lang=en]")).to_have_count(3)
    page.get_by_role("button", name="English").click()
    choose(page, input_file("a.png", photo("red")))
    expect(label(page)).to_have_text("red")
    expect(page.locator("#error")).to_be_empty()


def test_file_that_is_too_large_is_not_sent(
    start_server: StartServer, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is known from /info."""
    monkeypatch.setattr("convscope.serving.service.MAX_BYTES", 1024**2)
    page = visit(start_server())
    expect(page.locator("#facts")).to_contain_text("tiny")
    choose(page, input_file("huge.png", bytes(2 * 1024**2)))
    expect(page.get_by_role("alert")).to_contain_text("a file of 2.0 MB")
    choose(page, input_file("a.png", photo("red")), input_file("huge.png", bytes(2 * 1024**2)))
    expect(rows(page).last).to_contain_text("faileda file of 2.0 MB")
    expect(rows(page).nth(1)).to_contain_text("ok")


def test_language(client: httpx.Client, visit: Visit) -> None:
    """That of the browser; a button switches it, also in what is shown already, and the choice is stored."""
    page = visit(client, locale="zh-CN")
    expect(page.get_by_role("heading", level=1)).to_have_text("图像分类")
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    page.locator("#files").set_input_files([input_file("a.png", photo("red"))])
    expect(page.locator("#prediction-confidence")).to_have_text("置信度 98.7%")
    page.get_by_role("button", name="English").click()
    expect(page.locator("#prediction-confidence")).to_have_text("Confidence 98.7 %")
    expect(page.get_by_role("button", name="block1, channel 1 of 4")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Classify an image")


def test_translations_are_complete(client: httpx.Client, visit: Visit) -> None:
    """Every text of one language exists in the other, as a string or as a function of as many values."""
    kinds = """async () => {
        const { LANGUAGES } = await import("/page/i18n.js");
        const kind = (text) => typeof text === "function" ? text.length
            : typeof text === "object" ? Object.entries(text).map(([name, value]) => [name, kind(value)]) : "text";
        return Object.fromEntries(Object.entries(LANGUAGES).map(([tag, { texts }]) => [tag, kind(texts)]));
    }"""
    languages = visit(client).evaluate(kinds)
    assert dict(languages["en"]) == dict(languages["zh"])
    assert len(languages["en"]) > 50


def test_narrow_screen(start_server: StartServer, visit: Visit, tmp_path: Path) -> None:
    """The page never scrolls horizontally, whatever is shown and however long the names are."""
    client = start_server(model=write_run(tmp_path / ("run" * 50), ("x" * 150, "y " * 40, "z")))
    page = visit(client)

    def check_width() -> None:
        for width in (400, 360, 320):
            page.set_viewport_size({"width": width, "height": 640})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width

    expect(page.locator("#filters")).to_be_visible()
    check_width()
    choose(page, input_file("a" * 200 + ".png", photo("red")))
    expect(page.locator("#block-grids .tile")).to_have_count(4)
    check_width()
    choose(page, input_file("b" * 200 + ".png", photo("red")), input_file("c.png", b"text"))
    expect(page.locator("#progress-text")).to_have_text("3 of 3 · 1 unreadable")
    check_width()
    choose(page, input_file("d" * 200 + ".png", b"text"))
    expect(page.get_by_role("alert")).to_be_visible()
    check_width()


def test_api_key_is_requested(start_server: StartServer, visit: Visit) -> None:
    """Again after `Cancel` and after a wrong key; with the right one all works, and it is kept in this tab only."""
    page = visit(start_server(api_key="open sesame"))
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("no API key, or a wrong one")
    page.get_by_role("button", name="Retry").click()
    field = page.get_by_label("API key", exact=True)
    field.fill("wrong")
    field.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("The service rejected this key.")
    field.fill("open sesame")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#filters")).to_be_visible()
    choose(page, input_file("a.png", photo("red")))
    expect(label(page)).to_have_text("red")
    assert page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]
    assert "sesame" not in page.url


def test_request_is_retried_after_503(client: httpx.Client, visit: Visit) -> None:
    """After the seconds of Retry-After, with a message."""
    page = visit(client)
    expect(page.locator("#filters")).to_be_visible()
    error = {"error": {"found": "an overloaded service", "expected": "room", "fix": "wait"}}

    def reject(route: Route) -> None:
        route.fulfill(status=503, headers={"Retry-After": "1"}, json=error)

    page.route("**/predict", reject, times=1)
    choose(page, input_file("a.png", photo("red")))
    expect(page.locator("#status")).to_have_text("The service is overloaded. Retrying in 1 s (attempt 2 of 6).")
    expect(label(page)).to_have_text("red")


def test_unreachable_service(client: httpx.Client, visit: Visit) -> None:
    """The error is shown for one image and in the table; once the service is back, a button retries these images."""
    page = visit(client)
    expect(page.locator("#filters")).to_be_visible()
    page.route("**/predict", lambda route: route.abort())
    choose(page, input_file("a.png", photo("red")))
    expect(page.get_by_role("alert")).to_contain_text("the service cannot be reached")
    choose(page, input_file("b.png", photo("green")), input_file("c.png", photo("blue")))
    expect(rows(page).last).to_contain_text("failedthe service cannot be reached")
    page.unroute("**/predict")
    page.get_by_role("button", name="Retry 3").click()
    expect(page.locator("#rows td:nth-child(3)")).to_have_text(["red", "green", "blue"])
    expect(page.locator("#retry-failed")).to_be_hidden()


def test_camera(client: httpx.Client, visit: Visit) -> None:
    """A photo is classified, and the camera is turned off."""
    page = visit(client)
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take photo").click()
    expect(page.locator("#prediction-file")).to_have_text("camera-1.jpg")
    expect(label(page)).not_to_be_empty()
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.locator("#camera-view").evaluate("video => video.srcObject") is None


def test_camera_is_not_allowed(client: httpx.Client, visit: Visit) -> None:
    """A page over plain http from another machine has no camera: it shows the reason, and the device's camera app."""
    no_camera = "Object.defineProperty(Navigator.prototype, 'mediaDevices', { value: undefined })"
    page = visit(client, lambda page: page.add_init_script(no_camera))
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("dialog")).to_contain_text("only on pages over https")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take or choose a photo with this device").click()
    chooser.value.set_files(input_file("a.png", photo("red")))
    expect(label(page)).to_have_text("red")


def test_bare_model_with_many_classes(start_server: StartServer, visit: Visit, tmp_path: Path) -> None:
    """Ten bars, or all; no heat map, activations and filters without inside.onnx, with the reason."""
    classes = (*(f"class {index}" for index in range(97)), *COLOURS)
    page = visit(start_server(model=colour_model(classes).write(tmp_path / "bare.onnx")))
    choose(page, input_file("a.png", photo("blue")))
    expect(label(page)).to_have_text("blue")
    bars = page.locator("#bars li")
    expect(bars).to_have_count(10)
    page.get_by_role("button", name="Show all 100 classes").click()
    expect(bars).to_have_count(100)
    expect(page.locator("#input-text")).to_contain_text("no inside.onnx")
    for selector in ("#heatmap", "#blocks", "#filters"):
        expect(page.locator(selector)).to_be_hidden()


def test_model_card(start_server: StartServer, visit: Visit, client: httpx.Client, tmp_path: Path) -> None:
    """The metadata of the model, with the interval of its accuracy; fields without a value are left out."""
    page = visit(start_server(model=write_run(tmp_path / "described", **METADATA)))
    facts = page.locator("#facts > div")
    expect(facts).to_have_text(
        [
            "Classesredgreenblue",
            "Accuracy93.0 %95 % interval: 88.6 % to 95.8 %on 200 validation images",
            "Data1,234 images, 1,000 for trainingchecksum 0123456789ab",
            "Networktiny",
            "Input8 × 8 pixels, colour",
            "Trained4 May 2026",
            "LicenceCC-BY-4.0",
            "convscope0.1.0",
        ]
    )
    expect(visit(client).locator("#facts dt")).to_have_text(["Classes", "Network", "Input", "convscope"])


def test_similar_training_images(client: httpx.Client, visit: Visit) -> None:
    """They are shown with class and similarity; this model has none, so the response is changed on its way."""

    def add_neighbour(route: Route) -> None:
        explanation = route.fetch().json()
        neighbour = {"picture": explanation["image"], "label": "<b>red", "similarity": 0.9876}
        route.fulfill(json=explanation | {"neighbours": [neighbour]})

    page = visit(client)
    page.route("**/explain", add_neighbour)
    choose(page, input_file("a.png", photo("red")))
    expect(page.get_by_role("heading", name="Most similar training images")).to_be_visible()
    expect(page.locator("#neighbour-list li")).to_have_text(["<b>redsimilarity 0.99"])
