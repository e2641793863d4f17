"""Does `compact` train better on small data than `classic` in the same time?

Of dogs and cats, some photos of each class are drawn by seed and trained on with the default split; the model is
evaluated on 4,000 held-out photos. cifar10 is trained and evaluated on its own splits. Both networks get the same
`--budget`. Writes small_data.json and small_data.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from folders import link_photos, list_usable, make_split
from records import describe_machine, paragraph, record, table

from convscope.cli.commands import loading_tensorflow
from convscope.cli.display import error_console
from convscope.environment import describe_environment
from convscope.files import read_json, write_atomic, write_json
from convscope.formatting import format_duration
from convscope.randomness import generator

with loading_tensorflow():  # as `convscope train` does
    from convscope import Recipe, evaluate, train

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
NUM_HELD_OUT = 4000
NETWORKS = ("classic", "compact")
BUDGETS = {100: 30.0, 500: 60.0, 2000: 120.0}  # seconds of each training, by photos per class
CIFAR_BUDGET = 60.0

Results = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """Data to train on and to evaluate on, and the time for the training.

    Attributes:
        name: the row of the table.
        train: the folder to train on.
        held_out: the folder to evaluate on; None: the test split of `train`.
        image_size: in pixels.
        budget: in seconds.
    """

    name: str
    train: Path
    held_out: Path | None
    image_size: int
    budget: float


def main() -> None:
    """Measure, or only write the page from the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "decisions")
    parser.add_argument("--describe", action="store_true", help="measure nothing: make the page from the JSON")
    options = parser.parse_args()
    file = options.out / "small_data.json"
    if not options.describe:
        results: Results = {"format": 1, "machine": describe_environment(DATA), "rows": []}
        results["machine"] |= {"data": "dogs-vs-cats, cifar10", "command": ["benchmarks/small_data.py"]}
        with tempfile.TemporaryDirectory(prefix="convscope-small-") as work:
            for seed in range(options.seeds):
                for case in make_cases(Path(work) / str(seed), seed):
                    results["rows"] += [measure(case, network, seed, Path(work)) for network in NETWORKS]
                    write_json(file, results)
    write_atomic(options.out / "small_data.md", render_page(read_json(file)))


def make_cases(work: Path, seed: int) -> Iterator[Case]:
    """The cases of a seed; the held-out photos are the same for every seed."""
    photos = DATA / "dogs-vs-cats"
    make_split(photos, work / "split", num_validation=NUM_HELD_OUT, max_photos=None, seed=0)
    items = list_usable(work / "split" / "train")
    order = generator(seed, "small").permutation(len(items)).tolist()
    for per_class, budget in BUDGETS.items():
        drawn = [
            (number, items[number])
            for label in sorted({item.label for item in items})
            for number in [index for index in order if items[index].label == label][:per_class]
        ]
        folder = work / f"photos-{per_class}"
        link_photos(work / "split" / "train", folder, drawn)
        name = f"dogs and cats, {per_class:,} photos per class"
        yield Case(name, folder, work / "split" / "validation", 128, budget)
    yield Case("cifar10, 500 images per class", DATA / "cifar10", None, 32, CIFAR_BUDGET)


def measure(case: Case, network: str, seed: int, work: Path) -> Results:
    """Train with the budget, then evaluate on images on which nothing was chosen."""
    recipe = Recipe(network=network, image_size=case.image_size, budget=case.budget, seed=seed)
    out = work / f"run-{network}-{seed}-{case.train.name}"
    run = train(case.train, recipe, out=out, cache=work / "cache")
    metrics = evaluate(run.path, case.held_out, split=None if case.held_out else "test").metrics.to_json()
    seconds = read_training_seconds(run.history_file)
    accuracy = metrics["accuracy"]
    error_console().print(
        f"{case.name}: {network}, seed {seed}: {accuracy['value']:.1%} after {format_duration(seconds)}"
    )
    row = {"case": case.name, "network": network, "seed": seed, "budget": case.budget, "seconds": seconds}
    return row | {"accuracy": accuracy, "images": metrics["count"]}


def read_training_seconds(history: Path) -> float:
    """The time of a training, evaluations on its validation split included."""
    header, *rows = history.read_text(encoding="utf-8").splitlines()
    return float(rows[-1].split(",")[header.split(",").index("seconds")])


def render_page(results: Results) -> str:
    """The decision record in Markdown."""
    return record(
        "Is `compact` better than `classic` on small data?",
        source="`benchmarks/small_data.py`",
        question="Which network is more accurate when there are few images and little time?",
        kept="`compact` is the network for training from scratch, also on small data.",
        machine=describe_machine(results["machine"]),
        sections=(
            "## Result",
            paragraph(
                "Both networks with their default recipes and the same `--budget`, evaluated on images that were held"
                f" out from the start: {NUM_HELD_OUT:,} photos of dogs and cats, the 1,000 test images of cifar10."
                " Median, and range over the seeds, which also draw the photos ([JSON](small_data.json))."
            ),
            result_table(results["rows"]),
            "## What was tried",
            paragraph("These two networks; the budgets were not varied."),
            "## Why",
            paragraph(
                f"{count_wins(results['rows'])} What each of its parts gains was measured on more photos"
                " ([compact.md](compact.md)). For photos of things, a pretrained network is better still"
                " ([transfer.md](transfer.md))."
            ),
        ),
    )


def result_table(rows: list[Results]) -> str:
    """The accuracies of both networks, and their differences, for each case."""
    lines = []
    for name in dict.fromkeys(row["case"] for row in rows):
        case_rows = [row for row in rows if row["case"] == name]
        classic, compact = (
            [row["accuracy"]["value"] for row in case_rows if row["network"] == network] for network in NETWORKS
        )
        gains = [100 * (more - less) for less, more in zip(classic, compact, strict=True)]
        lines.append(
            (
                name,
                format_duration(case_rows[0]["budget"]),
                str(len(gains)),
                format_accuracies(classic),
                format_accuracies(compact),
                f"{median(gains):+.1f}{format_range(gains, '+.1f')}",
            )
        )
    return table("data | budget: | seeds: | `classic`: | `compact`: | points more:", lines)


def count_wins(rows: list[Results]) -> str:
    """In how many pairs of trainings `compact` is the better one."""
    accuracies = {(row["case"], row["seed"], row["network"]): row["accuracy"]["value"] for row in rows}
    pairs = {(case, seed) for case, seed, _ in accuracies}
    wins = sum(accuracies[*pair, "compact"] > accuracies[*pair, "classic"] for pair in pairs)
    return f"`compact` is more accurate in {wins} of {len(pairs)} pairs of trainings."


def format_accuracies(shares: Sequence[float]) -> str:
    """The median as a percentage, and the range."""
    percentages = [100 * share for share in shares]
    return f"{median(percentages):.1f} %{format_range(percentages, '.1f')}"


def format_range(values: Sequence[float], spec: str) -> str:
    """` (lowest to highest)`; nothing for a single value."""
    return f" ({min(values):{spec}} to {max(values):{spec}})" if len(values) > 1 else ""


if __name__ == "__main__":
    main()
