"""How accurate is a model that starts from ImageNet weights, from few photos and from many, and after what time?

4,000 photos of dogs and cats are held out by seed; heads are fitted on draws of the rest, then all of the rest is
trained on: the head alone, and fine-tuned within a budget. cifar10 is trained and evaluated on its own splits. Writes
pretrained.json after every part; `scripts/docs.py` makes the tables of the docs from it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from folders import make_split

from convscope.cli.commands import loading_tensorflow
from convscope.cli.display import error_console
from convscope.datasets.dataset import Dataset, open_dataset
from convscope.environment import describe_environment
from convscope.files import read_json, write_json
from convscope.randomness import generator
from convscope.recipe.defaults import EFFICIENTNET

with loading_tensorflow():  # as `convscope train` does
    from convscope import Recipe, evaluate, resolve, train
    from convscope.networks.catalog import build_network
    from convscope.networks.frameworks import keras
    from convscope.training.features import compute_features
    from convscope.training.linear_probe import Head, fit_head

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
NUM_HELD_OUT = 4000
NUM_DRAWS = {10: 10, 50: 10, 1000: 3}  # by photos per class
TIMED_IMAGES, TIMED_SIZE, TIMED_ROUNDS = 1024, 160, 3
CIFAR_BUDGET = 180.0  # seconds

Results = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """What the parts share: the split photos, a folder for everything temporary, the budget of the fine-tuning."""

    split: Path
    work: Path
    budget: float  # seconds

    @property
    def cache(self) -> Path:
        return self.work / "cache"


def main() -> None:
    """Measure part by part; parts that are not named keep their results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--budget", type=float, default=1800.0, help="seconds of the fine-tuning on all photos")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "decisions")
    options = parser.parse_args()
    file = options.out / "pretrained.json"
    results: Results = read_json(file) if file.is_file() else {"format": 1}
    results["machine"] = describe_environment(DATA)
    results["machine"] |= {"data": "dogs-vs-cats, cifar10", "command": ["benchmarks/pretrained.py"]}
    with tempfile.TemporaryDirectory(prefix="convscope-pretrained-") as work:
        split = Path(work) / "split"
        make_split(DATA / "dogs-vs-cats", split, num_validation=NUM_HELD_OUT, max_photos=None, seed=0)
        bench = Bench(split, Path(work), options.budget)
        for part in options.parts:
            results[part] = PARTS[part](bench)
            write_json(file, results)


def measure_extraction(bench: Bench) -> Results:
    """Images per second of computing features at 160 px, by `keras.Model.predict` and by convscope, in turns."""
    recipe = resolve(Recipe(network=EFFICIENTNET, image_size=TIMED_SIZE))
    dataset = open_dataset(bench.split, recipe, cache=bench.cache)
    images = np.array(dataset.images[:TIMED_IMAGES])  # a copy in memory: its features are not cached
    model = build_network(recipe, 2)
    feature_model = keras.Model(model.input, model.get_layer("features").output)
    methods: dict[str, Callable[[], object]] = {
        "keras": lambda: feature_model.predict(images, verbose=0),
        "ours": lambda: compute_features(model, images),
    }
    throughputs: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(TIMED_ROUNDS + 1):  # the first compiles
        for name, compute in methods.items():
            started = time.perf_counter()
            compute()
            if turn:
                throughputs[name].append(len(images) / (time.perf_counter() - started))
    pairs = zip(throughputs["ours"], throughputs["keras"], strict=True)
    ratios = [convscope / by_keras for convscope, by_keras in pairs]
    return {"images_per_second": throughputs, "ratio": ratios}


def measure_few(bench: Bench) -> Results:
    """Accuracy on the held-out photos of heads fitted on a few photos of each class."""
    recipe = resolve(Recipe(network=EFFICIENTNET))
    dataset = open_dataset(bench.split, recipe, cache=bench.cache)
    features = compute_features(build_network(recipe, len(dataset.classes)), dataset.images)
    train_rows = dataset.rows("train")
    results: Results = {"image_size": recipe.image_size, "rows": []}
    for per_class, num_draws in NUM_DRAWS.items():
        for seed in range(num_draws):
            rows = draw_rows(dataset, train_rows, per_class, seed)
            head = fit_head(features[rows], dataset.labels[rows], len(dataset.classes), seed=seed)
            accuracy = evaluate_head(head, dataset, features)
            results["rows"].append({"per_class": per_class, "seed": seed, "accuracy": accuracy})
        accuracies = [row["accuracy"] for row in results["rows"] if row["per_class"] == per_class]
        error_console().print(f"{per_class} of each class: {mean(accuracies):.2%}, n = {len(accuracies)}")
    return results


def draw_rows(dataset: Dataset, rows: Any, per_class: int, seed: int) -> Any:
    """Draw `per_class` of `rows` from each class."""
    shuffled = generator(seed, "few", per_class).permutation(rows)
    labels = dataset.labels[shuffled]
    return np.concatenate([shuffled[labels == label][:per_class] for label in range(len(dataset.classes))])


def evaluate_head(head: Head, dataset: Dataset, features: Any) -> float:
    """The accuracy of a head on the held-out photos."""
    rows = dataset.rows("validation")
    predicted = head.logits(features[rows]).argmax(axis=1)
    return float((predicted == dataset.labels[rows]).mean())


def measure_all(bench: Bench, *, fine_tuned: bool) -> Results:
    """All photos, from cached images: the head alone, or fine-tuned within the budget."""
    recipe = Recipe(network=EFFICIENTNET)
    open_dataset(bench.split, resolve(recipe), cache=bench.cache)
    for features in bench.cache.glob("images-*/features-*"):
        shutil.rmtree(features)
    recipe = recipe.with_changes({"budget": bench.budget} if fine_tuned else {"epochs": 0})
    out = bench.work / f"all-{fine_tuned}"
    started = time.monotonic()
    run = train(bench.split, recipe, out=out, cache=bench.cache)
    total_seconds = time.monotonic() - started
    header, *rows = run.history_file.read_text(encoding="utf-8").splitlines()
    metrics = read_json(run.model / "model.json")["metrics"]
    return {
        "budget": bench.budget if fine_tuned else None,
        "seconds": float(rows[-1].split(",")[header.split(",").index("seconds")]),
        "whole_seconds": total_seconds,
        "history": [header, *rows],
        "image_size": run.recipe.image_size,
        "accuracy": metrics["accuracy"],
        "images": metrics["images"],
    }


def measure_cifar10(bench: Bench) -> Results:
    """Both networks on cifar10 in the same time, evaluated on its test images."""
    results: Results = {"budget": CIFAR_BUDGET, "rows": []}
    for network, size in (("compact", 32), (EFFICIENTNET, None)):
        recipe = Recipe(network=network, image_size=size, budget=CIFAR_BUDGET)
        run = train(DATA / "cifar10", recipe, out=bench.work / f"cifar-{network}", cache=bench.cache)
        accuracy = evaluate(run.path, split="test").metrics.to_json()["accuracy"]
        results["rows"].append({"network": network, "image_size": run.recipe.image_size, "accuracy": accuracy})
    return results


PARTS: dict[str, Callable[[Bench], Results]] = {
    "extraction": measure_extraction,
    "few": measure_few,
    "head": partial(measure_all, fine_tuned=False),
    "cifar10": measure_cifar10,
    "fine_tuned": partial(measure_all, fine_tuned=True),
}


if __name__ == "__main__":
    main()
