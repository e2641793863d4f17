"""The page at `/`, in a headless Chromium: what a person sees and does there."""

from __future__ import annotations

import base64
import csv
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from commands import Command
from playwright.sync_api import Browser, Locator, Page, Request, Route, expect, sync_playwright
from served import Served, photo, write_run
from tiny_model import COLOURS, colour_model

from convscope.prediction.inference import Answer
from convscope.prediction.rows import Table
from convscope.prediction.tables import open_writer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",  # which root may not use
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--use-fake-device-for-media-stream",  # a camera that films a test card
    "--use-fake-ui-for-media-stream",  # and is allowed
]
ASKED = ("/info", "/filters", "/predict", "/explain")  # whose refusals a browser notes on its console by itself
HOSTILE = ("<img src=x onerror=alert(1)>", "path", '"><script>alert(2)</script>')
CARD = {
    "date": "2026-05-04T03:02:01+00:00",
    "license": "CC-BY-4.0",
    "data": {"images": 1234, "train": 1000, "sha256": "0123456789abcdef"},
    "metrics": {"split": "validation", "images": 200, "accuracy": {"value": 0.93, "low": 0.886, "high": 0.958}},
}
Visit = Callable[..., Page]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests; each has a profile of its own in it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Open the page of a server: `visit(client)`. Whatever a test does, no request leaves the server, and no error is
    written on the console."""
    contexts, wrong = [], []

    def open_page(client: httpx.Client, prepare: Callable[[Page], object] | None = None, **choices: Any) -> Page:
        base = str(client.base_url)
        context = browser.new_context(**{"locale": "en-GB", "reduced_motion": "reduce"} | choices)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)

        def check_request(request: Request) -> None:
            if not request.url.startswith((base, f"blob:{base}", "data:")):
                wrong.append(f"a request to {request.url}")

        page.on("request", check_request)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(f"a script ran: {dialog.message}"))
        page.on(
            "console",
            lambda message: (
                wrong.append(f"{message.text} {message.location}")
                if message.type in ("error", "warning") and urlsplit(message.location["url"]).path not in ASKED
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
    assert wrong == []


def some_file(name: str, content: bytes) -> Any:
    """A file as Playwright hands it to a page."""
    return {"name": name, "mimeType": "image/png", "buffer": content}


def choose(page: Page, *files: Any) -> None:
    """Choose files as a person does, by the button."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose images").click()
    chooser.value.set_files(list(files))


def hand_over(page: Page, event: str, *names: str) -> None:
    """Paste or drop red images: what a browser makes of it is an event with files."""
    page.evaluate(
        """([event, names, content]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            for (const name of names) transfer.items.add(new File([bytes], name, { type: "image/png" }));
            const choices = { bubbles: true, cancelable: true };
            document.body.dispatchEvent(
                event === "paste"
                    ? new ClipboardEvent("paste", { ...choices, clipboardData: transfer })
                    : new DragEvent("drop", { ...choices, dataTransfer: transfer }),
            );
        }""",
        [event, names, base64.b64encode(photo("red")).decode()],
    )


def label(page: Page) -> Locator:
    """The class that the answer names."""
    return page.locator("#answer-label")


def rows(page: Page) -> Locator:
    """The rows of the table."""
    return page.locator("#rows tr")


def test_chosen_image_is_answered(client: httpx.Client, visit: Visit) -> None:
    """Label, bars with the most probable first, heat over the image, the channels of each block; it is read out."""
    page = visit(client)
    choose(page, some_file("green.png", photo("lime")))
    expect(label(page)).to_have_text("green")
    bars = page.get_by_role("list", name="Probability of each class").get_by_role("listitem")
    expect(bars).to_have_count(3)
    expect(bars.first).to_have_text("green98.7 %")
    expect(page.get_by_role("img", name="What speaks for green, as heat over the image")).to_be_visible()
    expect(page.get_by_role("group", name="block1", exact=True).get_by_role("button")).to_have_count(4)
    expect(page.locator("#status")).to_have_text("green.png: green, 98.7 %")
    expect(page.locator("#table")).to_be_hidden()
    expect(page.locator("#neighbours")).to_be_hidden()
    with_heat = page.locator("#heat").evaluate("heat => heat.naturalWidth")
    assert with_heat == 8  # it is a picture that the browser shows


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_pasted_and_dropped_images_are_answered(client: httpx.Client, visit: Visit, event: str) -> None:
    """One is opened; with more the table begins."""
    page = visit(client)
    expect(page.locator("#facts")).to_contain_text("tiny")
    hand_over(page, event, "one.png")
    expect(label(page)).to_have_text("red")
    hand_over(page, event, "two.png", "three.png")
    expect(rows(page)).to_have_count(3)
    expect(rows(page).last).to_contain_text("three.pngred98.7 %ok")


