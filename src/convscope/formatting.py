"""Values as text: counts, durations, and names that cannot disturb a terminal."""

from __future__ import annotations


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
