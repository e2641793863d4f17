"""The precision that a network trains in: bfloat16 where the processor has it and is faster with it, else float32.

The instructions alone are not enough: on some processors that have them a product in bfloat16 takes longer than in
float32 (measured), on others half as long. Weights, statistics and sums are float32 in both.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convscope.networks.frameworks import tf
from convscope.recipe.validation import Precision, PrecisionChoice

CPU_FLAGS = ("avx512_bf16", "amx_bf16")  # Linux's names for the instructions that TensorFlow's kernels use
TIMING_SECONDS = 0.8
MIN_SPEEDUP = 1.2  # below, bfloat16 is not worth the lost digits
NUM_PARALLEL = 2  # convolutions side by side, as in a training step
SHAPE, KERNEL = (32, 32, 32, 64), (3, 3, 64, 64)


def choose_precision(choice: PrecisionChoice) -> Precision:
    """The precision to train in; `auto` measures for a second on processors that have bfloat16."""
    if choice != "auto":
        return choice
    if not has_bfloat16():
        return "float32"
    return _measure_faster()


@functools.cache  # one result in a process: two trainings in it have the same precision
def _measure_faster() -> Precision:
    rates = measure_rates("float32", "bfloat16")
    return "bfloat16" if rates["bfloat16"] > MIN_SPEEDUP * rates["float32"] else "float32"


def has_bfloat16(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has instructions for bfloat16; False where that is not known."""
    try:
        words = set(cpu_info.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return not words.isdisjoint(CPU_FLAGS)


def measure_operations(precision: Precision) -> float:
    """The approximate floating-point operations per second of convolutions, forward and backward."""
    batch, height, width, filters = SHAPE
    operations = 3 * 2 * batch * height * width * filters * math.prod(KERNEL[:3])
    return measure_rates(precision)[precision] * NUM_PARALLEL * operations


def measure_rates(*precisions: Precision, seconds: float = TIMING_SECONDS) -> dict[Precision, float]:
    """How often per second typical convolutions, two side by side, run forward and backward, at best.

    The precisions take turns, so that the other work of the machine slows all of them equally.
    """
    runs = {precision: _convolutions(precision) for precision in precisions}
    best = dict.fromkeys(precisions, math.inf)
    for run in runs.values():
        run()  # compiles
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for precision, run in runs.items():
            started = time.perf_counter()
            run()
            best[precision] = min(best[precision], time.perf_counter() - started)
    return {precision: 1 / shortest for precision, shortest in best.items()}


def _convolutions(precision: Precision) -> Callable[[], None]:
    """A function that runs the convolutions once."""

    def gradients(images: Any, kernel: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch((images, kernel))
            output = tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME"))
        return tape.gradient(output, (images, kernel))

    def parallel(images: Any, kernel: Any) -> Any:
        return [gradients(images + number, kernel) for number in range(NUM_PARALLEL)]

    images, kernel = (tf.cast(tf.random.stateless_normal(shape, (0, 0)), precision) for shape in (SHAPE, KERNEL))
    compiled = tf.function(parallel, jit_compile=False, autograph=False)
    return lambda: compiled(images, kernel)[0][1].numpy()
