"""How good is a model that starts from ImageNet, from few photos and from many, and how soon?

Photos of dogs and cats, 4,000 of them held back by seed before anything else; heads are solved on draws of the rest,
then all of the rest is learned from: the head alone, and fine-tuned within a budget. cifar10 is trained on and judged
as it is split. Writes pretrained.json after every part; `scripts/docs.py` makes the tables of the docs from it.
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

from convscope import Recipe, evaluate, resolve, train
from convscope.cli.display import error_console
from convscope.datasets.dataset import Dataset, open_dataset
from convscope.environment import describe_environment
from convscope.files import read_json, write_json
from convscope.networks.catalog import build_network
from convscope.networks.frameworks import keras
from convscope.randomness import generator
from convscope.recipe.defaults import EFFICIENTNET
from convscope.training.features import compute_features
from convscope.training.linear_probe import Head, fit_head

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
HELD_OUT = 4000
DRAWS = {10: 10, 50: 10, 1000: 3}  # of so many photos per class, how often
TIMED_IMAGES, TIMED_SIZE, TIMED_ROUNDS = 1024, 160, 3
CIFAR_SECONDS = 180.0

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """The photos, a folder for everything temporary, and the budget of the fine-tuning in seconds."""

    split: Path
    work: Path
    budget: float

    @property
    def cache(self) -> Path:
        return self.work / "cache"


def main() -> None:
    """Measure part by part; parts that are not named keep their figures."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    words.add_argument("--budget", type=float, default=1800.0, help="seconds of the fine-tuning on all photos")
    words.add_argument("--out", type=Path, default=ROOT / "docs" / "decisions")
    chosen = words.parse_args()
    file = chosen.out / "pretrained.json"
    facts: Facts = read_json(file) if file.is_file() else {"format": 1}
    facts["machine"] = describe_environment(DATA)
    facts["machine"] |= {"data": "dogs-vs-cats, cifar10", "command": ["benchmarks/pretrained.py"]}
    with tempfile.TemporaryDirectory(prefix="convscope-pretrained-") as work:
        make_split(DATA / "dogs-vs-cats", Path(work) / "split", held_out=HELD_OUT, most=None, seed=0)
        bench = Bench(Path(work) / "split", Path(work), chosen.budget)
        for part in chosen.parts:
            facts[part] = PARTS[part](bench)
            write_json(file, facts)


def measure_extraction(bench: Bench) -> Facts:
    """Images per second of the features at 160 px, of `keras.Model.predict` and of ours, in turns."""
    recipe = resolve(Recipe(network=EFFICIENTNET, image_size=TIMED_SIZE))
    dataset = open_dataset(bench.split, recipe, cache=bench.cache)
    images = np.array(dataset.images[:TIMED_IMAGES])  # a plain array: no features are kept beside it
    model = build_network(recipe, 2)
    features = keras.Model(model.input, model.get_layer("features").output)
    ways: dict[str, Callable[[], object]] = {
        "keras": lambda: features.predict(images, verbose=0),
        "ours": lambda: compute_features(model, images),
    }
    paces: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(TIMED_ROUNDS + 1):  # the first compiles
        for way, work in ways.items():
            started = time.perf_counter()
            work()
            if turn:
                paces[way].append(len(images) / (time.perf_counter() - started))
    ratios = [ours / theirs for ours, theirs in zip(paces["ours"], paces["keras"], strict=True)]
    return {"images_per_second": paces, "ratio": ratios}


def measure_few(bench: Bench) -> Facts:
    """Accuracy on the held-out photos of heads solved on draws of so many photos of each class."""
    recipe = resolve(Recipe(network=EFFICIENTNET))
    dataset = open_dataset(bench.split, recipe, cache=bench.cache)
    features = compute_features(build_network(recipe, len(dataset.classes)), dataset.images)
    rows = dataset.rows("train")
    found: Facts = {"image_size": recipe.image_size, "rows": []}
    for per_class, draws in DRAWS.items():
        for seed in range(draws):
            drawn = draw(dataset, rows, per_class, seed)
            head = fit_head(features[drawn], dataset.labels[drawn], len(dataset.classes), seed=seed)
            accuracy = judge(head, dataset, features)
            found["rows"].append({"per_class": per_class, "seed": seed, "accuracy": accuracy})
        values = [row["accuracy"] for row in found["rows"] if row["per_class"] == per_class]
        error_console().print(f"{per_class} of each class: {mean(values):.2%}, n = {len(values)}")
    return found


def draw(dataset: Dataset, rows: Any, per_class: int, seed: int) -> Any:
    """So many of `rows` of each class."""
    shuffled = generator(seed, "few", per_class).permutation(rows)
    labels = dataset.labels[shuffled]
    return np.concatenate([shuffled[labels == label][:per_class] for label in range(len(dataset.classes))])


def judge(head: Head, dataset: Dataset, features: Any) -> float:
    """The share of the held-out photos that a head gets right."""
    rows = dataset.rows("validation")
    guesses = head.logits(features[rows]).argmax(axis=1)
    return float((guesses == dataset.labels[rows]).mean())


def measure_all(bench: Bench, *, fine_tuned: bool) -> Facts:
    """All photos from cached images: the head alone, or fine-tuned within the budget."""
    recipe = Recipe(network=EFFICIENTNET)
    open_dataset(bench.split, resolve(recipe), cache=bench.cache)
    for place in bench.cache.glob("images-*/features-*"):
        shutil.rmtree(place)
    recipe = recipe.with_changes({"budget": bench.budget} if fine_tuned else {"epochs": 0})
    out = bench.work / f"all-{fine_tuned}"
    started = time.monotonic()
    run = train(bench.split, recipe, out=out, cache=bench.cache)
    whole = time.monotonic() - started
    header, *rows = run.history_file.read_text(encoding="utf-8").splitlines()
    facts = read_json(run.model / "model.json")["metrics"]
    return {
        "budget": bench.budget if fine_tuned else None,
        "seconds": float(rows[-1].split(",")[header.split(",").index("seconds")]),
        "whole_seconds": whole,
        "history": [header, *rows],
        "image_size": run.recipe.image_size,
        "accuracy": facts["accuracy"],
        "images": facts["images"],
    }


def measure_cifar10(bench: Bench) -> Facts:
    """Both networks on cifar10 in the same time, judged on its test images."""
    found: Facts = {"budget": CIFAR_SECONDS, "rows": []}
    for network, size in (("compact", 32), (EFFICIENTNET, None)):
        recipe = Recipe(network=network, image_size=size, budget=CIFAR_SECONDS)  # type: ignore[arg-type]
        run = train(DATA / "cifar10", recipe, out=bench.work / f"cifar-{network}", cache=bench.cache)
        judged = evaluate(run.path, split="test").metrics.to_json()
        size = run.recipe.image_size
        found["rows"].append({"network": network, "image_size": size, "accuracy": judged["accuracy"]})
    return found


PARTS: dict[str, Callable[[Bench], Facts]] = {
    "extraction": measure_extraction,
    "few": measure_few,
    "head": partial(measure_all, fine_tuned=False),
    "cifar10": measure_cifar10,
    "fine_tuned": partial(measure_all, fine_tuned=True),
}


if __name__ == "__main__":
    main()
