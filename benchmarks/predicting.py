"""How fast is `convscope predict`, compared with decoding and inference alone, Keras, PyTorch, and from a cold start?

python benchmarks/predicting.py RUN         measures with a finished run; writes docs/decisions/predicting.json and .md
python benchmarks/predicting.py --describe  only writes the page from the JSON

All methods get the same photos, in turns, each time in a new process; imports and the first batch of a framework are
not timed, the start of convscope's decoding processes is. About ten minutes on 2 cores.
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

from records import bullets, describe_machine, paragraph, record, table
from summaries import summarize

from convscope.environment import available_cores, describe_environment
from convscope.files import read_json, write_atomic, write_json

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "dogs-vs-cats"
PAGE = ROOT / "docs" / "decisions" / "predicting.md"
BATCH_SIZE = 32
TORCH_WORKERS = 2  # of the DataLoader, as in PyTorch's tutorials
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}

Results = dict[str, Any]


def main() -> None:
    """Measure and write, or only write the page; as a child process, time one method and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="a run folder")
    parser.add_argument("--data", type=Path, default=DATA, help="a folder of photos, one sub-folder per class")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--times", type=int, default=5, help="turns")
    parser.add_argument("--cold", type=int, default=10, help="cold starts")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--describe", action="store_true", help="measure nothing: make the page from the JSON")
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not (options.describe or options.run):
        parser.error("give a run folder, or --describe")
    if options.method:
        print(json.dumps(METHODS[options.method](options.run, options.data)))
        return
    file = options.page.with_suffix(".json")
    if not options.describe:
        results = measure(options.run, options.data, images=options.images, times=options.times, cold=options.cold)
        write_json(file, results)
    page = render_page(read_json(file))
    write_atomic(options.page, page)
    print(page)


def measure(run: Path, data: Path, *, images: int, times: int, cold: int) -> Results:
    """Time each method `times` times in turns, and the cold start `cold` times."""
    throughputs: dict[str, list[float]] = {method: [] for method in METHODS}
    with tempfile.TemporaryDirectory() as work:
        photos = link_photos(data, Path(work) / "photos", images)
        run_method(run, photos, "decoding")  # not counted: afterwards the files are in the page cache
        for _ in range(times):
            for method, values in throughputs.items():
                values.append(run_method(run, photos, method))
                print(f"{method}: {values[-1]:,.0f} images/s", file=sys.stderr)
        cold_seconds = [time_cold_start(run, next(photos.rglob("*.jpg"))) for _ in range(cold)]
    machine = describe_environment(data)
    machine["libraries"]["torch"] = metadata.version("torch")
    return {
        "machine": {name: machine[name] for name in ("processor", "cores", "python", "libraries")},
        "run": describe_run(run),
        "images": images,
        "images_per_second": {method: {**summarize(values), "all": values} for method, values in throughputs.items()},
        "ratios": {name: summarize(values) for name, values in compute_ratios(throughputs).items()},
        "cold_start_seconds": {**summarize(cold_seconds), "all": cold_seconds},
    }


def compute_ratios(throughputs: dict[str, list[float]]) -> dict[str, list[float]]:
    """`predict` over the other methods, turn by turn. The bound is that of cores that either decode or infer."""
    ratios: dict[str, list[float]] = {"slower": [], "bound": [], "in turns": [], "keras": [], "torch": []}
    for turn, predict in enumerate(throughputs["predict"]):
        others = {method: values[turn] for method, values in throughputs.items()}
        inference = max(others["inference"], others["inference in turns"])
        ratios["slower"].append(predict / min(others["decoding"], inference))
        ratios["bound"].append(predict * (1 / others["decoding"] + 1 / inference))
        ratios["in turns"].append(predict / others["predict in turns"])
        ratios["keras"].append(predict / others["keras"])
        ratios["torch"].append(predict / others["torch"])
    return ratios


def link_photos(data: Path, folder: Path, count: int) -> Path:
    """Link the first photos of each class into `folder`, the same number of each; returns `folder`."""
    class_folders = sorted(entry for entry in data.iterdir() if entry.is_dir())
    for class_folder in class_folders:
        (folder / class_folder.name).mkdir(parents=True)
        for photo in sorted(class_folder.iterdir())[: count // len(class_folders)]:
            (folder / class_folder.name / photo.name).symlink_to(photo)
    return folder


def run_method(run: Path, photos: Path, method: str) -> float:
    """Time one method in a new process. Returns: images per second."""
    command = [sys.executable, __file__, str(run), "--data", str(photos), "--method", method]
    completed = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.PIPE, check=True)
    timing = json.loads(completed.stdout.splitlines()[-1])
    return float(timing["images"] / timing["seconds"])


