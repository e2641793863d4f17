"""The machine's matrix peak: large products, timed one by one, of each library that is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from contenders.child import Report, Task, answer, summary

LEAST_RUNS, MOST_RUNS, LEAST_SECONDS = 4, 20, 0.5
CONVOLUTIONS = ((64, 64), (128, 32))  # (channels in and out, side of the images): 9.7 GFLOP each
CONVOLVED_IMAGES = 32


def tensorflow_products(task: Task, report: Report) -> None:
    """Products and convolutions in TensorFlow, in `task.precision`."""
    import tensorflow as tf

    kind = tf.as_dtype(task.precision)
    for size in task.sizes:
        matrix = tf.cast(tf.random.normal((size, size)), kind)
        tell(task, report, f"TensorFlow, {size} x {size} matrices", 2 * size**3, partial(tf.matmul, matrix, matrix))
    for channels, side in CONVOLUTIONS:
        images = tf.cast(tf.random.normal((CONVOLVED_IMAGES, side, side, channels)), kind)
        kernel = tf.cast(tf.random.normal((3, 3, channels, channels)), kind)
        operations = 2 * CONVOLVED_IMAGES * side * side * 9 * channels * channels
        work = partial(tf.nn.conv2d, images, kernel, strides=1, padding="SAME")
        tell(task, report, f"TensorFlow, 3x3 convolutions, {channels} channels", operations, work)


def torch_products(task: Task, report: Report) -> None:
    """Products in PyTorch, in `task.precision`."""
    import torch

    kind = getattr(torch, task.precision)
    for size in task.sizes:
        matrix = torch.randn(size, size).to(kind)
        tell(task, report, f"PyTorch, {size} x {size} matrices", 2 * size**3, partial(torch.matmul, matrix, matrix))


def tell(task: Task, report: Report, name: str, operations: int, work: Callable[[], object]) -> None:
    """Time `work`, which is so many operations, and report its pace."""
    pace = summary([operations / 1e9 / seconds for seconds in timed(work)])
    report.tell("product", name=name, precision=task.precision, gflop_per_second=pace)


def timed(work: Callable[[], object]) -> Iterator[float]:
    """Seconds of each of some runs, after two that are not counted."""
    work()
    work()
    total = 0.0
    for run in range(MOST_RUNS):
        if run >= LEAST_RUNS and total > LEAST_SECONDS:
            return
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        total += seconds
        yield seconds


if __name__ == "__main__":
    answer({"products": tensorflow_products})
