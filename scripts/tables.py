"""The tables of figures in the READMEs, made from the JSON files that the benchmarks write into docs/decisions/."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import median
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


# a contender's place in fastest.json, and what the reader calls it
CONTENDERS = {
    "graph": ("the reference's computation, TensorFlow 1", "参考的计算，TensorFlow 1"),
    "keras": ("the same network, Keras 3 `fit`", "同一网络，Keras 3 `fit`"),
    "torch": ("the same network, PyTorch", "同一网络，PyTorch"),
    "short": ("convscope `--budget {budget:.0f}s`", "convscope `--budget {budget:.0f}s`"),
    "ours": ("convscope `--budget {budget:.0f}s`", "convscope `--budget {budget:.0f}s`"),
    "hour": ("convscope `--budget 1h`", "convscope `--budget 1h`"),
}


def fastest_table(facts: dict[str, Any], chinese: bool) -> str:
    """The accuracy that each contender comes to, and in what time and memory; of several seeds the median."""
    titles = (
        ("", "训练秒数", "准确率", "范围", "峰值内存")
        if chinese
        else ("", "seconds of training", "accuracy", "range", "peak memory")
    )
    lines = ["| " + " | ".join(titles) + " |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, names in CONTENDERS.items():
        found = facts["contenders"].get(name, {})
        if runs := found.get("runs"):
            title = names[chinese].format(budget=found.get("budget", 0))
            lines.append(f"| {title} | {' | '.join(_contender_cells(runs, chinese))} |")
    return "\n".join(lines)


def _contender_cells(runs: list[dict[str, Any]], chinese: bool) -> tuple[str, ...]:
    """Seconds, accuracy, its range (of seeds, or the 95 % interval of a single run) and memory."""
    values = [run["accuracy"]["value"] for run in runs]
    many = len(values) > 1
    low, high = (min(values), max(values)) if many else (runs[0]["accuracy"]["low"], runs[0]["accuracy"]["high"])
    kind = (f"{len(values)} 个种子" if chinese else f"{len(values)} seeds") if many else "95 %"
    seconds = median(run["points"][-1]["seconds"] for run in runs)
    memory = max(run["peak_bytes"] for run in runs) / 1e9
    between = f"{low * 100:.1f} – {high * 100:.1f} % ({kind})"
    return f"{seconds:.0f}", f"{median(values) * 100:.1f} %", between, f"{memory:.1f} GB"


TABLES: dict[str, Callable[[dict[str, Any], bool], str]] = {"reference": reference_table, "fastest": fastest_table}