def test_dropped_folder(client: httpx.Client, visit: Visit, tmp_path: Path) -> None:
    """A real drop: images by name, then sub-folders, each with its path; what is no image by its name is counted."""
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
    expect(page.locator("#rows .open")).to_have_text(names)
    expect(page.locator("#status")).to_have_text("1 file passed over: not an image by its name.")


def test_slider_sets_the_opacity_of_the_heat(client: httpx.Client, visit: Visit) -> None:
    """By keyboard, from nothing to all."""
    page = visit(client)
    choose(page, some_file("a.png", photo("blue")))
    slider, heat = page.get_by_role("slider", name="Heat"), page.locator("#heat")
    for key, opacity in (("Home", "0"), ("End", "1"), ("ArrowLeft", "0.99")):
        slider.press(key)
        expect(heat).to_have_css("opacity", opacity)
    expect(slider).to_have_attribute("aria-valuetext", "99 %")


def test_photo_is_seen_without_the_heat(client: httpx.Client, visit: Visit) -> None:
    """A button takes the heat away and gives it back; the slider begins in the middle, and colours are explained."""
    page = visit(client)
    choose(page, some_file("a.png", photo("blue")))
    button, heat = page.get_by_role("button", name="Photo only"), page.locator("#heat")
    expect(heat).to_have_css("opacity", "0.5")
    for pressed, opacity in (("true", "0"), ("false", "0.5")):
        button.click()
        expect(button).to_have_attribute("aria-pressed", pressed)
        expect(heat).to_have_css("opacity", opacity)
    expect(page.locator("#heat-choices")).to_contain_text("Yellow speaks most for this class")


def test_table_tells_what_was_not_read_and_names_apart(client: httpx.Client, visit: Visit) -> None:
    """Rows out of sight are counted in its line; a name that came before has a number."""
    page = visit(client)
    choose(page, some_file("1.jpg", photo("red")), some_file("2.jpg", b"text"))
    expect(page.locator("#progress-words")).to_have_text("2 of 2 · 1 unreadable")
    choose(page, some_file("1.jpg", photo("blue")))
    expect(page.locator("#rows .open")).to_have_text(["1.jpg", "2.jpg", "1.jpg (2)"])


def test_touch_is_spoken_to_on_a_phone(client: httpx.Client, visit: Visit) -> None:
    """A narrow screen has nowhere to drop images from."""
    page = visit(client)
    expect(page.get_by_text("Drop images here")).to_be_visible()
    page.set_viewport_size({"width": 360, "height": 700})
    expect(page.get_by_text("Drop images here")).to_be_hidden()
    expect(page.get_by_text("Choose or take a photo")).to_be_visible()


def test_heat_of_another_class(client: httpx.Client, visit: Visit) -> None:
    """It is asked for, and takes the place of the label's; the answer stays."""
    page = visit(client)
    choose(page, some_file("a.png", photo("yellow")))
    heat = page.locator("#heat")
    expect(page.get_by_role("combobox", name="What speaks for")).to_have_value("0")
    before = heat.get_attribute("src")
    with page.expect_response(lambda response: response.url.endswith("/explain?class=blue")):
        page.get_by_role("combobox", name="What speaks for").select_option("blue")
    expect(page.get_by_role("img", name="What speaks for blue, as heat over the image")).to_be_visible()
    assert heat.get_attribute("src") != before
    expect(label(page)).to_have_text("red")


