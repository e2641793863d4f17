"""The promise: the pages generated from the code are current, and every link leads to a file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.tensorflow  # the page of public names loads each of them, `Learner` too


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    """scripts/docs.py, which is not in the package."""
    spec = importlib.util.spec_from_file_location("docs_script", ROOT / "scripts" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(docs: ModuleType, tmp_path: Path) -> Path:
    """A folder with fresh reference pages and nothing else."""
    assert docs.main(["--root", str(tmp_path)]) == 0
    return tmp_path


def test_every_page_is_current(docs: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """The project's own pages, links, commands and notebooks pass the check."""
    code = docs.main(["--check"])
    assert (code, capsys.readouterr().out) == (0, "docs: every page is up to date\n")


def test_fresh_pages_pass(docs: ModuleType, project: Path) -> None:
    """Pages that the script has just written pass its check; writing them again changes nothing."""
    before = {file: file.read_bytes() for file in project.rglob("*.md")}
    docs.main(["--root", str(project)])
    assert {file: file.read_bytes() for file in project.rglob("*.md")} == before
    assert docs.main(["--check", "--root", str(project)]) == 0


@pytest.mark.parametrize("page", ["recipe.md", "commands.md", "python.md"])
def test_stale_page_is_found(docs: ModuleType, project: Path, capsys: pytest.CaptureFixture[str], page: str) -> None:
    """A page that was edited by hand is named, with the edited line, and left unchanged."""
    file = project / "docs" / "reference" / page
    file.write_text(file.read_text(encoding="utf-8") + "by hand\n", encoding="utf-8")
    assert docs.main(["--check", "--root", str(project)]) == 1
    output = capsys.readouterr().out
    assert f"docs/reference/{page} is stale" in output
    assert "-by hand" in output
    assert output.count("is stale") == 1
    assert file.read_text(encoding="utf-8").endswith("by hand\n")


def test_missing_page_is_found(docs: ModuleType, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing page is stale too."""
    (project / "docs" / "reference" / "recipe.md").unlink()
    assert docs.main(["--check", "--root", str(project)]) == 1
    assert "docs/reference/recipe.md is stale" in capsys.readouterr().out


def test_pages_do_not_depend_on_the_machine(project: Path) -> None:
    """The pages hold no terminal codes and no path of the machine that wrote them."""
    text = "".join(file.read_text(encoding="utf-8") for file in project.rglob("*.md"))
    assert "\x1b" not in text
    assert str(ROOT) not in text
    assert str(Path.home()) == "/" or f"{Path.home()}/" not in text


def test_pages_describe_fields_commands_and_names(project: Path) -> None:
    """A field with its default, a command with its usage, a name with its signature."""
    recipe, commands, python = (
        (project / "docs" / "reference" / page).read_text(encoding="utf-8")
        for page in ("recipe.md", "commands.md", "python.md")
    )
    assert "| `channels` | `3` | " in recipe
    assert "| `sizes` | classic, pretrained, custom: `[]`; compact: `[0.5, 0.75]` | " in recipe
    assert "## convscope train\n\n```text\nUsage: convscope train [OPTIONS] " in commands
    assert "## Recipe\n\n```python\nRecipe(\n    *,\n" in python


@pytest.mark.parametrize("columns", ["40", "200"])
def test_pages_do_not_depend_on_the_terminal(
    docs: ModuleType, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str
) -> None:
    """A narrow, a wide, or a coloured terminal gives the same pages."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERMINAL_WIDTH", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert docs.main(["--check", "--root", str(project)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    ["see [this](docs/no.md)", "![figure](docs/no.png)", '<img src="docs/no.png">', "[part](gone.md#part)"],
)
def test_broken_link_is_found(docs: ModuleType, project: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """A link or an image without its file is named with its page."""
    (project / "README.md").write_text(f"# A page\n\n{text}\n", encoding="utf-8")
    assert docs.main(["--check", "--root", str(project)]) == 1
    assert "README.md links to " in capsys.readouterr().out


def test_good_links_pass(docs: ModuleType, project: Path) -> None:
    """Links to files, folders, sections and addresses pass; code is no link."""
    text = "[a](docs/reference/recipe.md#x) [b](docs) [c](#here) [d](mailto:a@b) `x[0](y)`\n\n```python\nf[0](z)\n```\n"
    (project / "README.md").write_text(text, encoding="utf-8")
    assert docs.main(["--check", "--root", str(project)]) == 0


def test_readmes_show_the_same_commands(docs: ModuleType, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Comments are translated, commands are not."""
    english, chinese = project / "README.md", project / "README.zh-CN.md"
    english.write_text("```sh\nmake demo  # a minute\n```\n", encoding="utf-8")
    chinese.write_text("```sh\nmake demo  # 一分钟\n```\n", encoding="utf-8")
    assert docs.main(["--check", "--root", str(project)]) == 0
    chinese.write_text("```sh\nmake test\n```\n", encoding="utf-8")
    assert docs.main(["--check", "--root", str(project)]) == 1
    assert "different commands" in capsys.readouterr().out


def test_stale_notebook_is_found(docs: ModuleType, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A notebook whose cells differ from those of its .py is reported."""
    jupytext = pytest.importorskip("jupytext", reason="needs the extra `notebook`")
    source = project / "notebooks" / "walk.py"
    source.parent.mkdir()
    source.write_text("# %% [markdown]\n# # A walk\n\n# %%\n1 + 1\n", encoding="utf-8")
    jupytext.write(jupytext.read(source), source.with_suffix(".ipynb"))
    assert docs.main(["--check", "--root", str(project)]) == 0
    source.write_text(source.read_text(encoding="utf-8").replace("1 + 1", "1 + 2"), encoding="utf-8")
    assert docs.main(["--check", "--root", str(project)]) == 1
    assert "walk.ipynb is stale" in capsys.readouterr().out
