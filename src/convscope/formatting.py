"""Values as text for people: counts, durations, and names that cannot disturb a terminal."""

from __future__ import annotations


def plural(count: int, noun: str, many: str = "") -> str:
    """`1 image`, `2 images`, `20,998 images`; `many` where the plural is not an s."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def format_duration(seconds: float) -> str:
    """Seconds as a person says them: `8 s`, `2 min 05 s`, `1 h 20 min`."""
    whole = round(max(seconds, 0.0))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def printable(text: str) -> str:
    """`text` without what could move a terminal's cursor or forge a line: such characters are spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)