def test_channel_is_enlarged_by_keyboard(client: httpx.Client, visit: Visit) -> None:
    """Tab reaches a strip once, arrows walk; Enter enlarges, arrows walk on, Escape closes where one has come to."""
    page = visit(client)
    choose(page, some_file("a.png", photo("red")))
    strip = page.get_by_role("group", name="block1", exact=True)
    expect(strip.locator("[tabindex='0']")).to_have_count(1)
    strip.get_by_role("button", name="block1, channel 1 of 4").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("block1, channel 2 of 4")
    assert page.locator("#channel-canvas").evaluate("canvas => [canvas.width, canvas.height]") == [8, 8]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(dialog.get_by_role("heading")).to_have_text("block1, channel 4 of 4")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(strip.get_by_role("button", name="block1, channel 4 of 4")).to_be_focused()


def test_tile_is_cut_where_its_channel_lies(client: httpx.Client, visit: Visit) -> None:
    """The fourth of four tiles in three columns is the one below the first: its pixels are the filter's."""
    page = visit(client)
    filters = client.get("/filters").json()
    assert (filters["columns"], filters["count"]) == (3, 4)
    from PIL import Image

    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(filters["picture"].partition(",")[2]))))
    tile = page.get_by_role("button", name="block1_convolution, filter 4 of 4").locator("canvas")
    shown = tile.evaluate("canvas => [...canvas.getContext('2d').getImageData(0, 0, 1, 1).data]")
    assert shown[:3] == picture[1, 0].tolist()


