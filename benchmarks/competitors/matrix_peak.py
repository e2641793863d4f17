"""The machine's matrix peak: large products and convolutions, timed one by one, in TensorFlow and PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from summaries import summarize

from competitors.protocol import Report, Task, run_task

WARMUP_RUNS, MIN_RUNS, MAX_RUNS, MIN_SECONDS = 2, 4, 20, 0.5
CONVOLUTIONS = ((64, 64), (128, 32))  # (channels in and out, image side): 9.7 GFLOP each
CONVOLVED_IMAGES = 32


def tensorflow_products(task: Task, report: Report) -> None:
    """Products and convolutions in TensorFlow, in `task.precision`."""
    import tensorflow as tf

    dtype = tf.as_dtype(task.precision)
    for size in task.sizes:
        matrix = tf.cast(tf.random.normal((size, size)), dtype)
        product = partial(tf.matmul, matrix, matrix)
        send_speed(task, report, f"TensorFlow, {size} x {size} matrices", 2 * size**3, product)
    for channels, side in CONVOLUTIONS:
        images = tf.cast(tf.random.normal((CONVOLVED_IMAGES, side, side, channels)), dtype)
        kernel = tf.cast(tf.random.normal((3, 3, channels, channels)), dtype)
        operations = 2 * CONVOLVED_IMAGES * side * side * 9 * channels * channels
        convolution = partial(tf.nn.conv2d, images, kernel, strides=1, padding="SAME")
        send_speed(task, report, f"TensorFlow, 3x3 convolutions, {channels} channels", operations, convolution)


def torch_products(task: Task, report: Report) -> None:
    """Products in PyTorch, in `task.precision`."""
    import torch

    dtype = getattr(torch, task.precision)
    for size in task.sizes:
        matrix = torch.randn(size, size).to(dtype)
        product = partial(torch.matmul, matrix, matrix)
        send_speed(task, report, f"PyTorch, {size} x {size} matrices", 2 * size**3, product)


def send_speed(task: Task, report: Report, name: str, operations: int, compute: Callable[[], object]) -> None:
    """Time `compute`, which takes `operations` floating-point operations, and report GFLOP/s."""
    speed = summarize([operations / 1e9 / seconds for seconds in run_seconds(compute)])
    report.send("product", name=name, precision=task.precision, gflop_per_second=speed)


def run_seconds(compute: Callable[[], object]) -> Iterator[float]:
    """The seconds of each run after the warm-up, until `MAX_RUNS` or `MIN_SECONDS` in all."""
    for _ in range(WARMUP_RUNS):
        compute()
    total = 0.0
    for run in range(MAX_RUNS):
        if run >= MIN_RUNS and total > MIN_SECONDS:
            return
        started = time.perf_counter()
        compute()
        seconds = time.perf_counter() - started
        total += seconds
        yield seconds


if __name__ == "__main__":
    run_task({"products": tensorflow_products})
