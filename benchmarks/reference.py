"""Reproduce the reference: train `classic` on dogs and cats for 1, 100, 1,000 and 10,000 steps of 32 images.

The reference is a notebook in TensorFlow 1 that reports its validation accuracy after each of these. Here one Learner
takes all of them, evaluated on 4,000 held-out photos. Writes docs/decisions/reference.json and, from it,
docs/decisions/reference.md. It takes 10 to 30 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from records import bullets, describe_machine, paragraph, record, table

from convscope.cli.commands import loading_tensorflow
from convscope.datasets.listing import list_folder
from convscope.environment import describe_environment
from convscope.files import read_json, write_atomic, write_json
from convscope.randomness import generator
from convscope.statistics.intervals import wilson_interval

with loading_tensorflow():  # as `convscope train` does
    from convscope import Learner, Recipe

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "dogs-vs-cats"
DECISIONS = ROOT / "docs" / "decisions"
NUM_VALIDATION = 4000
STEPS = (1, 100, 1000, 10_000)
# steps: (accuracy that the notebook reports, that of the same computation in a TensorFlow 1 graph on 4,000 photos)
BASELINES = {
    1: ("48.8 %", "50.0 %"),
    100: ("48.8 %", "55.2 %"),
    1000: ("68.9 %", "68.2 %"),
    10_000: ("79.5 %", "78.9 %"),
}

Results = dict[str, Any]


def main() -> None:
    """Train, evaluate and write, or only write the page from the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--out", type=Path, default=DECISIONS)
    parser.add_argument("--describe", action="store_true", help="measure nothing: make the page from the JSON")
    options = parser.parse_args()
    file = options.out / "reference.json"
    if not options.describe:
        options.out.mkdir(parents=True, exist_ok=True)
        write_json(file, measure(options.data, options.steps, seed=options.seed))
    page = render_page(read_json(file))
    write_atomic(options.out / "reference.md", page)
    print(page)


def measure(data: Path, stops: Sequence[int], *, seed: int) -> Results:
    """Train up to each of `stops`, and evaluate there."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_manifest(data, Path(folder) / "photos.csv", seed=seed)
        learner = Learner.open(manifest, Recipe(network="classic", seed=seed, patience=0))
    rows = [train_until(learner, stop) for stop in stops]
    history = [{"step": epoch.step, "val_accuracy": epoch.val_accuracy} for epoch in learner.history]
    return {
        "machine": {**describe_environment(data), "data": data.name, "command": ["benchmarks/reference.py"]},
        "load": os.getloadavg()[2],
        "seed": seed,
        "count": {split: len(learner.dataset.rows(split)) for split in ("train", "validation")},
        "rows": rows,
        "history": history,
    }


def train_until(learner: Learner, stop: int) -> Results:
    """Continue to step `stop` and evaluate; seconds are those of training, and of validation at each epoch."""
    started, cpu_started = time.perf_counter(), time.process_time()
    learner.fit(steps=stop - learner.step)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    metrics, num_images = learner.evaluate(), len(learner.dataset.rows("validation"))
    accuracy = wilson_interval(round(metrics["accuracy"] * num_images), num_images)
    reference, graph = BASELINES.get(stop, ("", ""))
    measured = {"accuracy": accuracy.to_json(), "loss": metrics["loss"], "seconds": seconds, "cpu_seconds": cpu_seconds}
    return {"steps": stop, "reference": reference, "graph": graph, **measured}


def write_manifest(data: Path, manifest: Path, *, seed: int) -> Path:
    """Write a manifest of `data` with `NUM_VALIDATION` photos drawn for validation."""
    items = [item for item in list_folder(data).items if not item.reason]
    validation = set(generator(seed, "benchmark").permutation(len(items))[:NUM_VALIDATION].tolist())
    with manifest.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for number, item in enumerate(items):
            split = "validation" if number in validation else "train"
            writer.writerow(((data / item.path).absolute(), item.label, split))
    return manifest


def render_page(results: Results) -> str:
    """The decision record in Markdown."""
    machine, count = results["machine"], results["count"]
    return record(
        "Does `classic` reproduce the reference?",
        source="`make bench-reference`",
        question=(
            "The reference is a notebook in TensorFlow 1 that reports its validation accuracy after 1, 100, 1,000 and"
            " 10,000 steps. Does convscope's `classic` reach the same accuracy after as many steps?"
        ),
        kept=(
            "`classic` with its default recipe: the network of the reference, 128 px, batches of 32, Adam 1e-4, no"
            " augmentation."
        ),
        machine=describe_machine(machine),
        sections=(
            "## Result",
            paragraph(
                f"One training (n = 1, seed {results['seed']}) on {count['train']:,} photos of {machine['data']},"
                f" evaluated on {count['validation']:,} held-out ones (95 % Wilson interval), on which nothing was"
                " chosen ([JSON](reference.json))."
            ),
            result_table(results),
            bullets(
                (
                    f"The load average over the last 15 minutes was {results['load']:.1f} at the end. Well above"
                    f" {machine['cores']}, other work shared the cores and made the seconds too many; those of CPU are"
                    " not affected.",
                    describe_total(results["rows"]),
                    f"Accuracy after each epoch, by step: {describe_history(results['history'])}.",
                )
            ),
            "## What was tried",
            paragraph(
                "The same computation in a TensorFlow 1 graph (third column), measured before on another machine (AMD"
                " EPYC, Zen 5), where its 10,000 steps took 626 s."
            ),
            "## Why",
            paragraph(
                "`classic` is the baseline of [fastest.md](fastest.md), so its recipe keeps the reference's settings."
            ),
        ),
    )


def result_table(results: Results) -> str:
    """The accuracies after each number of steps."""
    rows = []
    for row in results["rows"]:
        accuracy = row["accuracy"]
        rows.append(
            (
                f"{row['steps']:,}",
                row["reference"],
                row["graph"],
                f"{accuracy['value'] * 100:.1f} %",
                f"{accuracy['low'] * 100:.1f} to {accuracy['high'] * 100:.1f} %",
                f"{row['seconds']:.0f}",
                f"{row['cpu_seconds']:.0f}",
            )
        )
    columns = "steps: | the reference: | TensorFlow 1 graph: | convscope `classic`: | 95 %: | seconds: | of CPU:"
    return table(columns, rows)


def describe_total(rows: list[Results]) -> str:
    """The time and the throughput of the complete training."""
    seconds = sum(row["seconds"] for row in rows)
    images = rows[-1]["steps"] * 32
    return (
        f"In all {seconds:.0f} s for {images:,} images, {images / seconds:.0f} images/s, the validation after each"
        " epoch included."
    )


def describe_history(history: list[Results]) -> str:
    """The accuracy after each epoch."""
    return ", ".join(f"{epoch['step']:,}: {epoch['val_accuracy'] * 100:.1f} %" for epoch in history)


if __name__ == "__main__":
    main()
