"""Generate the reference pages from the code and the tables from JSON files, or check that all pages are up to date.

python scripts/docs.py           writes docs/reference/, and the tables in the pages of scripts/tables.py
python scripts/docs.py --check   changes nothing; prints what is out of date or broken, and exits with 1 if anything is
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
    """Write the generated pages, or check every page; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a page is out of date")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    options = parser.parse_args(arguments)
    if not options.check:
        write_pages(options.root)
        return 0
    problems = list(find_problems(options.root))
    print("\n".join(problems) if problems else "docs: every page is up to date")
    return 1 if problems else 0


def write_pages(root: Path) -> None:
    """Write every generated page."""
    for name, text in generated_pages(root):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def find_problems(root: Path) -> Iterator[str]:
    """Everything in the pages below `root` that is out of date or broken, as text."""
    yield from find_stale_pages(root)
    yield from find_broken_links(root)
    yield from find_untranslated_commands(root)
    yield from find_stale_notebooks(root)
    yield from find_long_lines(root)


def generated_pages(root: Path) -> Iterator[tuple[str, str]]:
    """(path, up-to-date text) of every page that is generated from the code or has generated tables."""
    for name, generate in PAGES.items():
        yield name, generate()
    for name in tables.PAGES:
        if (root / name).exists():
            yield name, tables.fill(root, name)


# ---- pages generated from the code


def recipe_page() -> str:
    """Every choice of a recipe, as a table."""
    cells = [(choice.name, _default(choice), _cell(choice.metadata["help"])) for choice in fields(Recipe)]
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
    """Every public name: its signature and its docstring."""
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
    kinds_by_value: dict[str, list[str]] = {}
    for kind, value in values.items():
        kinds_by_value.setdefault(value, []).append(kind)
    if len(kinds_by_value) == 1:
        return next(iter(kinds_by_value))
    return "; ".join(f"{', '.join(kinds)}: {value}" for value, kinds in kinds_by_value.items())


def _toml(value: Any) -> str:
    """A default as recipe.toml has it; one that is not set is not in the file."""
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
    """(name, help) of a command and of its sub-commands; plain text, whatever the terminal."""
    command.rich_markup_mode = None
    settings = {**command.context_settings, "terminal_width": WIDTH}
    context = command.context_class(command, info_name=name.split()[-1], parent=parent, **settings)
    yield name, "\n".join(line.rstrip() for line in command.get_help(context).strip().splitlines())
    for subname, subcommand in getattr(command, "commands", {}).items():
        if not subcommand.hidden:
            yield from _helps(f"{name} {subname}", subcommand, context)


def _section(name: str, value: Any) -> str:
    """A heading, the signature, the docstring, and for a class its public methods and properties."""
    blocks = [f"\n## {name}\n", _call(name, value), _docstring(value)]
    if inspect.isclass(value):
        members = {member: attribute for member, attribute in vars(value).items() if not member.startswith("_")}
        blocks += [_member(name, member, attribute) for member, attribute in members.items()]
    return "\n".join(block for block in blocks if block)


def _member(class_name: str, name: str, attribute: Any) -> str:
    """A method or property of a class; nothing for a field, which the signature of the class has."""
    title = f"### {class_name}.{name}\n"
    if isinstance(attribute, property):
        annotation = attribute.fget.__annotations__.get("return", "Any")
        return f"{title}\n```python\n{name}: {annotation}\n```\n\n{_docstring(attribute.fget)}".rstrip() + "\n"
    function = getattr(attribute, "__func__", attribute)  # of class methods and static methods
    if not inspect.isfunction(function):
        return ""
    return f"{title}\n{_call(name, function)}\n{_docstring(function)}"


class _Unquoted(str):
    """Text that a signature shows without quotes: annotations are text in these modules."""

    def __repr__(self) -> str:
        return str(self)


def _call(name: str, value: Any) -> str:
    """The signature as Python code, one parameter per line where it is long."""
    if _inherits_init(value):
        return ""
    signature = inspect.signature(value)
    parameters = [
        _without_quotes(parameter)
        for parameter in signature.parameters.values()
        if parameter.name not in ("self", "cls")
    ]
    returns = "" if inspect.isclass(value) else _returns(signature.return_annotation)
    line = f"{name}{signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)}{returns}"
    if len(line) > WIDTH:
        line = f"{name}(\n{_one_per_line(parameters)}){returns}"
    return f"```python\n{line}\n```\n"


