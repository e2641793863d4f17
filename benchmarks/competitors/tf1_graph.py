"""The reference's computation: a TensorFlow 1 graph and session, with a dictionary of arrays fed at each step.

All photos are decoded first and kept in memory as float32, 0 to 1, as in the reference's notebook.
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

from competitors.protocol import Report, Stopwatch, Task, run_task, seconds_since
from competitors.reference_network import (
    BATCH_SIZE,
    DENSE_UNITS,
    EVALUATION_BATCH_SIZE,
    FILTERS,
    INITIAL_DEVIATION,
    LEARNING_RATE,
    SIZE,
    list_photos,
    read_photo,
)

tf1 = tf.compat.v1
EARLY_EVALUATIONS = (30, 100, 300)  # steps; later ones after every thousand steps, and at the end
WARMUP_STEPS = 15  # of a burst

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The graph's tensors and operations.

    Attributes:
        images, labels: placeholders.
        train_step: the operation that takes a training step.
        num_correct: the number of right predictions in the batch.
        num_weights: trainable weights.
    """

    images: Any
    labels: Any
    train_step: Any
    num_correct: Any
    num_weights: int


def train(task: Task, report: Report) -> None:
    """Take `task.steps` steps, or as many as end within `task.seconds`; evaluate during training and at the end."""
    images, labels, num_classes = load_photos(Path(task.data) / "train")
    validation_images, validation_labels, _ = load_photos(Path(task.data) / "validation")
    graph = build_graph(num_classes, seed=task.seed)
    evaluation_steps = {*EARLY_EVALUATIONS, *range(1000, task.steps, 1000), task.steps}
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        stopwatch = None
        for step, rows in enumerate(draw_batches(len(images), task.steps, seed=task.seed), start=1):
            session.run(graph.train_step, feed_dict={graph.images: images[rows], graph.labels: labels[rows]})
            if stopwatch is None:
                report.send("start", start_seconds=seconds_since(task.started), weights=graph.num_weights)
                stopwatch = Stopwatch()
            is_over = stopwatch.read() > task.seconds
            if step in evaluation_steps or is_over:
                seconds = stopwatch.pause()
                accuracy = evaluate(session, graph, validation_images, validation_labels)
                report.send_point(seconds=seconds, step=step, images=step * BATCH_SIZE, accuracy=accuracy)
                stopwatch.resume()
            if is_over:
                return


def burst(task: Task, report: Report) -> None:
    """Time `task.steps` steps after the warm-up."""
    images, labels, num_classes = load_photos(Path(task.data) / "train")
    graph = build_graph(num_classes, seed=task.seed)
    started = 0.0
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        for step, rows in enumerate(draw_batches(len(images), WARMUP_STEPS + task.steps, seed=task.seed)):
            if step == WARMUP_STEPS:
                started = time.perf_counter()
            session.run(graph.train_step, feed_dict={graph.images: images[rows], graph.labels: labels[rows]})
    report.send("burst", images=task.steps * BATCH_SIZE, seconds=time.perf_counter() - started)


def load_photos(folder: Path) -> tuple[Floats, Labels, int]:
    """All photos, (n, SIZE, SIZE, 3) float32 0-1, their labels (n,), and the number of classes."""
    paths, labels, num_classes = list_photos(folder)
    images = np.empty((len(paths), SIZE, SIZE, 3), np.float32)
    for row, path in enumerate(paths):
        np.multiply(read_photo(path), np.float32(1 / 255), out=images[row])
    return images, labels, num_classes


def draw_batches(num_images: int, num_steps: int, *, seed: int) -> Iterator[NDArray[np.int64]]:
    """The rows of each step, (BATCH_SIZE,): every epoch in a new order, without its incomplete last batch."""
    random = np.random.default_rng(seed)
    size = min(BATCH_SIZE, num_images)
    order = random.permutation(num_images)
    first = 0
    for _ in range(num_steps):
        if first + size > num_images:
            order, first = random.permutation(num_images), 0
        yield order[first : first + size]
        first += size


def build_graph(num_classes: int, *, seed: int) -> Graph:
    """The reference network and its Adam optimiser, in the default graph."""
    tf1.disable_v2_behavior()
    tf1.set_random_seed(seed)
    images = tf1.placeholder(tf.float32, (None, SIZE, SIZE, 3))
    labels = tf1.placeholder(tf.int64, (None,))
    tensor, channels = images, 3
    for filters in FILTERS:
        kernel, bias = create_variables(3, 3, channels, filters)
        tensor = tf.nn.conv2d(tensor, kernel, strides=1, padding="SAME") + bias
        tensor = tf.nn.relu(tf.nn.max_pool2d(tensor, 2, 2, "SAME"))
        channels = filters
    width = int(np.prod(tensor.shape[1:].as_list()))
    kernel, bias = create_variables(width, DENSE_UNITS)
    tensor = tf.nn.relu(tf.matmul(tf.reshape(tensor, (-1, width)), kernel) + bias)  # (B, h, w, c) -> (B, h * w * c)
    kernel, bias = create_variables(DENSE_UNITS, num_classes)
    logits = tf.matmul(tensor, kernel) + bias
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    return Graph(
        images=images,
        labels=labels,
        train_step=tf1.train.AdamOptimizer(LEARNING_RATE).minimize(loss),
        num_correct=tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.int32)),
        num_weights=sum(int(np.prod(variable.shape.as_list())) for variable in tf1.trainable_variables()),
    )


def create_variables(*shape: int) -> tuple[Any, Any]:
    """A kernel and a bias."""
    kernel = tf1.Variable(tf1.truncated_normal(shape, stddev=INITIAL_DEVIATION))
    return kernel, tf1.Variable(tf1.constant(INITIAL_DEVIATION, shape=shape[-1:]))


def evaluate(session: Any, graph: Graph, images: Floats, labels: Labels) -> float:
    """The accuracy on some images."""
    num_correct = 0
    for first in range(0, len(images), EVALUATION_BATCH_SIZE):
        rows = slice(first, first + EVALUATION_BATCH_SIZE)
        num_correct += session.run(
            graph.num_correct, feed_dict={graph.images: images[rows], graph.labels: labels[rows]}
        )
    return float(num_correct) / len(images)


if __name__ == "__main__":
    run_task({"train": train, "burst": burst})
