"""explanation/report.py: a self-contained page with every figure, in which names are text and never markup."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from localized_shapes import draw_shape, write_shapes
from PIL import Image

from convscope.recipe.recipe import Recipe
from convscope.run import Run

pytestmark = pytest.mark.tensorflow

HOSTILE = ("<img src=x onerror=alert(1)>", "狗 & \"b\" 'c' {{ 7 * 7 }}")
HOSTILE_FILE = "<script>alert(1)<!--.png"
ALONE = {"meta", "img"}  # elements that have no end
PLAIN = {"html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "section", "div", "span", "b"}
TAGS = PLAIN | {"small", "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "img", "pre"}
CHINESE = re.compile(r"[\u4e00-\u9fff]")


class Page(HTMLParser):
    """The elements, their attributes and their text; every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.tags.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        if tag not in ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """The element that was opened last ends."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text belongs to every open element."""
        for tag in set(self.open):
            self.texts[tag][-1] += data


@pytest.fixture(scope="module")
def page(explained: Path) -> Page:
    """The report of a trained network."""
    return Page(explained.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in which classes, the run and an image are named like markup, of a run evaluated on one image."""
    from convscope.evaluation.evaluation import evaluate
    from convscope.explanation.explanation import explain
    from convscope.training.training import train

    folder = tmp_path_factory.mktemp("hostile")
    data = write_shapes(folder / "data", per_class=12, names=HOSTILE)
    recipe = Recipe(network="classic", image_size=16, filters=(2,), dense_units=4, steps=2)
    run = train(data, recipe, out=folder / "<b>run")
    Image.fromarray(draw_shape("disc", 0)).save(folder / HOSTILE_FILE)
    single = write_shapes(folder / "single", per_class=1, names=HOSTILE)
    (single / HOSTILE[0] / "disc000.png").unlink()
    evaluate(run.path, single, out=run.path)
    return explain(run.path, [folder / HOSTILE_FILE])


def test_page_is_self_contained(explained: Path, page: Page) -> None:
    """No URL, no script, no frame, no external style sheet: every picture is embedded."""
    assert {tag for tag, _ in page.tags} <= TAGS
    for tag, attributes in page.tags:
        assert set(attributes) <= {
            "lang",
            "charset",
            "name",
            "content",
            "http-equiv",
            "class",
            "scope",
            "alt",
            "src",
        } | {"aria-label"}
        assert tag == "img" or "src" not in attributes
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/png;base64,")
    text = re.sub(r"base64,[^\"]*", "", explained.read_text(encoding="utf-8"))
    assert "://" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_content_security_policy_comes_first(explained: Path) -> None:
    """Before anything that a browser could load: nothing but embedded pictures and styles is allowed."""
    head = explained.read_text(encoding="utf-8").partition("<title>")[0]
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', head)
    assert policy is not None
    assert policy[1].split("; ") == ["default-src 'none'", "img-src data:", "style-src 'unsafe-inline'"]
    assert head.startswith("<!doctype html>")
    assert '<meta charset="utf-8">' in head


def test_every_figure_is_embedded(explained: Path, page: Page) -> None:
    """The pictures are the PNG files of the folder `figures`, each once, each with an `alt` text."""
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    contents = [base64.b64decode((image["src"] or "").partition(",")[2]) for image in pictures]
    files = [file.read_bytes() for file in (explained.parent / "figures").iterdir()]
    assert sorted(contents) == sorted(files)
    assert all(image["alt"] for image in pictures)


def test_headings_are_in_both_languages(page: Page) -> None:
    """Each section and each figure has its Chinese title beside the English one."""
    for tag in ("h2", "figcaption", "th"):
        for text in page.texts[tag]:
            assert text.isspace() is False
            assert CHINESE.search(text)
            assert re.search("[A-Za-z]", text)


def test_text_has_the_values_of_metrics_json(trained: Run, explained: Path, page: Page) -> None:
    """Accuracy with its interval, log loss, count, baseline and a row for each class; and the recipe."""
    facts = json.loads((trained.path / "metrics.json").read_text())
    accuracy, loss = facts["accuracy"], facts["log_loss"]
    cards = next(text for text in page.texts["section"])
    for part in (
        f"{accuracy['value']:.1%}",
        f"95 % interval 置信区间 {accuracy['low']:.1%} – {accuracy['high']:.1%}",
        f"{loss['value']:.3f}",
        f"{facts['count']:,}",
        f"always “{facts['majority_baseline']['class']}”",
    ):
        assert part in cards
    rows = page.texts["tr"][1:]
    for row, (name, scores) in zip(rows, facts["classes"].items(), strict=True):
        assert row.strip().startswith(name)
        assert f"{scores['recall']['value']:.1%}" in row
        assert row.strip().endswith(str(scores["support"]))
    assert page.texts["pre"] == [trained.recipe.to_toml()]
    assert explained.stat().st_size < 5e6


def test_names_are_escaped(hostile: Path) -> None:
    """Classes, run and files that are named like markup are text, and add no element."""
    page = Page(hostile.read_text(encoding="utf-8"))
    assert {tag for tag, _ in page.tags} <= TAGS
    assert all((attributes["src"] or "").startswith("data:") for tag, attributes in page.tags if tag == "img")
    assert page.texts["h1"] == ["<b>run"]
    names = [row.strip().partition("\n")[0].strip() for row in page.texts["tr"][1:]]
    assert names == sorted(HOSTILE)
    assert any(text.startswith(f"Image {HOSTILE_FILE}") for text in page.texts["h2"])
    assert any(name in text for text in page.texts["figcaption"] for name in HOSTILE)


def test_undefined_values_are_dashes(hostile: Path) -> None:
    """One image has no upper bound of the log loss, and a class without images has no recall."""
    page = Page(hostile.read_text(encoding="utf-8"))
    cards = page.texts["section"][0]
    assert re.search(r"log loss 对数损失\d\.\d{3}\s+95 % interval 置信区间 0\.000 – –", cards)
    assert "– " in page.texts["tr"][1]
