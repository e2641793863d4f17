"""The reference network as Keras 3 documents it: `image_dataset_from_directory`, `Sequential`, `compile`, `fit`.

Everything else is Keras's default, also whether the step is compiled by XLA.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from competitors.protocol import Report, Stopwatch, Task, run_task, seconds_since
from competitors.reference_network import BATCH_SIZE, DENSE_UNITS, FILTERS, INITIAL_DEVIATION, LEARNING_RATE, SIZE

MAX_EPOCHS = 1000  # more than the time allows


class TimedEvaluation(keras.callbacks.Callback):  # type: ignore[misc]
    """Evaluates after each epoch, with the stopwatch paused, and stops the training when its time is over."""

    def __init__(self, task: Task, report: Report, validation: Any) -> None:
        super().__init__()
        self.task, self.report, self.validation = task, report, validation
        self.stopwatch: Stopwatch | None = None
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.steps += 1
        if self.stopwatch is None:
            network = {"weights": self.model.count_params(), "jit_compile": bool(self.model.jit_compile)}
            self.report.send("start", start_seconds=seconds_since(self.task.started), **network)
            self.stopwatch = Stopwatch()
        elif self.stopwatch.read() >= self.task.seconds:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        if self.stopwatch is None:
            return
        seconds = self.stopwatch.pause()
        accuracy = self.model.evaluate(self.validation, verbose=0, return_dict=True)["accuracy"]
        self.report.send_point(seconds=seconds, step=self.steps, images=self.steps * BATCH_SIZE, accuracy=accuracy)
        self.stopwatch.resume()


def train(task: Task, report: Report) -> None:
    """Fit for `task.seconds`."""
    keras.utils.set_random_seed(task.seed)
    training = read_dataset(Path(task.data) / "train", seed=task.seed)
    num_classes = len(training.class_names)
    training = training.cache().shuffle(1000, seed=task.seed).prefetch(tf.data.AUTOTUNE)
    validation = read_dataset(Path(task.data) / "validation", seed=task.seed).cache().prefetch(tf.data.AUTOTUNE)
    model = build_model(num_classes)
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(training, epochs=MAX_EPOCHS, callbacks=[TimedEvaluation(task, report, validation)], verbose=2)


def read_dataset(folder: Path, *, seed: int) -> Any:
    """Batches of images (B, SIZE, SIZE, 3) float32 0-255 and labels (B,)."""
    return keras.utils.image_dataset_from_directory(
        folder, image_size=(SIZE, SIZE), batch_size=BATCH_SIZE, seed=seed, verbose=False
    )


def build_model(num_classes: int) -> Any:
    """The reference network with the reference's initializers."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Rescaling(1 / 255)])
    for filters in FILTERS:
        model.add(layers.Conv2D(filters, 3, padding="same", activation="relu", **initializers()))
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dense(DENSE_UNITS, activation="relu", **initializers()))
    model.add(layers.Dense(num_classes, **initializers()))
    return model


def initializers() -> dict[str, Any]:
    """The initializers of a layer, as its keyword arguments."""
    return {
        "kernel_initializer": keras.initializers.TruncatedNormal(stddev=INITIAL_DEVIATION),
        "bias_initializer": keras.initializers.Constant(INITIAL_DEVIATION),
    }


if __name__ == "__main__":
    run_task({"train": train})
