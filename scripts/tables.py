"""The tables of figures in READMEs and docs, made from the JSON files that benchmarks write into docs/decisions/."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

PAGES = (
    "README.md",
    "README.zh-CN.md",
    "docs/guides/few-images.md",
    "docs/guides/from-scratch.md",
    "docs/decisions/transfer.md",
)


def fill(root: Path, name: str) -> str:
    """The text of a page with the tables between its marks, `<!-- table NAME -->` and `<!-- end -->`, made anew."""
    page, figures = root / name, root / "docs" / "decisions"

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
    "hour": ("convscope `--budget 1h{choices}`", "convscope `--budget 1h{choices}`"),
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
            said = found.get("choices") or ""
            title = names[chinese].format(budget=found.get("budget", 0), choices=f" {said}" if said else "")
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


ASKED = {10: "94 %", 50: "96.5 %", 1000: "98.0 %", "head": "97.8 %", "fine_tuned": "98.7 %"}


def pretrained_table(facts: dict[str, Any], chinese: bool) -> str:
    """The accuracy of a pretrained network, from few photos and from all, beside its target."""
    titles = ("猫狗照片", "目标", "准确率", "范围") if chinese else ("dogs and cats", "target", "accuracy", "range")
    lines = ["| " + " | ".join(titles) + " |", "| --- | ---: | ---: | ---: |"]
    drawn: dict[int, list[float]] = {}
    for row in facts["few"]["rows"]:
        drawn.setdefault(row["per_class"], []).append(100 * row["accuracy"])
    for count, values in drawn.items():
        name = f"每类 {count:,} 张，只拟合分类头" if chinese else f"{count:,} photos of each class, the head alone"
        draws = f"{len(values)} 次抽取" if chinese else f"{len(values)} draws"
        between = f"{min(values):.1f} – {max(values):.1f} % ({draws}, sd {stdev(values):.2f})"
        lines.append(f"| {name} | {ASKED[count]} | {mean(values):.2f} % | {between} |")
    kinds = {"head": ("the head alone", "只拟合分类头"), "fine_tuned": ("fine-tuned", "微调")}
    for part, names in kinds.items():
        if found := facts.get(part):
            seconds, figure = found["seconds"], found["accuracy"]
            name = f"全部照片，{names[1]}，{seconds:,.0f} 秒" if chinese else f"all, {names[0]}, {seconds:,.0f} s"
            between = f"{100 * figure['low']:.1f} – {100 * figure['high']:.1f} % (95 %)"
            lines.append(f"| {name} | {ASKED[part]} | {100 * figure['value']:.2f} % | {between} |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[dict[str, Any], bool], str]] = {
    "reference": reference_table,
    "fastest": fastest_table,
    "pretrained": pretrained_table,
}
