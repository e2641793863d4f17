"""How a command may end: done, stopped, unread, or with an error in three lines; each has its exit code."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from convscope.cli.display import error_console, show_messages
from convscope.errors import ConvscopeError, Interrupted, MissingExtra
from convscope.formatting import printable

EXTRAS = {  # what brings a module; all others come with `train`
    "pyarrow": "parquet",
    **dict.fromkeys(("fastapi", "uvicorn", "multipart", "python_multipart", "prometheus_client"), "serve"),
    **dict.fromkeys(("matplotlib", "jinja2"), "explain"),
}
DONE, BUG, WRONG, UNREADABLE, STOPPED = 0, 1, 2, 3, 130


class Commands(TyperGroup):
    """The commands, and how each may end: done, stopped, unread, or with an error in three lines and its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with show_messages():
                answer = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            error_console().print("stopped")
            raise typer.Exit(STOPPED) from None
        except BrokenPipeError:  # the reader of our output has seen enough; what is left of it goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(DONE) from None
        except (ConvscopeError, ModuleNotFoundError, OSError) as error:
            told = _told(error, f"convscope {ctx.invoked_subcommand}")
            _tell_error(told)
            raise typer.Exit(told.exit_code) from None
        return answer


def _told(error: Exception, command: str) -> ConvscopeError:
    """An error that a person can meet, as one of ours."""
    if isinstance(error, ConvscopeError):
        return error
    if isinstance(error, ModuleNotFoundError):
        module = str(error.name)
        return MissingExtra(command=command, module=module, extra=EXTRAS.get(module.partition(".")[0], "train"))
    return ConvscopeError(  # what is wrong with images has been told in its place: this is about writing
        found=str(error),
        expected="a place to write to, with room and permission",
        fix="check the path, who may write there, and the room on the disk",
    )


def _tell_error(error: ConvscopeError) -> None:
    names = ("stopped", "saved", "resume") if isinstance(error, Interrupted) else ("found", "expected", "fix")
    for name, text in zip(names, (error.found, error.expected, error.fix), strict=True):
        error_console().print(f"{name + ':':<10}{printable(text)}")
