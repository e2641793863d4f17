"""The pages that are made from the code, and the checks that all pages are true.

python scripts/docs.py           writes docs/reference/
python scripts/docs.py --check   changes nothing; says what is not true, and ends with 1 if anything is not
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import tables

import convscope
from convscope.recipe.defaults import by_kind
from convscope.recipe.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
NOTE = "<!-- Made from the code by scripts/docs.py: change the code, then run it. -->\n"
WIDTH = 80
MAX_COLUMNS = 100
DIFF_LINES = 20
SHELL_BLOCK = re.compile(r"^```(?:sh|bash|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def main(arguments: list[str] | None = None) -> int:
    """Write the reference pages, or check every page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; end with 1 if a page is not true")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    options = parser.parse_args(arguments)
    if not options.check:
        write_pages(options.root)
        return 0
    problems = list(find_problems(options.root))
    print("\n".join(problems) if problems else "docs: every page is true")
    return 1 if problems else 0


def write_pages(root: Path) -> None:
    """Write every page that is made from the code."""
    for place, text in made_pages(root):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text, encoding="utf-8")


def find_problems(root: Path) -> Iterator[str]:
    """Everything in the pages below `root` that is not true."""
    yield from find_stale_pages(root)
    yield from find_broken_links(root)
    yield from find_untranslated_commands(root)
    yield from find_stale_notebooks(root)
    yield from find_long_lines(root)


def made_pages(root: Path) -> Iterator[tuple[str, str]]:
    """Every page that is made from the code or has tables made from figures, as it should be now."""
    for place, make in PAGES.items():
        yield place, make()
    for name in tables.PAGES:
        if (root / name).exists():
            yield name, tables.fill(root, name)


# ---- pages made from the code


def recipe_page() -> str:
    """Every choice of a recipe, as a table."""
    cells = [(each.name, _default(each), _cell(each.metadata["help"])) for each in fields(Recipe)]
    rows = "".join(f"| `{name}` | {default} | {meaning} |\n" for name, default, meaning in cells)
    return (
        f"# The recipe\n\n{NOTE}\n"
        "Every choice that shapes a model. Write those that you want to change into a TOML file and give it to\n"
        "`convscope train DATA --recipe FILE`, or set one on the command line: `image_size` is `--image-size`.\n"
        "The recipe that a model was trained with is `recipe.toml` in its run folder.\n\n"
        f"| name | default | meaning |\n| --- | --- | --- |\n{rows}"
    )


def commands_page() -> str:
    """The help of every command, as a terminal of 80 columns shows it."""
    import typer.main

    from convscope.cli.commands import app

    helps = _helps("convscope", typer.main.get_command(app))
    sections = "".join(f"\n## {name}\n\n```text\n{text}\n```\n" for name, text in helps)
    return f"# The commands\n\n{NOTE}{sections}"


def python_page() -> str:
    """Every public name: how it is called, and what it says of itself."""
    names = [name for name in convscope.__all__ if name != "__version__"]
    sections = "".join(_section(name, getattr(convscope, name)) for name in names)
    return f"# In Python\n\n{NOTE}\n```python\nimport convscope\n```\n{sections}"


PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/recipe.md": recipe_page,
    "docs/reference/commands.md": commands_page,
    "docs/reference/python.md": python_page,
}


def _default(choice: Field[Any]) -> str:
    """A field's default, or those of each kind of network."""
    values = {kind: _toml(value) for kind, value in by_kind(choice.name).items()}
    if not values:
        return _toml(choice.metadata["default"])
    different = dict.fromkeys(values.values())
    if len(different) == 1:
        return next(iter(different))
    return "; ".join(f"{', '.join(kind for kind in values if values[kind] == each)}: {each}" for each in different)


