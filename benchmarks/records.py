"""Markdown of the generated decision records: paragraphs wrapped at 100 columns, tables, the machine."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

MAX_COLUMNS = 100


def record(title: str, *, source: str, question: str, kept: str, machine: str, sections: Iterable[str]) -> str:
    """A decision record.

    Args:
        title: the question in one line.
        source: how the page is made.
        question, kept, machine: its first three paragraphs.
        sections: what follows, as blocks of Markdown.
    """
    head = (
        f"# {title}\n\n<!-- Made by {source}; do not edit. -->",
        paragraph(f"**Question.** {question}"),
        paragraph(f"**Kept.** {kept}"),
        paragraph(f"**Machine.** {machine}"),
    )
    return "\n\n".join(block for block in (*head, *sections) if block) + "\n"


def paragraph(text: str, *, indent: str = "") -> str:
    """Text wrapped at 100 columns, its second and later lines indented."""
    text = " ".join(text.split()).replace(" %", "\u00a0%")  # a number and its unit stay in one line
    lines = textwrap.wrap(text, MAX_COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\u00a0", " ")


def bullets(items: Iterable[str]) -> str:
    """A list, each item wrapped."""
    return "\n".join(paragraph(f"- {item}", indent="  ") for item in items)


def table(columns: str, rows: Iterable[Sequence[str]]) -> str:
    """A table.

    Args:
        columns: the titles, separated by `|`; those of numbers, which are aligned to the right, end with `:`.
        rows: the cells of each row.
    """
    titles = [title.strip() for title in columns.split("|")]
    alignment = ["---:" if title.endswith(":") else "---" for title in titles]
    lines = [[title.removesuffix(":") for title in titles], alignment, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def describe_machine(machine: dict[str, Any]) -> str:
    """The processor, its cores, the platform where it is known, and the versions, as a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    platform = f", {machine['platform']}" if "platform" in machine else ""
    return f"{machine['processor']}, {machine['cores']} cores{platform}, Python {machine['python']}, {versions}."
