"""Which precision a network trains in: bfloat16 where the processor has it and is faster with it, else float32.

Having the instructions is not enough: on some processors that have them a product in bfloat16 takes longer than in
float32 (measured), on others half as long. Weights, statistics and sums are float32 in both.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from convscope.networks.frameworks import tf

Precision = Literal["float32", "bfloat16"]
FEATURES = ("avx512_bf16", "amx_bf16")  # as Linux names what TensorFlow's kernels use
PROBE_SECONDS = 0.8
WORTH = 1.2  # times as fast, or it is not worth the digits
SIDE_BY_SIDE = 2
SHAPE, KERNEL = (32, 32, 32, 64), (3, 3, 64, 64)


def choose_precision(asked: Literal["auto", "float32", "bfloat16"]) -> Precision:
    """The precision to train in; `auto` measures for a second where there is a choice."""
    if asked != "auto":
        return asked
    if not has_bfloat16():
        return "float32"
    return _faster()


@functools.cache  # one answer in a process: two trainings in it are in the same precision
def _faster() -> Precision:
    measured = rates("float32", "bfloat16")
    return "bfloat16" if measured["bfloat16"] > WORTH * measured["float32"] else "float32"


def has_bfloat16(facts: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16; False where that cannot be told."""
    try:
        words = set(facts.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return not words.isdisjoint(FEATURES)


def measure_operations(precision: Precision) -> float:
    """About how many floating-point operations a second convolutions take, forward and back."""
    batch, height, width, filters = SHAPE
    return rates(precision)[precision] * SIDE_BY_SIDE * 3 * 2 * batch * height * width * filters * math.prod(KERNEL[:3])


def rates(*precisions: Precision, seconds: float = PROBE_SECONDS) -> dict[Precision, float]:
    """How often a second typical convolutions, two side by side as in a training step, go forward and back, at best.

    The precisions take turns, so that what else the machine does meets them alike.
    """
    tries = {precision: _try_of(precision) for precision in precisions}
    best = dict.fromkeys(precisions, math.inf)
    for attempt in tries.values():
        attempt()  # compiles
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        for precision, attempt in tries.items():
            started = time.perf_counter()
            attempt()
            best[precision] = min(best[precision], time.perf_counter() - started)
    return {precision: 1 / taken for precision, taken in best.items()}


def _try_of(precision: Precision) -> Callable[[], None]:
    def once(images: Any, kernel: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch((images, kernel))
            answer = tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME"))
        return tape.gradient(answer, (images, kernel))

    def work(images: Any, kernel: Any) -> Any:
        return [once(images + number, kernel) for number in range(SIDE_BY_SIDE)]

    images, kernel = (tf.cast(tf.random.stateless_normal(shape, (0, 0)), precision) for shape in (SHAPE, KERNEL))
    compiled = tf.function(work, jit_compile=False, autograph=False)
    return lambda: compiled(images, kernel)[0][1].numpy()