def time_cold_start(run: Path, photo: Path) -> float:
    """Seconds of the process `convscope predict RUN PHOTO`."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "convscope", "predict", str(run), str(photo)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


# ---- the methods: each gets a run and a folder of photos, and returns the number of photos and the seconds


def time_predict(run: Path, photos: Path) -> Results:
    """`predict`, from opening the model to the table."""
    from convscope.prediction.prediction import predict

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        predictions = predict(run, [str(photos)], out=Path(folder) / "out.csv")
        return make_timing(predictions.count, started)


def time_predict_in_turns(run: Path, photos: Path) -> Results:
    """`predict` with one batch after the other, each on all cores."""
    from convscope.prediction import inference

    inference.MAX_CONCURRENT_BATCHES = 1
    return time_predict(run, photos)


def time_decoding(run: Path, photos: Path) -> Results:
    """convscope's decoding alone."""
    from convscope.bundle.bundle import open_bundle
    from convscope.images.decoder_pool import decode_files

    paths, square = list_photos(photos), open_bundle(run).square
    started = time.perf_counter()
    return make_timing(sum(decoded.image is not None for decoded in decode_files(paths, square)), started)


def time_inference(run: Path, photos: Path) -> Results:
    """ONNX Runtime alone as `predict` uses it: a batch on each core, one thread each."""
    from convscope.prediction.inference import open_for_inference

    return time_batches(open_for_inference(run), photos, concurrency=available_cores())


def time_inference_in_turns(run: Path, photos: Path) -> Results:
    """ONNX Runtime alone with its defaults: one batch after the other, each on all cores."""
    from convscope.bundle.bundle import open_bundle

    return time_batches(open_bundle(run), photos, concurrency=1)


def time_batches(bundle: Any, photos: Path, *, concurrency: int) -> Results:
    """Inference on decoded images, `concurrency` batches at a time."""
    import numpy as np

    from convscope.images.decoder_pool import decode_files

    images = np.stack(
        [decoded.image for decoded in decode_files(list_photos(photos), bundle.square) if decoded.image is not None]
    )
    batches = [images[first : first + BATCH_SIZE] for first in range(0, len(images), BATCH_SIZE)]
    bundle.predict(batches[0])
    with ThreadPoolExecutor(concurrency) as pool:
        started = time.perf_counter()
        return make_timing(sum(map(len, pool.map(bundle.predict, batches))), started)


def time_keras(run: Path, photos: Path) -> Results:
    """The run's network as Keras documents prediction: `image_dataset_from_directory` and `Model.predict`."""
    import keras
    import tensorflow as tf

    from convscope.exporting.trained_network import load_network
    from convscope.run import open_run

    network = load_network(open_run(run))
    size = network.recipe.image_size
    dataset = keras.utils.image_dataset_from_directory(
        photos, labels=None, image_size=(size, size), batch_size=BATCH_SIZE, shuffle=False, verbose=False
    ).prefetch(tf.data.AUTOTUNE)
    network.model.predict(dataset.take(1), verbose=0)
    started = time.perf_counter()
    return make_timing(len(network.model.predict(dataset, verbose=0)), started)


def time_torch(run: Path, photos: Path) -> Results:
    """The same layers as PyTorch documents prediction: a Dataset, a DataLoader with two workers, a plain loop."""
    import torch
    from competitors.torch_compact import Photos, build_compact
    from torch.utils.data import DataLoader

    from convscope.run import open_run

    recipe = open_run(run).recipe
    loader = DataLoader(Photos(list_photos(photos), recipe.image_size), BATCH_SIZE, num_workers=TORCH_WORKERS)
    model = build_compact(recipe.filters, num_classes=2).to(memory_format=torch.channels_last).eval()
    probabilities = []
    with torch.no_grad():
        model(torch.zeros(BATCH_SIZE, 3, recipe.image_size, recipe.image_size).to(memory_format=torch.channels_last))
        started = time.perf_counter()
        for images in loader:
            probabilities.append(model(images.to(memory_format=torch.channels_last)).softmax(dim=1))
    return make_timing(sum(map(len, probabilities)), started)