def _inherits_init(value: Any) -> bool:
    """Whether it is an error with the signature of its base class."""
    return inspect.isclass(value) and issubclass(value, BaseException) and "__init__" not in vars(value)


def _without_quotes(parameter: inspect.Parameter) -> inspect.Parameter:
    if isinstance(parameter.annotation, str):
        return parameter.replace(annotation=_Unquoted(parameter.annotation))
    return parameter


def _returns(annotation: Any) -> str:
    if annotation is inspect.Signature.empty:
        return ""
    return f" -> {annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)}"


def _one_per_line(parameters: list[inspect.Parameter]) -> str:
    """The parameters of a long signature, with the star before those that are keyword-only."""
    lines = [str(parameter) for parameter in parameters]
    kinds = [parameter.kind for parameter in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        lines.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    return "".join(f"    {line},\n" for line in lines)


def _docstring(value: Any) -> str:
    """The first paragraph as prose, the rest preformatted."""
    text = inspect.getdoc(value) or ""
    if is_dataclass(value) and text.startswith(f"{getattr(value, '__name__', '')}("):
        return ""  # written by `dataclass`: the signature again
    first, _, rest = text.partition("\n\n")
    return first + "\n" + (f"\n```text\n{rest.strip()}\n```\n" if rest.strip() else "") if text else ""


# ---- checks


def find_stale_pages(root: Path) -> Iterator[str]:
    """The generated pages that differ from what the code and the JSON files give now."""
    for name, text in generated_pages(root):
        file = root / name
        old = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        diff = list(difflib.unified_diff(old, text.splitlines(), "current", "expected", lineterm="", n=1))
        if diff:
            rest = [f"... and {len(diff) - DIFF_LINES} lines more"] if len(diff) > DIFF_LINES else []
            changes = "\n".join(f"    {line}" for line in diff[:DIFF_LINES] + rest)
            yield f"{name} is stale; run python scripts/docs.py\n{changes}"


def find_broken_links(root: Path) -> Iterator[str]:
    """The relative links and images whose file does not exist."""
    for page in _all_pages(root):
        for target in _links(page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                yield f"{page.relative_to(root)} links to {target}, which does not exist"


def find_untranslated_commands(root: Path) -> Iterator[str]:
    """Differences between the commands of the two READMEs."""
    english, chinese = root / "README.md", root / "README.zh-CN.md"
    if not (english.exists() and chinese.exists()):
        return
    commands = _commands(english), _commands(chinese)
    if diff := list(difflib.unified_diff(*commands, english.name, chinese.name, lineterm="", n=0)):
        yield "README.md and README.zh-CN.md show different commands\n" + "\n".join(f"    {line}" for line in diff)


def find_stale_notebooks(root: Path) -> Iterator[str]:
    """The notebooks whose cells differ from those of their .py."""
    for source in sorted((root / "notebooks").glob("*.py")):
        notebook = source.with_suffix(".ipynb")
        if not notebook.exists() or _cells(notebook) != _cells(source):
            command = f"jupytext --to ipynb --update {source.relative_to(root)}"
            yield f"{notebook.relative_to(root)} is stale; run {command}"


def find_long_lines(root: Path) -> Iterator[str]:
    """Lines of prose over 100 columns, but for tables, code, images, and long links."""
    for page in (*_all_pages(root), *root.glob("CHANGELOG.md")):
        text = page.read_text(encoding="utf-8")
        if NOTE.strip() in text:  # generated from the code
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


def _all_pages(root: Path) -> list[Path]:
    patterns = ("README*.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/**/*.md")
    return sorted(page for pattern in patterns for page in root.glob(pattern))


def _links(text: str) -> Iterator[str]:
    """The relative targets of a page's links and images, without fragments."""
    prose = re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    targets = re.findall(r"\]\(<?([^)\s>]+)", prose) + re.findall(r"(?:src|href)=\"([^\"]+)\"", prose)
    for target in targets:
        path = target.partition("#")[0]
        if path and not re.match(r"[a-z]+:", path):
            yield path


def _commands(page: Path) -> list[str]:
    """The lines of the shell blocks, without comments, which are translated."""
    blocks = SHELL_BLOCK.findall(page.read_text(encoding="utf-8"))
    lines = [re.sub(r"(^|\s+)#.*", "", line).rstrip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def _cells(file: Path) -> list[tuple[str, str]]:
    import jupytext

    return [(cell.cell_type, cell.source) for cell in jupytext.read(file).cells]


if __name__ == "__main__":
    sys.exit(main())