def _toml(value: Any) -> str:
    """A default as it would stand in recipe.toml; unset ones do not stand there."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _helps(name: str, command: Any, parent: Any = None) -> Iterator[tuple[str, str]]:
    """(name, help) of a command, then of the commands below it; plain text, whatever the terminal."""
    command.rich_markup_mode = None
    settings = {**command.context_settings, "terminal_width": WIDTH}
    context = command.context_class(command, info_name=name.split()[-1], parent=parent, **settings)
    yield name, "\n".join(line.rstrip() for line in command.get_help(context).strip().splitlines())
    for word, each in getattr(command, "commands", {}).items():
        if not each.hidden:
            yield from _helps(f"{name} {word}", each, context)


def _section(name: str, thing: Any) -> str:
    """A heading, the call, the docstring, and for a class its public methods."""
    parts = [f"\n## {name}\n", _call(name, thing), _docstring(thing)]
    if inspect.isclass(thing):
        parts += [_member(name, word, each) for word, each in vars(thing).items() if not word.startswith("_")]
    return "\n".join(part for part in parts if part)


def _member(owner: str, word: str, thing: Any) -> str:
    """One method or property of a class; its plain fields stand in the call already."""
    if isinstance(thing, property):
        kind = thing.fget.__annotations__.get("return", "Any")
        return f"### {owner}.{word}\n\n```python\n{word}: {kind}\n```\n\n{_docstring(thing.fget)}".rstrip() + "\n"
    function = getattr(thing, "__func__", thing)  # class methods and static methods wrap theirs
    if not inspect.isfunction(function):
        return ""
    return f"### {owner}.{word}\n\n{_call(word, function)}\n{_docstring(function)}"


class _Bare(str):
    """Text that a signature shows as it is, without quotes: annotations are text in these modules."""

    def __repr__(self) -> str:
        return str(self)


def _call(name: str, thing: Any) -> str:
    """The call as Python code, one parameter a line where it is long."""
    if _is_plain_error(thing):
        return ""
    signature = inspect.signature(thing)
    parameters = [_shown(each) for each in signature.parameters.values() if each.name not in ("self", "cls")]
    returns = "" if inspect.isclass(thing) else _returns(signature.return_annotation)
    line = f"{name}{signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)}{returns}"
    if len(line) > WIDTH:
        line = f"{name}(\n{_one_a_line(parameters)}){returns}"
    return f"```python\n{line}\n```\n"


def _is_plain_error(thing: Any) -> bool:
    """Whether it is an error that is called as its base is."""
    return inspect.isclass(thing) and issubclass(thing, BaseException) and "__init__" not in vars(thing)


def _shown(parameter: inspect.Parameter) -> inspect.Parameter:
    if isinstance(parameter.annotation, str):
        return parameter.replace(annotation=_Bare(parameter.annotation))
    return parameter


def _returns(annotation: Any) -> str:
    if annotation is inspect.Signature.empty:
        return ""
    return f" -> {annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)}"


def _one_a_line(parameters: list[inspect.Parameter]) -> str:
    """The parameters of a long call, with the star before those that go by keyword."""
    words = [str(each) for each in parameters]
    kinds = [each.kind for each in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        words.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    return "".join(f"    {word},\n" for word in words)


def _docstring(thing: Any) -> str:
    """The first paragraph as prose, the rest as it is laid out in the code."""
    text = inspect.getdoc(thing) or ""
    if is_dataclass(thing) and text.startswith(f"{getattr(thing, '__name__', '')}("):
        return ""  # written by `dataclass`: the call again
    first, _, rest = text.partition("\n\n")
    return first + "\n" + (f"\n```text\n{rest.strip()}\n```\n" if rest.strip() else "") if text else ""


# ---- checks


def find_stale_pages(root: Path) -> Iterator[str]:
    """The pages that are not what the code would make now."""
    for place, text in made_pages(root):
        file = root / place
        old = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        diff = list(difflib.unified_diff(old, text.splitlines(), "as it is", "as it should be", lineterm="", n=1))
        if diff:
            more = [f"... and {len(diff) - DIFF_LINES} lines more"] if len(diff) > DIFF_LINES else []
            changes = "\n".join(f"    {line}" for line in diff[:DIFF_LINES] + more)
            yield f"{place} is stale; run python scripts/docs.py\n{changes}"


def find_broken_links(root: Path) -> Iterator[str]:
    """The relative links and images that lead to no file."""
    for page in _pages_by_hand(root):
        for target in _links(page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                yield f"{page.relative_to(root)} links to {target}, which does not exist"


def find_untranslated_commands(root: Path) -> Iterator[str]:
    """Where the two READMEs tell the reader to type different things."""
    english, chinese = root / "README.md", root / "README.zh-CN.md"
    if not (english.exists() and chinese.exists()):
        return
    shown, translated = _commands(english), _commands(chinese)
    if diff := list(difflib.unified_diff(shown, translated, english.name, chinese.name, lineterm="", n=0)):
        yield "README.md and README.zh-CN.md show different commands\n" + "\n".join(f"    {line}" for line in diff)


def find_stale_notebooks(root: Path) -> Iterator[str]:
    """The notebooks whose cells are not those of the .py that they are made from."""
    for source in sorted((root / "notebooks").glob("*.py")):
        notebook = source.with_suffix(".ipynb")
        if not notebook.exists() or _cells(notebook) != _cells(source):
            place = source.relative_to(root)
            yield f"{notebook.relative_to(root)} is stale; run jupytext --to ipynb --update {place}"


def find_long_lines(root: Path) -> Iterator[str]:
    """Lines of prose over 100 columns, but for tables, code, images, and long links."""
    for page in (*_pages_by_hand(root), *root.glob("CHANGELOG.md")):
        text = page.read_text(encoding="utf-8")
        if NOTE.strip() in text:  # made from the code
            continue
        is_code = False
        for number, line in enumerate(text.splitlines(), start=1):
            is_code ^= line.startswith("```")
            words = line.split()
            if not is_code and not line.startswith(("|", "![")) and len(words) > 2 and _num_columns(line) > MAX_COLUMNS:
                yield f"{page.relative_to(root)}:{number} has {_num_columns(line)} columns, more than {MAX_COLUMNS}"


def _num_columns(line: str) -> int:
    """The columns of a line on a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def _pages_by_hand(root: Path) -> list[Path]:
    patterns = ("README*.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/**/*.md")
    return sorted(page for pattern in patterns for page in root.glob(pattern))


def _links(text: str) -> Iterator[str]:
    """The relative targets of a page's links and images, without their fragments."""
    prose = re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    targets = re.findall(r"\]\(<?([^)\s>]+)", prose) + re.findall(r"(?:src|href)=\"([^\"]+)\"", prose)
    for target in targets:
        path = target.partition("#")[0]
        if path and not re.match(r"[a-z]+:", path):
            yield path


def _commands(page: Path) -> list[str]:
    """The lines to type: those of the shell blocks, without comments, which are translated."""
    blocks = SHELL_BLOCK.findall(page.read_text(encoding="utf-8"))
    lines = [re.sub(r"(^|\s+)#.*", "", line).rstrip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def _cells(file: Path) -> list[tuple[str, str]]:
    import jupytext

    return [(cell.cell_type, cell.source) for cell in jupytext.read(file).cells]


if __name__ == "__main__":
    sys.exit(main())
