"""Standard output whose failures can be distinguished from those of all other files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any


class OutputError(Exception):
    """Standard output cannot be written; `error` is why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def marked_output_errors() -> Iterator[None]:
    """Have standard output raise OutputError in place of OSError in the block.

    An OSError that leaves the block is then about another file. Where standard output was closed before the program
    began, what is printed is dropped.
    """
    stream = sys.stdout
    if stream is None:
        with open(os.devnull, "w", encoding="utf-8") as nothing, redirect_stdout(nothing):
            yield
        return
    try:
        with redirect_stdout(_MarkedOutput(stream)):
            yield
    except OutputError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # for what is left in its buffer
        raise


class _MarkedOutput:
    """A text stream; all but its writing is that of `stream`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except OSError as error:
            raise OutputError(error) from None

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise OutputError(error) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
