"""The tables of figures in the READMEs, made from the JSON files that the benchmarks write into docs/decisions/."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

READMES = ("README.md", "README.zh-CN.md")


def fill(page: Path) -> str:
    """The text of a page with the tables between its marks, `<!-- table NAME -->` and `<!-- end -->`, made anew."""
    figures = page.parent / "docs" / "decisions"

    def make(match: re.Match[str]) -> str:
        facts = json.loads((figures / f"{match[2]}.json").read_text(encoding="utf-8"))
        chinese = page.name.endswith(".zh-CN.md")
        return f"{match[1]}\n{TABLES[match[2]](facts, chinese)}\n{match[3]}"

    text = page.read_text(encoding="utf-8")
    return re.sub(r"(<!-- table (\w+) -->)\n.*?(<!-- end -->)", make, text, flags=re.DOTALL)


def reference_table(facts: dict[str, Any], chinese: bool) -> str:
    """The accuracy of `classic` after 1, 100, 1,000 and 10,000 steps, beside the reference's."""
    titles = (
        ("步数", "参考笔记本", "convscope `classic`", "95 % 区间")
        if chinese
        else ("steps", "the reference", "convscope `classic`", "95 %")
    )
    lines = ["| " + " | ".join(titles) + " |", "| ---: | ---: | ---: | ---: |"]
    for row in facts["rows"]:
        figure = {name: f"{value * 100:.1f} %" for name, value in row["accuracy"].items()}
        lines.append(
            f"| {row['steps']:,} | {row['reference']} | {figure['value']} | {figure['low']} – {figure['high']} |"
        )
    return "\n".join(lines)


TABLES: dict[str, Callable[[dict[str, Any], bool], str]] = {"reference": reference_table}
