"""The tables of results in READMEs and docs, generated from the JSON files of the benchmarks in docs/decisions/."""

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
    """The text of a page with new tables between its comments `<!-- table NAME -->` and `<!-- end -->`."""
    page, json_folder = root / name, root / "docs" / "decisions"

    def generate(match: re.Match[str]) -> str:
        results = json.loads((json_folder / f"{match[2]}.json").read_text(encoding="utf-8"))
        chinese = page.name.endswith(".zh-CN.md")
        return f"{match[1]}\n{TABLES[match[2]](results, chinese)}\n{match[3]}"

    text = page.read_text(encoding="utf-8")
    return re.sub(r"(<!-- table (\w+) -->)\n.*?(<!-- end -->)", generate, text, flags=re.DOTALL)


def reference_table(results: dict[str, Any], chinese: bool) -> str:
    """The accuracy of `classic` after 1, 100, 1,000 and 10,000 steps, beside the reference's."""
    titles = (
        ("步数", "参考笔记本", "convscope `classic`", "95 % 区间")
        if chinese
        else ("steps", "the reference", "convscope `classic`", "95 %")
    )
    lines = ["| " + " | ".join(titles) + " |", "| ---: | ---: | ---: | ---: |"]
    for row in results["rows"]:
        accuracy = {name: f"{value * 100:.1f} %" for name, value in row["accuracy"].items()}
        interval = f"{accuracy['low']} – {accuracy['high']}"
        lines.append(f"| {row['steps']:,} | {row['reference']} | {accuracy['value']} | {interval} |")
    return "\n".join(lines)


# a competitor's key in fastest.json, and its name in English and in Chinese
COMPETITORS = {
    "graph": ("the reference's computation, TensorFlow 1", "参考的计算，TensorFlow 1"),
    "keras": ("the same network, Keras 3 `fit`", "同一网络，Keras 3 `fit`"),
    "torch": ("the same network, PyTorch", "同一网络，PyTorch"),
    "short": ("convscope `--budget {budget:.0f}s`", "convscope `--budget {budget:.0f}s`"),
    "ours": ("convscope `--budget {budget:.0f}s`", "convscope `--budget {budget:.0f}s`"),
    "hour": ("convscope `--budget 1h{choices}`", "convscope `--budget 1h{choices}`"),
}


def fastest_table(results: dict[str, Any], chinese: bool) -> str:
    """The accuracy, time and memory of each competitor; the median over several seeds."""
    titles = (
        ("", "训练秒数", "准确率", "范围", "峰值内存")
        if chinese
        else ("", "seconds of training", "accuracy", "range", "peak memory")
    )
    lines = ["| " + " | ".join(titles) + " |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, names in COMPETITORS.items():
        training = results["contenders"].get(name, {})
        if runs := training.get("runs"):
            flags = training.get("choices") or ""
            title = names[chinese].format(budget=training.get("budget", 0), choices=f" {flags}" if flags else "")
            lines.append(f"| {title} | {' | '.join(_competitor_cells(runs, chinese))} |")
    return "\n".join(lines)


def _competitor_cells(runs: list[dict[str, Any]], chinese: bool) -> tuple[str, ...]:
    """Seconds, accuracy, its range (of seeds, or the 95 % interval of a single run) and memory."""
    values = [run["accuracy"]["value"] for run in runs]
    if len(values) > 1:
        low, high = min(values), max(values)
        kind = f"{len(values)} 个种子" if chinese else f"{len(values)} seeds"
    else:
        low, high, kind = runs[0]["accuracy"]["low"], runs[0]["accuracy"]["high"], "95 %"
    seconds = median(run["points"][-1]["seconds"] for run in runs)
    memory = max(run["peak_bytes"] for run in runs) / 1e9
    accuracy_range = f"{low * 100:.1f} – {high * 100:.1f} % ({kind})"
    return f"{seconds:.0f}", f"{median(values) * 100:.1f} %", accuracy_range, f"{memory:.1f} GB"


TARGETS = {10: "94 %", 50: "96.5 %", 1000: "98.0 %", "head": "97.8 %", "fine_tuned": "98.7 %"}


def pretrained_table(results: dict[str, Any], chinese: bool) -> str:
    """The accuracy of a pretrained network, from few photos and from all, beside its target."""
    titles = ("猫狗照片", "目标", "准确率", "范围") if chinese else ("dogs and cats", "target", "accuracy", "range")
    lines = ["| " + " | ".join(titles) + " |", "| --- | ---: | ---: | ---: |"]
    percentages: dict[int, list[float]] = {}
    for row in results["few"]["rows"]:
        percentages.setdefault(row["per_class"], []).append(100 * row["accuracy"])
    for count, values in percentages.items():
        name = f"每类 {count:,} 张，只拟合分类头" if chinese else f"{count:,} photos of each class, the head alone"
        draws = f"{len(values)} 次抽取" if chinese else f"{len(values)} draws"
        accuracy_range = f"{min(values):.1f} – {max(values):.1f} % ({draws}, sd {stdev(values):.2f})"
        lines.append(f"| {name} | {TARGETS[count]} | {mean(values):.2f} % | {accuracy_range} |")
    kinds = {"head": ("the head alone", "只拟合分类头"), "fine_tuned": ("fine-tuned", "微调")}
    for part, names in kinds.items():
        if training := results.get(part):
            seconds, accuracy = training["seconds"], training["accuracy"]
            name = f"全部照片，{names[1]}，{seconds:,.0f} 秒" if chinese else f"all, {names[0]}, {seconds:,.0f} s"
            interval = f"{100 * accuracy['low']:.1f} – {100 * accuracy['high']:.1f} % (95 %)"
            lines.append(f"| {name} | {TARGETS[part]} | {100 * accuracy['value']:.2f} % | {interval} |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[dict[str, Any], bool], str]] = {
    "reference": reference_table,
    "fastest": fastest_table,
    "pretrained": pretrained_table,
}