METHODS: dict[str, Callable[[Path, Path], Results]] = {
    "predict": time_predict,
    "predict in turns": time_predict_in_turns,
    "decoding": time_decoding,
    "inference": time_inference,
    "inference in turns": time_inference_in_turns,
    "keras": time_keras,
    "torch": time_torch,
}


def make_timing(images: int, started: float) -> Results:
    """The number of images, and the seconds since `started`."""
    return {"images": images, "seconds": time.perf_counter() - started}


def list_photos(photos: Path) -> list[str]:
    """The photos in all class folders, in order."""
    return sorted(map(str, photos.glob("*/*")))


def describe_run(run: Path) -> Results:
    """The network, image size and classes of a run."""
    from convscope.bundle.bundle import open_bundle

    facts = open_bundle(run).facts
    return {name: facts[name] for name in ("network", "image_size", "classes")}


# ---- the page

METHOD_NAMES = {
    "predict": "**`convscope predict`, CSV to a file** (kept)",
    "predict in turns": "the same, with one batch after the other, each on all cores",
    "decoding": "its decoding alone",
    "inference": "its inference alone: a batch on each core, one thread each",
    "inference in turns": "ONNX Runtime alone, one batch after the other, each on all cores",
    "keras": "Keras: `image_dataset_from_directory`, `Model.predict`",
    "torch": f"PyTorch: `DataLoader` with {TORCH_WORKERS} workers, `channels_last`, `no_grad`",
}
RATIO_NAMES = {
    "slower": "the slower of decoding and inference alone, each with all cores to itself",
    "bound": "the bound for cores that either decode or infer: 1 / (1 / decoding + 1 / inference)",
    "in turns": "itself with one batch after the other",
    "keras": "Keras",
    "torch": "PyTorch",
}
REASONS = (
    "**A batch on each core with one thread each.** A thread that waits for one whose core a decoding process has taken"
    " is lost, and ONNX Runtime waits by spinning.",
    "**Fixed batches.** An image has a fixed position in a batch with fixed bounds in the list, so resumed and sharded"
    " runs give the same bits, whatever the arithmetic of a processor does with the size of a batch.",
    "**Rows are saved every five seconds**, not after a number of images, so a killed process loses as little time with"
    " a slow model as with a fast one.",
    "**The bound.** Decoding and inference share the cores, so the throughput of the slower of them alone cannot be"
    " reached; on the same cores the bound is the second ratio.",
)


def render_page(results: Results) -> str:
    """The decision record in Markdown."""
    run, cold = results["run"], results["cold_start_seconds"]
    method_rows = [
        (METHOD_NAMES[method], f"{speed['median']:,.0f}", f"{speed['low']:,.0f} to {speed['high']:,.0f}")
        for method, speed in results["images_per_second"].items()
    ]
    ratio_rows = [
        (RATIO_NAMES[name], f"{ratio['median']:.2f}", f"{ratio['low']:.2f} to {ratio['high']:.2f}")
        for name, ratio in results["ratios"].items()
    ]
    return record(
        "How does `predict` use the cores?",
        source="`benchmarks/predicting.py`",
        question=(
            "Decoding and inference share the cores. How should `predict` divide them, and how fast is it, compared"
            " with its two halves alone, with Keras and with PyTorch?"
        ),
        kept=(
            "Worker processes decode; ONNX Runtime predicts a batch on each core, one thread each. Batches have fixed"
            " bounds, and finished rows are saved every five seconds."
        ),
        machine=describe_machine(results["machine"]),
        sections=(
            "## Result",
            paragraph(
                f"{results['images']:,} JPEG photos of dogs-vs-cats, `{run['network']}` at {run['image_size']} px;"
                f" median and range of n = {results['ratios']['bound']['n']}, in turns, each in a new process"
                " ([JSON](predicting.json))."
            ),
            table("`convscope predict` over | ratio: | range:", ratio_rows),
            paragraph(
                f"A cold start, one image in a new process: {cold['median']:.2f} s, median of n = {cold['n']}"
                f" ({cold['low']:.2f} to {cold['high']:.2f})."
            ),
            "## What was tried",
            table("method | images/s: | range:", method_rows),
            "## Why",
            bullets(REASONS),
        ),
    )


if __name__ == "__main__":
    main()
