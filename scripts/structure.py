"""The bounds of the house that no linter knows: lengths of modules and functions, and the three parts of every error.

python scripts/structure.py           says what is out of bounds, and ends with 1 if anything is
python scripts/structure.py --table   also prints the rooms: modules, lines, the longest module and function of each
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "convscope"
MAX_MODULE_LINES = 300  # of code: blank lines, comments and docstrings are not counted
MAX_FUNCTION_LINES = 60  # docstring included
ERROR_PARTS = {"found", "expected", "fix"}
CALLER_ERRORS = {"AttributeError", "EOFError", "KeyError", "OSError", "RuntimeError", "TypeError", "ValueError"}
ENDINGS = {"BadParameter", "Exit", "ImageRefused", "Interrupted", "KeyboardInterrupt"}
SILENT_TOKENS = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def main(arguments: list[str] | None = None) -> int:
    """Print what is out of bounds; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=SOURCE, help="the package's folder")
    parser.add_argument("--table", action="store_true", help="also print the size of each room")
    options = parser.parse_args(arguments)
    problems = list(find_problems(options.source))
    if options.table:
        print(room_table(options.source))
    print("\n".join(problems) if problems else "structure: everything within its bounds")
    return 1 if problems else 0


def find_problems(source: Path) -> Iterator[str]:
    """Everything below `source` that is out of bounds, as `file:line: what is wrong`."""
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in sorted(source.rglob("*.py"))}
    errors = _error_names(trees[source / "errors.py"])
    internal = {name for tree in trees.values() for name in _exception_names(tree)}
    made: set[str] = set()
    for file, tree in trees.items():
        name = file.relative_to(source)
        if (lines := count_code_lines(file)) > MAX_MODULE_LINES:
            yield f"{name}:1: {lines} lines of code, more than {MAX_MODULE_LINES}"
        if file.name == "__init__.py" and name.parent != Path() and lines:
            yield f"{name}:1: a package's __init__ is a docstring; code in it would stand in no layer"
        for function in _functions(tree):
            if (length := _length(function)) > MAX_FUNCTION_LINES:
                yield f"{name}:{function.lineno}: {function.name} has {length} lines, more than {MAX_FUNCTION_LINES}"
        for call in _error_calls(tree, errors):
            made.add(call.func.id)  # type: ignore[attr-defined]
            if problem := _wrong_parts(call):
                yield f"{name}:{call.lineno}: {problem}"
        yield from (f"{name}:{problem}" for problem in _foreign_raises(tree, errors | internal))
    yield from (f"errors.py:1: nothing raises {name}" for name in sorted(errors - made))


def count_code_lines(file: Path) -> int:
    """The lines of a module that hold code."""
    text = file.read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT_TOKENS:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
            lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def room_table(source: Path) -> str:
    """The rooms as a Markdown table: modules, lines, the longest module and the longest function."""
    rooms: dict[str, list[Path]] = {}
    for file in sorted(source.rglob("*.py")):
        parts = file.relative_to(source).parts
        rooms.setdefault(parts[0].removesuffix(".py") if len(parts) == 1 else f"{parts[0]}/", []).append(file)
    rows = ["| room | modules | lines | longest module | longest function |", "| --- | ---: | ---: | --- | --- |"]
    for room, files in sorted(rooms.items()):
        lengths = {file.stem: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
        functions = {
            function.name: _length(function)
            for file in files
            for function in _functions(ast.parse(file.read_text(encoding="utf-8")))
        }
        longest = max(lengths, key=lengths.__getitem__)
        deepest = max(functions, key=functions.__getitem__, default="")
        function = f"{deepest} {functions[deepest]}" if functions else ""
        rows.append(f"| {room} | {len(files)} | {sum(lengths.values())} | {longest} {lengths[longest]} | {function} |")
    return "\n".join(rows)


def _functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _length(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def _error_names(tree: ast.Module) -> set[str]:
    """ConvscopeError and the classes below it."""
    names = {"ConvscopeError"}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and names & {base.id for base in node.bases if isinstance(base, ast.Name)}:
            names.add(node.name)
    return names


def _exception_names(tree: ast.Module) -> set[str]:
    """The exceptions that a module defines for itself and its callers."""
    bases = {"Exception", "RuntimeError", "OSError", "ValueError"}
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef) and bases & {base.id for base in node.bases if isinstance(base, ast.Name)}
    }


def _error_calls(tree: ast.Module, errors: set[str]) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in errors:
            yield node


def _wrong_parts(call: ast.Call) -> str:
    """What is wrong with the parts of an error; "" where nothing is."""
    name = call.func.id  # type: ignore[attr-defined]
    expected = {"command", "module", "extra"} if name == "MissingExtra" else ERROR_PARTS
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if given.keys() != expected or call.args:
        return f"{name} is made of {', '.join(sorted(expected))}, by name"
    empty = [part for part, value in given.items() if isinstance(value, ast.Constant) and not str(value.value).strip()]
    return f"{name} with an empty {empty[0]}" if empty else ""


def _foreign_raises(tree: ast.Module, errors: set[str]) -> Iterator[str]:
    """What is raised that is neither of the tree nor says that a caller in Python broke its contract."""
    allowed = errors | CALLER_ERRORS | ENDINGS
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            made = node.exc.func
            name = made.attr if isinstance(made, ast.Attribute) else getattr(made, "id", "")
            is_class = name[:1].isupper()  # else a function or a variable that holds one of them
            if is_class and name not in allowed:
                yield f"{node.lineno}: raises {name}, which is none of convscope's errors"


if __name__ == "__main__":
    sys.exit(main())
