"""How a command ends: each kind of exception has its message on standard error and its exit code.

ConvscopeError              three lines, found, expected and fix                  2
OSError of a place          the same (`describe_os_error` has the rule)           2
Interrupted                 three lines, stopped, saved and resume                130
KeyboardInterrupt           `stopped`                                             130
nobody reads the output     nothing, as in `convscope ... | head`                 0
any other                   one line: a bug of convscope; its traceback in a file 1
"""

from __future__ import annotations

import errno
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

import convscope
from convscope.cli.display import print_message, show_messages
from convscope.cli.exit_codes import BUG, ERROR, STOPPED
from convscope.cli.flags import command_line, name_flags
from convscope.cli.output import OutputError, marked_output_errors
from convscope.errors import ConvscopeError, Interrupted, optional_imports
from convscope.formatting import printable, printable_lines

UsageError: type[Any] = typer.BadParameter.__bases__[0]  # which Typer does not export
# a full or failing disk is never a bug, whatever was being written
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
# what may be wrong with a path that the user chose
PATH_ERRORS = {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


class Commands(TyperGroup):
    """The commands. Errors of usage are printed by Typer; names in them cannot disturb the terminal."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            error.message = printable_lines(error.message)
            raise


class Command(TyperCommand):
    """A command that shows messages and progress while it runs, and ends as in the table above."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with (
                marked_output_errors(),
                show_messages(partial(name_flags, command=self)),
                optional_imports(command=_name(ctx)),
            ):
                result = super().invoke(ctx)
                sys.stdout.flush()
        except (typer.Exit, typer.Abort, UsageError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            raise typer.Exit(report_end(error, ctx)) from None
        return result


def report_end(error: BaseException, context: Any) -> int:
    """Print how a command ended.

    Args:
        error: what it raised.
        context: the Typer context of the command.

    Returns: the exit code.
    """
    match error:
        case KeyboardInterrupt():
            print_message("stopped")
            return STOPPED
        case Interrupted():
            resume = command_line(context, error.resume)
            _print_lines({"stopped": error.position, "saved": error.saved, "resume": resume})
            return STOPPED
        case OutputError() if isinstance(error.error, BrokenPipeError):
            return 0
        case OutputError():
            shown: ConvscopeError | None = _cannot_write("standard output", error.error)
        case BrokenPipeError() if any(place.is_fifo() for place in _places(context.params)):
            return 0  # a named pipe at --out whose reader has seen enough
        case OSError():
            shown = describe_os_error(error, _places(context.params))
        case _:
            shown = error if isinstance(error, ConvscopeError) else None
    if shown is None:
        _report_bug(error, show_traceback=context.find_root().params.get("traceback", False))
        return BUG
    parts = {"found": shown.found, "expected": shown.expected, "fix": shown.fix}
    _print_lines({name: name_flags(text, context.command) for name, text in parts.items()})
    return ERROR


def describe_os_error(error: OSError, places: Iterable[Path]) -> ConvscopeError | None:
    """An error of the operating system that is not a bug, for the user; None if it is one.

    It is not a bug if the disk is full or fails; if one of `places` or a folder above it does not exist; or if the
    system refuses one of these, something in a place, or something beside it under its name, for a reason that belongs
    to the path: permissions, a read-only disk, a file in place of a folder or the reverse, a name that is too long. A
    file that is missing in a place is a bug: the code that opens it knows what it is for.

    Args:
        error: what a command raised.
        places: where the user had the command read and write.
    """
    if error.errno in DISK_ERRORS:
        return _cannot_write(error.filename or "a file", error)
    if isinstance(error.filename, (str, bytes)):
        path = Path(os.path.realpath(os.fsdecode(error.filename)))
        for place in (Path(os.path.realpath(place)) for place in places):
            is_above = place.is_relative_to(path)
            if (error.errno == errno.ENOENT and is_above) or (
                error.errno in PATH_ERRORS and (is_above or _is_named_after(path, place))
            ):
                return _cannot_write(error.filename, error)
    return None


def _is_named_after(path: Path, place: Path) -> bool:
    """Whether `path` lies in `place`, or beside it as `.NAME.parts` and `NAME.json` do."""
    if not path.is_relative_to(place.parent):
        return False
    return path.relative_to(place.parent).parts[0].lstrip(".").startswith(place.name.lstrip("."))


def _cannot_write(path: str | bytes, error: OSError) -> ConvscopeError:
    return ConvscopeError(
        found=f"{os.fsdecode(path)}: {error.strerror or error}",
        expected="a place that convscope may read and write, with free space",
        fix="check the path, its permissions, and the free space of the disk",
    )


def _places(parameters: Mapping[str, Any]) -> Iterator[Path]:
    """The paths that a command was given, and those that it uses by default."""
    from convscope.datasets.cache import cache_folder
    from convscope.run import RUNS

    yield from (RUNS, cache_folder())
    for value in parameters.values():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, Path) or (isinstance(item, str) and isinstance(value, list)):
                yield Path(item)


def _print_lines(lines: Mapping[str, str]) -> None:
    for name, text in lines.items():
        print_message(f"{name + ':':<10}{printable(text)}")


def _report_bug(error: BaseException, *, show_traceback: bool) -> None:
    """Print one line for an unexpected error, and its traceback, or where that is."""
    text = "".join(traceback.format_exception(error))
    first_line, *_ = [*str(error).splitlines(), ""]
    message = f"this is a bug in convscope: {type(error).__name__}: {first_line}".removesuffix(": ")
    file = None if show_traceback else _save_traceback(text)
    if file is None:
        print_message(text.rstrip())
    print_message(printable(message if file is None else f"{message}; the traceback is in {file}"))


def _save_traceback(text: str) -> Path | None:
    """Write a traceback, after the versions and the command, to a new temporary file; None if that fails."""
    versions = f"convscope {convscope.__version__}, Python {platform.python_version()}, {platform.platform()}"
    try:
        descriptor, name = tempfile.mkstemp(prefix="convscope-traceback-", suffix=".txt")
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{versions}\n{sys.argv}\n\n{text}")
    except OSError:
        return None
    return Path(name)


def _name(context: Any) -> str:
    """`convscope train`."""
    return f"convscope {context.info_name}"
