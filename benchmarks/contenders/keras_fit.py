"""The same network the way Keras 3 teaches it: `image_dataset_from_directory`, `Sequential`, `compile`, `fit`.

Everything that is not said is Keras's default, also whether the step is compiled by XLA.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from contenders.child import Report, Stopwatch, Task, answer, since
from contenders.photos import BATCH_SIZE, DENSE_UNITS, DEVIATION, FILTERS, LEARNING_RATE, SIZE

MANY = 1000  # epochs: time ends it


class Judge(keras.callbacks.Callback):  # type: ignore[misc]
    """Judges after each epoch, with the clock stopped, and ends the training when its time is over."""

    def __init__(self, task: Task, report: Report, validation: Any) -> None:
        super().__init__()
        self.task, self.report, self.validation = task, report, validation
        self.watch: Stopwatch | None = None
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.steps += 1
        if self.watch is None:
            facts = {"weights": self.model.count_params(), "jit_compile": bool(self.model.jit_compile)}
            self.report.tell("start", start_seconds=since(self.task.started), **facts)
            self.watch = Stopwatch()
        elif self.watch.read() >= self.task.seconds:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        if self.watch is None:
            return
        seconds = self.watch.stop()
        accuracy = self.model.evaluate(self.validation, verbose=0, return_dict=True)["accuracy"]
        self.report.tell_point(seconds=seconds, step=self.steps, images=self.steps * BATCH_SIZE, accuracy=accuracy)
        self.watch.go_on()


def learn(task: Task, report: Report) -> None:
    """Fit for `task.seconds`."""
    keras.utils.set_random_seed(task.seed)
    train = read(Path(task.data) / "train", seed=task.seed)
    num_classes = len(train.class_names)
    train = train.cache().shuffle(1000, seed=task.seed).prefetch(tf.data.AUTOTUNE)
    validation = read(Path(task.data) / "validation", seed=task.seed).cache().prefetch(tf.data.AUTOTUNE)
    model = build(num_classes)
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(train, epochs=MANY, callbacks=[Judge(task, report, validation)], verbose=2)


def read(folder: Path, *, seed: int) -> Any:
    """Batches of images (B, SIZE, SIZE, 3) float32 0-255 and labels (B,)."""
    return keras.utils.image_dataset_from_directory(
        folder, image_size=(SIZE, SIZE), batch_size=BATCH_SIZE, seed=seed, verbose=False
    )


def build(num_classes: int) -> Any:
    """The reference network, its first weights drawn as the reference's are."""
    layers = keras.layers
    network = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Rescaling(1 / 255)])
    for filters in FILTERS:
        network.add(layers.Conv2D(filters, 3, padding="same", activation="relu", **start()))
        network.add(layers.MaxPooling2D())
    network.add(layers.Flatten())
    network.add(layers.Dense(DENSE_UNITS, activation="relu", **start()))
    network.add(layers.Dense(num_classes, **start()))
    return network


def start() -> dict[str, Any]:
    """The initializers of a layer, as its keyword arguments."""
    return {
        "kernel_initializer": keras.initializers.TruncatedNormal(stddev=DEVIATION),
        "bias_initializer": keras.initializers.Constant(DEVIATION),
    }


if __name__ == "__main__":
    answer({"learn": learn})
