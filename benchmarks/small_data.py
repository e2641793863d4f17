"""Does `compact` learn small data better than `classic` in the same time?

Of dogs and cats some photos of each class are drawn by seed and trained on as a user would, with the default shares;
the model is judged on 4,000 photos that were held back before. cifar10 is trained on and judged as it is split. Both
networks get the same `--budget`. Writes small_data.json and small_data.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from folders import link, make_split, usable

from convscope import Recipe, evaluate, train
from convscope.cli.display import error_console
from convscope.environment import describe_environment
from convscope.files import read_json, write_atomic, write_json
from convscope.formatting import format_duration
from convscope.randomness import generator

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
HELD_OUT = 4000
NETWORKS = ("classic", "compact")
SECONDS = {100: 30.0, 500: 60.0, 2000: 120.0}  # of each training, by photos per class
CIFAR_SECONDS = 60.0

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """Data to train on, data to be judged by, and the time for it."""

    name: str
    train: Path
    judged: Path | None  # None: the test split of `train`
    image_size: int
    seconds: float


def main() -> None:
    """Measure, or only describe what was measured."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seeds", type=int, default=3)
    words.add_argument("--out", type=Path, default=ROOT / "docs" / "decisions")
    words.add_argument("--describe", action="store_true", help="measure nothing: make the page from the JSON")
    chosen = words.parse_args()
    file = chosen.out / "small_data.json"
    if not chosen.describe:
        facts: Facts = {"format": 1, "machine": describe_environment(DATA), "rows": []}
        facts["machine"] |= {"data": "dogs-vs-cats, cifar10", "command": ["benchmarks/small_data.py"]}
        with tempfile.TemporaryDirectory(prefix="convscope-small-") as work:
            for seed in range(chosen.seeds):
                for case in make_cases(Path(work) / str(seed), seed):
                    facts["rows"] += [measure(case, network, seed, Path(work)) for network in NETWORKS]
                    write_json(file, facts)
    write_atomic(chosen.out / "small_data.md", describe(read_json(file)))


def make_cases(work: Path, seed: int) -> Iterator[Case]:
    """The folders of one seed; the photos to judge by are the same for every seed."""
    photos = DATA / "dogs-vs-cats"
    make_split(photos, work / "split", held_out=HELD_OUT, most=None, seed=0)
    items = usable(work / "split" / "train")
    order = generator(seed, "small").permutation(len(items)).tolist()
    for per_class, seconds in SECONDS.items():
        drawn = [
            (number, items[number])
            for label in sorted({item.label for item in items})
            for number in [each for each in order if items[each].label == label][:per_class]
        ]
        place = work / f"photos-{per_class}"
        link(work / "split" / "train", place, drawn)
        name = f"dogs and cats, {per_class:,} photos per class"
        yield Case(name, place, work / "split" / "validation", 128, seconds)
    yield Case("cifar10, 500 images per class", DATA / "cifar10", None, 32, CIFAR_SECONDS)


def measure(case: Case, network: str, seed: int, work: Path) -> Facts:
    """Train with the budget, then judge on images that chose nothing."""
    recipe = Recipe(network=network, image_size=case.image_size, budget=case.seconds, seed=seed)
    out = work / f"run-{network}-{seed}-{case.train.name}"
    run = train(case.train, recipe, out=out, cache=work / "cache")
    judged = evaluate(run.path, case.judged, split=None if case.judged else "test")
    seconds = float(read_last_seconds(run.history_file))
    accuracy = judged.metrics.to_json()["accuracy"]
    row = {"case": case.name, "network": network, "seed": seed, "budget": case.seconds, "seconds": seconds}
    error_console().print(
        f"{case.name}: {network}, seed {seed}: {accuracy['value']:.1%} after {format_duration(seconds)}"
    )
    return row | {"accuracy": accuracy, "images": judged.metrics.to_json()["count"]}


def read_last_seconds(history: Path) -> str:
    """How long the training took, evaluations on its own validation images included."""
    header, *rows = history.read_text(encoding="utf-8").splitlines()
    return rows[-1].split(",")[header.split(",").index("seconds")]


def describe(facts: Facts) -> str:
    """The page."""
    machine, rows = facts["machine"], facts["rows"]
    lines = [
        "# Does `compact` learn small data?\n",
        "Made by `benchmarks/small_data.py`; do not edit. The figures stand in `small_data.json` beside this page.\n",
        f"{machine['processor']}, {machine['cores']} cores; both networks with their default recipes and the same"
        " `--budget`, judged on images that were held back from the start: 4,000 dogs and cats, the 1,000 test images"
        " of cifar10. Median, and lowest to highest of the seeds.\n",
        "| data | budget | seeds | `classic` | `compact` | points more |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == name]
        values = {
            network: [row["accuracy"]["value"] for row in mine if row["network"] == network] for network in NETWORKS
        }
        gains = [100 * (ours - theirs) for theirs, ours in zip(values["classic"], values["compact"], strict=True)]
        cells = (shown(values["classic"]), shown(values["compact"]), f"{median(gains):+.1f}{spread(gains, '+.1f')}")
        lines.append(f"| {name} | {format_duration(mine[0]['budget'])} | {len(gains)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def shown(shares: Sequence[float]) -> str:
    """The median as a percentage, with the spread."""
    percents = [100 * share for share in shares]
    return f"{median(percents):.1f} %{spread(percents, '.1f')}"


def spread(values: Sequence[float], how: str) -> str:
    """` (low to high)`; nothing where there is one value."""
    return f" ({min(values):{how}} to {max(values):{how}})" if len(values) > 1 else ""


if __name__ == "__main__":
    main()
