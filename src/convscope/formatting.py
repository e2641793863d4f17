"""Values as text: counts, durations, and names that cannot disturb a terminal."""

from __future__ import annotations

import unicodedata


def plural(count: int, noun: str, many: str = "") -> str:
    """`1 image`, `2 images`, `20,998 images`; `many` is the plural where it is not the noun with an s."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def format_duration(seconds: float) -> str:
    """`8 s`, `2 min 05 s`, `1 h 20 min`."""
    rounded = round(max(seconds, 0.0))
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60:02d} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60:02d} min"


def printable(text: str) -> str:
    """`text` in one line, with every character escaped that could move a terminal's cursor or forge a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines: its line feeds stay."""
    return "\n".join(map(printable, text.split("\n")))


def shorten(text: str, columns: int) -> str:
    """`printable(text)`, cut with an ellipsis so that it takes at most `columns` columns of a terminal."""
    text = printable(text)
    if num_columns(text) <= columns:
        return text
    while num_columns(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def num_columns(text: str) -> int:
    """The columns of a terminal that a text takes: two for an East Asian letter, none for a combining accent."""
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text if not unicodedata.combining(c))