def test_many_images_and_their_csv(
    run_folder: Path, served: Served, visit: Visit, cli: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row each, in order, unreadable ones with the reason; the CSV is that of `convscope predict`, byte for byte."""
    colours = [COLOURS[place % 3] for place in range(39)]
    contents = {f"{place:02} a, b.png": photo(colour) for place, colour in enumerate(colours)}
    contents |= {"broken.png": photo("red")[:-30], "empty.png": b"", "照片.png": photo("olive")}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    page = visit(served(queue=8))  # few at once: most requests have to ask again
    choose(page, *(tmp_path / name for name in contents))
    expect(page.locator("#progress-words")).to_have_text("42 of 42 · 2 unreadable", timeout=30_000)
    expect(rows(page)).to_have_count(len(contents))
    expect(rows(page).nth(40)).to_contain_text("empty.pngunreadableempty file")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    monkeypatch.chdir(tmp_path)
    assert download.value.suggested_filename == "predictions.csv"
    assert download.value.path().read_text(encoding="utf-8") == cli("predict", run_folder, *contents).out


def test_single_rest_of_a_table_that_is_unreadable(client: httpx.Client, visit: Visit) -> None:
    """An image that is alone in its request is refused otherwise than one of many; its row says the same."""
    page = visit(client)
    choose(page, *(some_file(f"{place}.png", photo("red")) for place in range(16)), some_file("last.png", b"text"))
    reason = "not an image"
    expect(rows(page).last).to_contain_text("unreadable")
    assert client.post("/predict", content=b"text").json()["error"]["found"].endswith(reason)
    expect(rows(page).last.locator("small")).to_have_text(reason)


def test_row_opens_its_image(client: httpx.Client, visit: Visit) -> None:
    """By keyboard: reading goes on at the answer, and the row is marked. Clearing takes all away."""
    page = visit(client)
    choose(page, some_file("a.png", photo("red")), some_file("b.png", photo("blue")))
    expect(page.locator("#answer")).to_be_hidden()
    page.get_by_role("button", name="b.png").press("Enter")
    expect(label(page)).to_have_text("blue")
    expect(page.get_by_role("heading", name="Answer")).to_be_focused()
    expect(page.get_by_role("button", name="b.png")).to_have_attribute("aria-current", "true")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#answer")).to_be_hidden()
    expect(page.locator("#table")).to_be_hidden()
    expect(page.get_by_role("button", name="Choose images")).to_be_focused()


@pytest.mark.parametrize(
    "classes", [("cat", "path", "a, b"), ("label1", "class:x", 'q"\r'), ("狗", "label²", "label٣")]
)
def test_csv_is_written_as_convscope_writes_it(client: httpx.Client, visit: Visit, classes: tuple[str, ...]) -> None:
    """The same bytes for names of every kind, and for numbers of every size, halves included."""
    numbers = np.random.default_rng(0)
    values = numbers.random((500, 3)) * 10.0 ** -numbers.integers(0, 9, (500, 3))
    values[:5] = [[13 / 128, 1.0, 0.0], [0.0001, 0.00001, 1e-30], [0.5, 3 / 128, 11 / 2**10], [1 / 3] * 3, [1e-38] * 3]
    table = [Answer(f"{place}.png", "", row.astype(np.float32)) for place, row in enumerate(values)]
    table += [Answer(name, "truncated", None) for name in ('a"b.png', "a,b", "a\nb", "a\rb", " a ", "照片.png")]
    page = visit(client)
    written = page.evaluate(
        "async ([entries, classes]) => (await import('/page/csv.js')).toCsv(entries, classes)",
        [[as_entry(answer, classes) for answer in table], classes],
    )
    assert written.encode() == open_writer(Table(), classes).encode(table)


def as_entry(answer: Answer, classes: tuple[str, ...]) -> dict[str, Any]:
    """An answer as the page notes it."""
    if answer.probabilities is None:
        return {"path": answer.path, "state": "unreadable", "error": answer.reason, "prediction": None}
    scores = answer.probabilities.tolist()
    best = int(answer.probabilities.argmax())
    prediction = {
        "label": classes[best],
        "confidence": scores[best],
        "probabilities": dict(zip(classes, scores, strict=True)),
    }
    return {"path": answer.path, "state": "ok", "error": "", "prediction": prediction}


def test_hostile_names_are_text(served: Served, visit: Visit, tmp_path: Path) -> None:
    """Names of classes and files with markup in them are shown as they are; nothing in them becomes an element."""
    page = visit(served(model=write_run(tmp_path / "<b>run", HOSTILE)))
    name = "<img src=y onerror=alert(3)>.png"
    choose(page, some_file(name, photo("red")))
    expect(label(page)).to_have_text(HOSTILE[0])
    expect(page.get_by_role("list", name="Probability of each class")).to_contain_text(HOSTILE[2])
    expect(page.locator("#answer-file")).to_have_text(name)
    page.locator("#heat-class").select_option(index=2)
    expect(page.locator("#heat")).to_have_attribute("alt", f"What speaks for {HOSTILE[2]}, as heat over the image")
    choose(page, some_file(name, b"text"))
    expect(page.get_by_role("alert")).to_contain_text(f"No answer for {name}")
    expect(rows(page)).to_have_count(2)
    expect(page.locator("#model-name")).to_have_text("<b>run")
    assert page.locator("[onerror], main b, script:not([src])").count() == 0


def test_refused_file_says_why(client: httpx.Client, visit: Visit) -> None:
    """In three parts, in English, which it is marked as where the page speaks Chinese; the next image is answered."""
    page = visit(client)
    choose(page, some_file("notes.png", b"text"))
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("No answer for notes.png")
    expect(alert.get_by_role("definition")).to_have_text(
        [
            "an image that cannot be used: not an image",
            "a JPEG, PNG, WebP, BMP, GIF or TIFF file, whole",
            "send the bytes of such a file, or convert the image",
        ]
    )
    page.get_by_role("button", name="中文").click()
    expect(alert).to_contain_text("没有得到回答：notes.png")
    expect(alert.locator("[lang=en]")).to_have_count(3)
    page.get_by_role("button", name="English").click()
    choose(page, some_file("a.png", photo("red")))
    expect(label(page)).to_have_text("red")
    expect(page.locator("#refusal")).to_be_empty()


def test_file_that_is_too_large_is_not_sent(served: Served, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is known from /info."""
    monkeypatch.setattr("convscope.serving.service.MAX_BYTES", 1024**2)
    page = visit(served())
    expect(page.locator("#facts")).to_contain_text("tiny")
    choose(page, some_file("huge.png", bytes(2 * 1024**2)))
    expect(page.get_by_role("alert")).to_contain_text("a file of 2.0 MB")
    choose(page, some_file("a.png", photo("red")), some_file("huge.png", bytes(2 * 1024**2)))
    expect(rows(page).last).to_contain_text("not answereda file of 2.0 MB")
    expect(rows(page).nth(1)).to_contain_text("ok")


def test_language(client: httpx.Client, visit: Visit) -> None:
    """The browser's, with a switch that is remembered; what is shown already changes with it."""
    page = visit(client, locale="zh-CN")
    expect(page.get_by_role("heading", level=1)).to_have_text("给这个网络看一张图片")
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    page.locator("#files").set_input_files([some_file("a.png", photo("red"))])
    expect(page.locator("#answer-sure")).to_have_text("置信度 98.7 %")
    page.get_by_role("button", name="English").click()
    expect(page.locator("#answer-sure")).to_have_text("Confidence 98.7 %")
    expect(page.get_by_role("button", name="block1, channel 1 of 4")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Show this network an image")


def test_languages_say_the_same_things(client: httpx.Client, visit: Visit) -> None:
    """Every word of one is there in the other, as a text or as a function of as many values."""
    kinds = """async () => {
        const { LANGUAGES } = await import("/page/words.js");
        const kind = (word) => typeof word === "function" ? word.length
            : typeof word === "object" ? Object.entries(word).map(([name, part]) => [name, kind(part)]) : "text";
        return Object.fromEntries(Object.entries(LANGUAGES).map(([tag, { words }]) => [tag, kind(words)]));
    }"""
    languages = visit(client).evaluate(kinds)
    assert dict(languages["en"]) == dict(languages["zh"])
    assert len(languages["en"]) > 50


@pytest.mark.parametrize("width", [320, 360])
def test_narrow_screen(served: Served, visit: Visit, tmp_path: Path, width: int) -> None:
    """Nothing has to be scrolled to the side, whatever is shown and however long the names are."""
    client = served(model=write_run(tmp_path / ("run" * 50), ("x" * 150, "y " * 40, "z")))
    page = visit(client, viewport={"width": width, "height": 640})
    expect(page.locator("#filters")).to_be_visible()

    def is_narrow() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    assert is_narrow()
    choose(page, some_file("a" * 200 + ".png", photo("red")))
    expect(page.locator("#strips .tile")).to_have_count(4)
    assert is_narrow()
    choose(page, some_file("b" * 200 + ".png", photo("red")), some_file("c.png", b"text"))
    expect(page.locator("#progress-words")).to_have_text("3 of 3 · 1 unreadable")
    assert is_narrow()
    choose(page, some_file("d" * 200 + ".png", b"text"))
    expect(page.get_by_role("alert")).to_be_visible()
    assert is_narrow()


def test_key_is_asked_for(served: Served, visit: Visit) -> None:
    """Once, and again where it was wrong; then all works, and it stays in this tab only."""
    client = served(api_key="open sesame")
    page = visit(client)
    field = page.get_by_label("API key")
    field.fill("wrong")
    field.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("The service did not take that key.")
    field.fill("open sesame")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#filters")).to_be_visible()
    choose(page, some_file("a.png", photo("red")))
    expect(label(page)).to_have_text("red")
    assert page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]
    assert "sesame" not in page.url


def test_cancelled_key_is_a_refusal(served: Served, visit: Visit) -> None:
    """It says what the service wants, and can be tried again."""
    page = visit(served(api_key="open sesame"))
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("no API key, or a wrong one")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_overloaded_service_is_asked_again(client: httpx.Client, visit: Visit) -> None:
    """After the seconds that it names, saying so."""
    page = visit(client)
    expect(page.locator("#filters")).to_be_visible()
    refusal = {"error": {"found": "too much to do", "expected": "room", "fix": "wait"}}

    def refuse(route: Route) -> None:
        route.fulfill(status=503, headers={"Retry-After": "1"}, json=refusal)

    page.route("**/predict", refuse, times=1)
    choose(page, some_file("a.png", photo("red")))
    expect(page.locator("#status")).to_have_text("The service has too much to do. Asking again in 1 s (try 2 of 6).")
    expect(label(page)).to_have_text("red")


def test_service_that_is_gone(client: httpx.Client, visit: Visit) -> None:
    """It says so for one image and in the table; when it is back, trying again brings the answers."""
    page = visit(client)
    expect(page.locator("#filters")).to_be_visible()
    page.route("**/predict", lambda route: route.abort())
    choose(page, some_file("a.png", photo("red")))
    expect(page.get_by_role("alert")).to_contain_text("the service cannot be reached")
    choose(page, some_file("b.png", photo("green")), some_file("c.png", photo("blue")))
    expect(rows(page).last).to_contain_text("not answeredthe service cannot be reached")
    page.unroute("**/predict")
    page.get_by_role("button", name="Ask again for 3").click()
    expect(page.locator("#rows td:nth-child(3)")).to_have_text(["red", "green", "blue"])
    expect(page.locator("#ask-again")).to_be_hidden()


def test_camera(client: httpx.Client, visit: Visit) -> None:
    """A picture of what it films is answered, and the camera goes off."""
    page = visit(client)
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the picture").click()
    expect(page.locator("#answer-file")).to_have_text("camera-1.jpg")
    expect(label(page)).not_to_be_empty()
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.locator("#camera-view").evaluate("video => video.srcObject") is None


def test_camera_that_may_not_be_used(client: httpx.Client, visit: Visit) -> None:
    """Over plain http from another machine a page has none: it says why, and offers the device's own way."""
    without = "Object.defineProperty(Navigator.prototype, 'mediaDevices', { value: undefined })"
    page = visit(client, lambda page: page.add_init_script(without))
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("dialog")).to_contain_text("only to pages that come over https")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take or choose a picture with this device").click()
    chooser.value.set_files(some_file("a.png", photo("red")))
    expect(label(page)).to_have_text("red")


