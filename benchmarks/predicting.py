"""How fast is `convscope predict`: beside what decoding and inference do alone, beside Keras and PyTorch, and cold.

python benchmarks/predicting.py RUN    a finished run; writes docs/decisions/predicting.json and predicting.md

All ways take the same photos, in turns, each time in a process of its own; imports and the first batch of a framework
are not counted, the start of our decoding processes is. About ten minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from contenders.child import summary

from convscope.environment import available_cores, describe_environment

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "dogs-vs-cats"
PAGE = ROOT / "docs" / "decisions" / "predicting.md"
BATCH = 32
WORKERS = 2  # of PyTorch's loader, as in its tutorials
QUIET = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}

KEPT = """\
Kept: a batch on each core with one thread each, since a thread that waits for another whose core a decoder has taken
is lost, and ONNX Runtime waits by spinning. An image has its fixed place in a batch with fixed edges in the list: so
resumed and sharded runs give the same bits, whatever a processor's arithmetic does with the size of a batch. Parts are
cut by time, every five seconds, not by a number of images: so a kill costs as little with a slow model as with a fast
one. Decoding and inference share the cores, so what the slower of them does alone cannot be reached; on the same cores
the bound is the second ratio."""

Facts = dict[str, Any]


def main() -> None:
    """Measure and write, or, as a child, measure one way and print it."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("run", type=Path)
    words.add_argument("--data", type=Path, default=DATA, help="one folder of photos per class")
    words.add_argument("--images", type=int, default=4000)
    words.add_argument("--times", type=int, default=5, help="turns")
    words.add_argument("--cold", type=int, default=10, help="cold starts")
    words.add_argument("--page", type=Path, default=PAGE)
    words.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    chosen = words.parse_args()
    if chosen.way:
        print(json.dumps(WAYS[chosen.way](chosen.run, chosen.data)))
        return
    facts = measure(chosen.run, chosen.data, images=chosen.images, times=chosen.times, cold=chosen.cold)
    chosen.page.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    chosen.page.write_text(describe(facts), encoding="utf-8")
    print(chosen.page.read_text(encoding="utf-8"))


def measure(run: Path, data: Path, *, images: int, times: int, cold: int) -> Facts:
    """Each way `times` times in turns, and the cold start."""
    paces: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place:
        photos = link_photos(data, Path(place) / "photos", images)
        start(run, photos, "decoding")  # the files are in the system's memory now
        for _ in range(times):
            for way, pace in paces.items():
                pace.append(start(run, photos, way))
                print(f"{way}: {pace[-1]:,.0f} images/s", file=sys.stderr)
        seconds = [start_cold(run, next(photos.rglob("*.jpg"))) for _ in range(cold)]
    machine = describe_environment(data)
    machine["libraries"]["torch"] = metadata.version("torch")
    return {
        "machine": {name: machine[name] for name in ("processor", "cores", "python", "libraries")},
        "run": describe_run(run),
        "images": images,
        "images_per_second": {way: {**summary(pace), "all": pace} for way, pace in paces.items()},
        "ratios": {name: summary(each) for name, each in compare(paces).items()},
        "cold_start_seconds": {**summary(seconds), "all": seconds},
    }


def compare(paces: dict[str, list[float]]) -> dict[str, list[float]]:
    """`predict` over others, turn by turn. The bound is that of cores that decode or compute, one at a time."""
    ratios: dict[str, list[float]] = {"slower": [], "bound": [], "in turns": [], "keras": [], "torch": []}
    for number, ours in enumerate(paces["predict"]):
        pace = {way: each[number] for way, each in paces.items()}
        inference = max(pace["inference"], pace["inference in turns"])
        ratios["slower"].append(ours / min(pace["decoding"], inference))
        ratios["bound"].append(ours * (1 / pace["decoding"] + 1 / inference))
        ratios["in turns"].append(ours / pace["predict in turns"])
        ratios["keras"].append(ours / pace["keras"])
        ratios["torch"].append(ours / pace["torch"])
    return ratios


