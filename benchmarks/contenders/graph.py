"""The reference's computation: a TensorFlow 1 graph, a session, and a dictionary of arrays fed at each step.

All photos are decoded first and held in memory as float32, 0 to 1, as the reference's notebook does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from contenders.child import Report, Stopwatch, Task, answer, since
from contenders.photos import (
    BATCH_SIZE,
    DENSE_UNITS,
    DEVIATION,
    FILTERS,
    LEARNING_RATE,
    SIZE,
    list_photos,
    read_photo,
)

tf1 = tf.compat.v1
JUDGED_AT = (30, 100, 300)  # steps; then after each thousand, and at the end
JUDGED_AT_ONCE = 250  # images
WARMUP_STEPS = 15  # of a burst

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Placeholders, the operation that takes a step, the number of right answers in a batch, the count of weights."""

    images: Any
    labels: Any
    step: Any
    correct: Any
    weights: int


def learn(task: Task, report: Report) -> None:
    """Take `task.steps` steps, or those that end in `task.seconds`; judge on the way and at the end."""
    images, labels, num_classes = load(Path(task.data) / "train")
    unseen, truth, _ = load(Path(task.data) / "validation")
    graph = build(num_classes, seed=task.seed)
    stops = {*JUDGED_AT, *range(1000, task.steps, 1000), task.steps}
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        watch = None
        for step, rows in enumerate(batches(len(images), task.steps, seed=task.seed), start=1):
            session.run(graph.step, feed_dict={graph.images: images[rows], graph.labels: labels[rows]})
            if watch is None:
                report.tell("start", start_seconds=since(task.started), weights=graph.weights)
                watch = Stopwatch()
            is_over = watch.read() > task.seconds
            if step in stops or is_over:
                seconds = watch.stop()
                accuracy = judge(session, graph, unseen, truth)
                report.tell_point(seconds=seconds, step=step, images=step * BATCH_SIZE, accuracy=accuracy)
                watch.go_on()
            if is_over:
                return


def burst(task: Task, report: Report) -> None:
    """Time `task.steps` steps after a few that warm up."""
    images, labels, num_classes = load(Path(task.data) / "train")
    graph = build(num_classes, seed=task.seed)
    started = 0.0
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        for step, rows in enumerate(batches(len(images), WARMUP_STEPS + task.steps, seed=task.seed)):
            if step == WARMUP_STEPS:
                started = time.perf_counter()
            session.run(graph.step, feed_dict={graph.images: images[rows], graph.labels: labels[rows]})
    report.tell("burst", images=task.steps * BATCH_SIZE, seconds=time.perf_counter() - started)


def load(folder: Path) -> tuple[Floats, Labels, int]:
    """Every photo, (n, SIZE, SIZE, 3) float32 0-1, its label (n,), and the number of classes."""
    paths, labels, num_classes = list_photos(folder)
    images = np.empty((len(paths), SIZE, SIZE, 3), np.float32)
    for row, path in enumerate(paths):
        np.multiply(read_photo(path), np.float32(1 / 255), out=images[row])
    return images, labels, num_classes


def batches(num_images: int, num_steps: int, *, seed: int) -> Iterator[NDArray[np.int64]]:
    """The rows of each step, (BATCH_SIZE,): every epoch in a new order, the last few images left out."""
    chance = np.random.default_rng(seed)
    size = min(BATCH_SIZE, num_images)
    order = chance.permutation(num_images)
    first = 0
    for _ in range(num_steps):
        if first + size > num_images:
            order, first = chance.permutation(num_images), 0
        yield order[first : first + size]
        first += size


def build(num_classes: int, *, seed: int) -> Graph:
    """The reference network and its Adam, in the default graph."""
    tf1.disable_v2_behavior()
    tf1.set_random_seed(seed)
    images = tf1.placeholder(tf.float32, (None, SIZE, SIZE, 3))
    labels = tf1.placeholder(tf.int64, (None,))
    tensor, channels = images, 3
    for filters in FILTERS:
        kernel, bias = variables(3, 3, channels, filters)
        tensor = tf.nn.conv2d(tensor, kernel, strides=1, padding="SAME") + bias
        tensor = tf.nn.relu(tf.nn.max_pool2d(tensor, 2, 2, "SAME"))
        channels = filters
    width = int(np.prod(tensor.shape[1:].as_list()))
    kernel, bias = variables(width, DENSE_UNITS)
    tensor = tf.nn.relu(tf.matmul(tf.reshape(tensor, (-1, width)), kernel) + bias)  # (B, h, w, c) -> (B, h * w * c)
    kernel, bias = variables(DENSE_UNITS, num_classes)
    logits = tf.matmul(tensor, kernel) + bias
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    return Graph(
        images=images,
        labels=labels,
        step=tf1.train.AdamOptimizer(LEARNING_RATE).minimize(loss),
        correct=tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.int32)),
        weights=sum(int(np.prod(each.shape.as_list())) for each in tf1.trainable_variables()),
    )


def variables(*shape: int) -> tuple[Any, Any]:
    """A kernel and a bias."""
    kernel = tf1.Variable(tf1.truncated_normal(shape, stddev=DEVIATION))
    return kernel, tf1.Variable(tf1.constant(DEVIATION, shape=shape[-1:]))


def judge(session: Any, graph: Graph, images: Floats, labels: Labels) -> float:
    """The share of right answers."""
    correct = 0
    for first in range(0, len(images), JUDGED_AT_ONCE):
        part = slice(first, first + JUDGED_AT_ONCE)
        correct += session.run(graph.correct, feed_dict={graph.images: images[part], graph.labels: labels[part]})
    return float(correct) / len(images)


if __name__ == "__main__":
    answer({"learn": learn, "burst": burst})