def test_model_without_an_inside_and_with_many_classes(served: Served, visit: Visit, tmp_path: Path) -> None:
    """Ten bars until all are wanted; no heat, no blocks, no filters, and why not."""
    classes = (*(f"class {place}" for place in range(97)), *COLOURS)
    page = visit(served(model=colour_model(classes).write(tmp_path / "bare.onnx")))
    choose(page, some_file("a.png", photo("blue")))
    expect(label(page)).to_have_text("blue")
    bars = page.locator("#bars li")
    expect(bars).to_have_count(10)
    page.get_by_role("button", name="Show all 100 classes").click()
    expect(bars).to_have_count(100)
    expect(page.locator("#seen-words")).to_contain_text("without its inside")
    for part in ("#heat", "#blocks", "#filters"):
        expect(page.locator(part)).to_be_hidden()


def test_card(served: Served, visit: Visit, client: httpx.Client, tmp_path: Path) -> None:
    """What the model says of itself, with the interval of its accuracy; what it does not say is left out."""
    page = visit(served(model=write_run(tmp_path / "carded", **CARD)))
    facts = page.locator("#facts > div")
    expect(facts).to_have_text(
        [
            "Classesredgreenblue",
            "Accuracy93.0 %95 % interval 88.6 % to 95.8 %on 200 validation images",
            "Data1,234 images, 1,000 of them to learn fromfingerprint 0123456789ab",
            "Networktiny",
            "Image8 × 8 pixels, colour",
            "Trained4 May 2026",
            "LicenceCC-BY-4.0",
            "convscope0.1.0",
        ]
    )
    expect(visit(client).locator("#facts dt")).to_have_text(["Classes", "Network", "Image", "convscope"])


def test_similar_images_where_the_model_has_them(client: httpx.Client, visit: Visit) -> None:
    """They are shown with their class; no model has them yet, so the answer is filled in on its way."""

    def fill_in(route: Route) -> None:
        answer = route.fetch().json()
        neighbour = {"picture": answer["image"], "label": "<b>red", "similarity": 0.9876}
        route.fulfill(json=answer | {"neighbours": [neighbour]})

    page = visit(client)
    page.route("**/explain", fill_in)
    choose(page, some_file("a.png", photo("red")))
    expect(page.get_by_role("heading", name="The most similar training images")).to_be_visible()
    expect(page.locator("#neighbour-list li")).to_have_text(["<b>redsimilarity 0.99"])


def test_csv_parses(client: httpx.Client, visit: Visit) -> None:
    """Any reader of CSV gets the names back that went in."""
    page = visit(client)
    names = ['a "b", c.png', "d.png"]
    choose(page, *(some_file(name, photo("red")) for name in names))
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    table = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8"))))
    assert [(row["path"], row["label"], row["status"]) for row in table] == [(name, "red", "ok") for name in names]