def link_photos(data: Path, place: Path, count: int) -> Path:
    """A folder with links to the first photos of each class, as many of one as of another."""
    classes = sorted(each for each in data.iterdir() if each.is_dir())
    for folder in classes:
        (place / folder.name).mkdir(parents=True)
        for photo in sorted(folder.iterdir())[: count // len(classes)]:
            (place / folder.name / photo.name).symlink_to(photo)
    return place


def start(run: Path, photos: Path, way: str) -> float:
    """Measure one way in a process of its own. Returns: images per second."""
    command = [sys.executable, __file__, str(run), "--data", str(photos), "--way", way]
    ended = subprocess.run(command, env={**os.environ, **QUIET}, stdout=subprocess.PIPE, check=True)
    found = json.loads(ended.stdout.splitlines()[-1])
    return float(found["images"] / found["seconds"])


def start_cold(run: Path, photo: Path) -> float:
    """Seconds of `convscope predict RUN PHOTO`, from the shell and back."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "convscope", "predict", str(run), str(photo)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


# ---- the ways: each takes a run and a folder of photos, and tells how many it took and in how many seconds


def time_predict(run: Path, photos: Path) -> Facts:
    """The verb, from opening the model to the table."""
    from convscope.prediction.prediction import predict

    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        done = predict(run, [str(photos)], out=Path(place) / "out.csv")
        return told(done.count, started)


def time_predict_in_turns(run: Path, photos: Path) -> Facts:
    """The verb as it was before: one batch after the other, on all cores."""
    from convscope.prediction import inference as answering

    answering.MAX_CONCURRENT_BATCHES = 1
    return time_predict(run, photos)


def time_decoding(run: Path, photos: Path) -> Facts:
    """Our decoding alone."""
    from convscope.bundle.bundle import open_bundle
    from convscope.images.decoder_pool import decode_files

    paths, square = list_photos(photos), open_bundle(run).square
    started = time.perf_counter()
    return told(sum(each.image is not None for each in decode_files(paths, square)), started)


def time_inference(run: Path, photos: Path) -> Facts:
    """ONNX Runtime alone as `predict` asks it: a batch on each core."""
    from convscope.prediction.inference import open_for_inference

    return time_batches(open_for_inference(run), photos, at_once=available_cores())


def time_inference_in_turns(run: Path, photos: Path) -> Facts:
    """ONNX Runtime alone as it is by itself: one batch after the other, on all cores."""
    from convscope.bundle.bundle import open_bundle

    return time_batches(open_bundle(run), photos, at_once=1)


def time_batches(bundle: Any, photos: Path, *, at_once: int) -> Facts:
    """Inference on images in memory."""
    import numpy as np

    from convscope.images.decoder_pool import decode_files

    decoded = decode_files(list_photos(photos), bundle.square)
    images = np.stack([each.image for each in decoded if each.image is not None])
    batches = [images[first : first + BATCH] for first in range(0, len(images), BATCH)]
    bundle.predict(batches[0])
    with ThreadPoolExecutor(at_once) as pool:
        started = time.perf_counter()
        return told(sum(map(len, pool.map(bundle.predict, batches))), started)


def time_keras(run: Path, photos: Path) -> Facts:
    """The run's own network the way Keras teaches it: `image_dataset_from_directory` and `Model.predict`."""
    import keras
    import tensorflow as tf

    from convscope.exporting.trained_network import load_network
    from convscope.run import open_run

    network = load_network(open_run(run))
    size = network.recipe.image_size
    dataset = keras.utils.image_dataset_from_directory(
        photos, labels=None, image_size=(size, size), batch_size=BATCH, shuffle=False, verbose=False
    ).prefetch(tf.data.AUTOTUNE)
    network.model.predict(dataset.take(1), verbose=0)
    started = time.perf_counter()
    return told(len(network.model.predict(dataset, verbose=0)), started)


def time_torch(run: Path, photos: Path) -> Facts:
    """The same layers the way PyTorch teaches it: a Dataset, a DataLoader with two workers, a plain loop."""
    import torch
    from contenders.torch_compact import Photos, build
    from torch.utils.data import DataLoader

    from convscope.run import open_run

    recipe = open_run(run).recipe
    loader = DataLoader(Photos(list_photos(photos), recipe.image_size), BATCH, num_workers=WORKERS)
    model = build(recipe.filters, num_classes=2).to(memory_format=torch.channels_last).eval()
    answers = []
    with torch.no_grad():
        model(torch.zeros(BATCH, 3, recipe.image_size, recipe.image_size).to(memory_format=torch.channels_last))
        started = time.perf_counter()
        for images in loader:
            answers.append(model(images.to(memory_format=torch.channels_last)).softmax(dim=1))
    return told(sum(map(len, answers)), started)


WAYS: dict[str, Callable[[Path, Path], Facts]] = {
    "predict": time_predict,
    "predict in turns": time_predict_in_turns,
    "decoding": time_decoding,
    "inference": time_inference,
    "inference in turns": time_inference_in_turns,
    "keras": time_keras,
    "torch": time_torch,
}


def told(images: int, started: float) -> Facts:
    """What a way tells."""
    return {"images": images, "seconds": time.perf_counter() - started}


def list_photos(photos: Path) -> list[str]:
    """Every photo of every class folder, in order."""
    return sorted(map(str, photos.glob("*/*")))


# ---- the page


def describe_run(run: Path) -> Facts:
    """The network that was asked."""
    from convscope.bundle.bundle import open_bundle

    facts = open_bundle(run).facts
    return {name: facts[name] for name in ("network", "image_size", "classes")}


def describe(facts: Facts) -> str:
    """The decision page."""
    names = {
        "predict": "`convscope predict`, CSV to a file",
        "predict in turns": "the same, if ONNX Runtime took one batch after the other on all cores",
        "decoding": "its decoding alone",
        "inference": "its inference alone: a batch on each core, one thread each",
        "inference in turns": "ONNX Runtime alone, one batch after the other on all cores",
        "keras": "Keras: `image_dataset_from_directory`, `Model.predict`",
        "torch": f"PyTorch: `DataLoader` with {WORKERS} workers, `channels_last`, `no_grad`",
    }
    ratios = {
        "slower": "the slower of decoding and inference alone, each with all cores to itself",
        "bound": "what cores can do that decode or compute: 1 / (1 / decoding + 1 / inference)",
        "in turns": "itself with one batch after the other",
        "keras": "Keras",
        "torch": "PyTorch",
    }
    machine, run, cold = facts["machine"], facts["run"], facts["cold_start_seconds"]
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    return "\n".join(
        [
            "# How fast does it predict?",
            "",
            "Made by `benchmarks/predicting.py`; do not edit.",
            "",
            f"{facts['images']:,} JPEG photos of dogs-vs-cats through `{run['network']}` at {run['image_size']} pixels;"
            f" images/s, median and range of {facts['ratios']['bound']['n']} runs in turns.",
            "",
            "| way | images/s | range |",
            "| --- | ---: | ---: |",
            *(
                f"| {names[way]} | {pace['median']:,.0f} | {pace['low']:,.0f} to {pace['high']:,.0f} |"
                for way, pace in facts["images_per_second"].items()
            ),
            "",
            "| `convscope predict` over | ratio | range |",
            "| --- | ---: | ---: |",
            *(
                f"| {ratios[name]} | {each['median']:.2f} | {each['low']:.2f} to {each['high']:.2f} |"
                for name, each in facts["ratios"].items()
            ),
            "",
            f"One image from a cold start, a process of its own: {cold['median']:.2f} s, median of {cold['n']}"
            f" ({cold['low']:.2f} to {cold['high']:.2f}).",
            "",
            KEPT,
            "",
            f"Machine: {machine['processor']}, {machine['cores']} cores, Python {machine['python']}, {libraries}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
