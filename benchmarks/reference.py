"""Reproduce the reference: train `classic` on dogs and cats for 1, 100, 1,000 and 10,000 steps of 32 images.

The reference is a notebook in TensorFlow 1 that reports its validation accuracy after each of these. Here one Learner
goes through all of them, judged on 4,000 photos that it never sees. Writes docs/decisions/reference.json and, from it,
docs/decisions/reference.md. It takes 10 to 30 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convscope import Learner, Recipe
from convscope.datasets.listing import list_folder
from convscope.environment import describe_environment
from convscope.randomness import generator
from convscope.statistics.intervals import wilson_interval

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "dogs-vs-cats"
DECISIONS = ROOT / "docs" / "decisions"
NUM_VALIDATION = 4000
STEPS = (1, 100, 1000, 10_000)
# (the notebook's own figure, the same computation in TensorFlow 1 graph mode on 4,000 held-out images)
PEERS = {1: ("48.8 %", "50.0 %"), 100: ("48.8 %", "55.2 %"), 1000: ("68.9 %", "68.2 %"), 10_000: ("79.5 %", "78.9 %")}


def main() -> None:
    """Train, judge, write."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--data", type=Path, default=DATA)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--steps", type=int, nargs="+", default=STEPS)
    words.add_argument("--out", type=Path, default=DECISIONS)
    chosen = words.parse_args()
    facts = measure(chosen.data, chosen.steps, seed=chosen.seed)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "reference.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (chosen.out / "reference.md").write_text(describe(facts), encoding="utf-8")
    print(describe(facts))


def measure(data: Path, stops: Sequence[int], *, seed: int) -> dict[str, Any]:
    """Train through `stops` and judge at each."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = hold_back(data, Path(folder) / "photos.csv", seed=seed)
        learner = Learner.open(manifest, Recipe(network="classic", seed=seed, patience=0))
    rows = [judge_at(learner, stop) for stop in stops]
    history = [{"step": row.step, "val_accuracy": row.val_accuracy} for row in learner.history]
    return {
        "machine": {**describe_environment(data), "data": data.name, "command": ["benchmarks/reference.py"]},
        "load": os.getloadavg()[2],
        "seed": seed,
        "count": {split: len(learner.dataset.rows(split)) for split in ("train", "validation")},
        "rows": rows,
        "history": history,
    }


def judge_at(learner: Learner, stop: int) -> dict[str, Any]:
    """Go on to step `stop` and judge there; seconds are those of training, and of validation at each epoch."""
    started, worked = time.perf_counter(), time.process_time()
    learner.fit(steps=stop - learner.step)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    judged, count = learner.evaluate(), len(learner.dataset.rows("validation"))
    accuracy = wilson_interval(round(judged["accuracy"] * count), count)
    reference, graph = PEERS.get(stop, ("", ""))
    figures = {"accuracy": accuracy.to_json(), "loss": judged["loss"], "seconds": seconds, "cpu_seconds": cpu_seconds}
    return {"steps": stop, "reference": reference, "graph": graph, **figures}


def hold_back(data: Path, manifest: Path, *, seed: int) -> Path:
    """A manifest of `data` with `NUM_VALIDATION` images drawn for validation."""
    items = [item for item in list_folder(data).items if not item.reason]
    drawn = set(generator(seed, "benchmark").permutation(len(items))[:NUM_VALIDATION].tolist())
    with manifest.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for number, item in enumerate(items):
            split = "validation" if number in drawn else "train"
            writer.writerow(((data / item.path).absolute(), item.label, split))
    return manifest


def describe(facts: dict[str, Any]) -> str:
    """The decision page."""
    machine, count, rows = facts["machine"], facts["count"], facts["rows"]
    lines = [
        "# Does `classic` reproduce the reference?",
        "",
        "Made by `make bench-reference`; do not edit. The figures stand in `reference.json` beside this page.",
        "",
        "One training of `classic` with its own settings (128 pixels, batches of 32, Adam 1e-4, no augmentation),"
        f" seed {facts['seed']}, on {count['train']:,} photos, judged on {count['validation']:,} that it never saw"
        " (95 % Wilson interval). Nothing was chosen on them.",
        "",
        "| steps | the reference | the same in TensorFlow 1 | convscope `classic` | 95 % | seconds | of CPU |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        figure = row["accuracy"]
        lines.append(
            f"| {row['steps']:,} | {row['reference']} | {row['graph']} | {figure['value'] * 100:.1f} % |"
            f" {figure['low'] * 100:.1f} to {figure['high'] * 100:.1f} % | {row['seconds']:.0f} |"
            f" {row['cpu_seconds']:.0f} |"
        )
    seconds = sum(row["seconds"] for row in rows)
    images = rows[-1]["steps"] * 32
    versions = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    curve = ", ".join(f"{row['step']:,}: {row['val_accuracy'] * 100:.1f} %" for row in facts["history"])
    lines += [
        "",
        f"In all {seconds:.0f} s for {images:,} images, {images / seconds:.0f} images/s, each epoch's validation"
        " included.",
        "",
        f"Accuracy after each epoch, by step: {curve}.",
        "",
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['platform']}, Python {machine['python']},"
        f" {versions}. The load average over the last 15 minutes was {facts['load']:.1f} at the end: where it is well"
        f" above {machine['cores']}, other work shared the cores, and the seconds are too many; those of CPU are not.",
        "",
        "The TensorFlow 1 column was measured before, on another machine (AMD EPYC, Zen 5), where its 10,000 steps took"
        " 626 s.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
