"""The files of the page, and nothing else, are served."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from convscope.serving import pages


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the page, which also contains a folder and a file of another type."""
    folder = tmp_path / "page"
    (folder / "folder.js").mkdir(parents=True)
    (folder / "index.html").write_text("<p>é</p>", encoding="utf-8")
    (folder / "main.js").write_text("1")
    (folder / "secret.txt").write_text("secret")
    (tmp_path / "outside.js").write_text("secret")
    monkeypatch.setattr(pages, "PAGE", folder)
    return folder


@pytest.mark.usefixtures("page")
def test_files_of_the_page(client: httpx.Client) -> None:
    """`/` is index.html; each file has its media type, and a browser revalidates it."""
    index, script = client.get("/"), client.get("/page/main.js")
    assert (index.status_code, index.text) == (200, "<p>é</p>")
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    assert (script.text, script.headers["content-type"]) == ("1", "text/javascript; charset=utf-8")
    assert index.headers["cache-control"] == "no-cache"


@pytest.mark.usefixtures("page")
@pytest.mark.parametrize(
    "name",
    ["secret.txt", "folder.js", "none.js", "..%2Foutside.js", "%2e%2e/outside.js", "main.js%00", ".", "%2Fmain.js"],
)
def test_nothing_else_is_read(client: httpx.Client, name: str) -> None:
    """Neither other types, nor folders, nor files outside."""
    assert client.get(f"/page/{name}").status_code == 404


def test_installed_page(client: httpx.Client) -> None:
    """The package contains the complete page; each of its files has the security headers."""
    index = client.get("/")
    assert "</html>" in index.text
    for file in pages.PAGE.iterdir():
        assert client.get(f"/page/{file.name}").content == file.read_bytes()
    assert "default-src 'self'" in index.headers["content-security-policy"]
    assert "unsafe" not in index.headers["content-security-policy"]
