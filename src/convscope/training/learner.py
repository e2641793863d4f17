"""Learner: a network and its data set, learning a few steps at a time; it goes on where it stood.

All of its state is in `snapshot()`: put back into a learner of the same recipe and data, the training goes on to the
same bits as if it had never stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.datasets.augmentation import Augmentation
from convscope.datasets.batches import Lessons, Order, Prefetch, evaluation_batches, training_batches
from convscope.datasets.dataset import Dataset, check_dataset, open_dataset
from convscope.datasets.memory_map import Reader
from convscope.datasets.resizing import images_at
from convscope.errors import FolderError, RecipeError, RunError
from convscope.exporting.bundle_writer import seal_model
from convscope.formatting import format_duration
from convscope.networks.catalog import build_network, random_states, read_weights, set_weights, weights_of
from convscope.networks.compact import whiten
from convscope.progress import progress
from convscope.randomness import generator
from convscope.recipe.recipe import Recipe
from convscope.signals import stop_requests
from convscope.training.auto_network import settle_network
from convscope.training.checkpoint import Checkpoint
from convscope.training.history import Epoch
from convscope.training.optimizer import Adam, Lamb, Muon, NesterovSGD, Optimizer
from convscope.training.precision import choose_precision
from convscope.training.pretrained_start import start_from_features
from convscope.training.schedule import Schedule
from convscope.training.step import Tally, make_evaluation_step, make_inference, make_training_step

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

WARMUP = 0.15  # share of the steps in which one-cycle goes up
JUDGED_AT_ONCE = 128  # images per evaluation step
WHITENED_IMAGES = 2000  # that the first filters of `compact` are made from


class Learner:
    """A network that learns the classes of a folder of images.

    Args:
        data: a folder or manifest, as `convscope train` takes it, or a `Dataset` that is open already.
        recipe: every choice; by default the default ones.
        cache: where decoded images are kept; by default as `convscope.datasets.cache.cache_folder` says.
        checkpoint: the state to go on from, of a learner of the same recipe and data; None: begin.

    Attributes:
        recipe: as given, but for what was chosen for these images on this machine.
        dataset: as given.
        model: the `keras.Model`, from uint8 images to probabilities.
        precision: of its activations.
        step: optimisation steps taken so far.
        history: one `Epoch` per judged epoch.

    Example:
        >>> learner = Learner("photos", Recipe(image_size=64, steps=1000))
        >>> learner.fit(steps=100)
        >>> learner.evaluate()
        {'loss': 0.61, 'accuracy': 0.66}
        >>> learner.fit(steps=900)  # goes on: 1,000 steps in all

    Raises:
        FolderError: the data cannot be trained on.
        RecipeError: the recipe has a budget, which only the verb `train` can spend.
    """

    def __init__(
        self,
        data: str | Path | Dataset,
        recipe: Recipe | None = None,
        *,
        cache: Path | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.recipe = recipe or Recipe()
        if self.recipe.budget is not None:
            raise RecipeError(
                found=f"a learner with a budget of {self.recipe.budget:g} s, which has no clock",
                expected="a number of steps or epochs",
                fix="use `convscope.train`, which spends a budget, or say steps",
            )
        self.recipe = settle_network(self.recipe, data if isinstance(data, Dataset) else Path(data))
        self.dataset = data if isinstance(data, Dataset) else open_dataset(Path(data), self.recipe, cache=cache)
        check_dataset(self.dataset, max_refused=self.recipe.max_refused)
        self.precision = choose_precision(self.recipe.precision)
        self.recipe = replace(self.recipe, precision=self.precision)  # what a resumed training needs to know
        self.model = build_network(
            self.recipe, len(self.dataset.classes), precision=self.precision, is_blank=checkpoint is not None
        )
        self.order = Order(self.dataset.rows("train"), self.recipe.batch_size, self.recipe.seed)
        self.schedule = plan(self.recipe, self.order.steps_per_epoch)
        self._scaled: dict[int, NDArray[np.uint8]] = {}
        self.step = 0
        self.seconds = 0.0
        self.history: list[Epoch] = []
        self.best: Epoch | None = None
        self._best_weights: dict[str, NDArray[np.generic]] = {}
        self._tally, self._judged = Tally(), Tally()
        self._optimizer = self._make_optimizer()
        self._train = make_training_step(
            self.model,
            self._optimizer,
            self._tally,
            batch_size=min(self.recipe.batch_size, len(self.order.rows)),
            label_smoothing=self.recipe.label_smoothing,
        )
        self._judge = make_evaluation_step(self.model, self._judged)
        self._infer = make_inference(self.model)
        if checkpoint is None:
            self._begin()
        else:
            self.go_back_to(checkpoint)

    @property
    def steps_per_epoch(self) -> int:
        return self.order.steps_per_epoch

    @property
    def has_converged(self) -> bool:
        """Whether the validation loss has not improved for as many epochs as the recipe's patience."""
        if not self.recipe.patience or self.best is None:
            return False
        return sum(row.step > self.best.step for row in self.history) >= self.recipe.patience

    @property
    def has_solved_head(self) -> bool:
        """Whether it begins with a head solved on features: a model already, judged by the first row of the history."""
        return self.recipe.kind == "pretrained" and self.recipe.weights != "none"

    @property
    def keeps_best(self) -> bool:
        """Whether the weights with the lowest validation loss are given back in the end, whatever came after them."""
        return self.recipe.patience > 0 or self.has_solved_head

    def fit(self, *, steps: int | None = None, epochs: int | None = None) -> list[Epoch]:
        """Learn on, for so many steps or epochs (one epoch if neither is given).

        Returns: the epochs that were completed, as rows of the history.

        Raises:
            KeyboardInterrupt: on Ctrl-C, between two steps: the learner is whole, and `fit` goes on from there.
            RecipeError: the plan of the learning rate ends before that.
        """
        num_steps = steps if steps is not None else self.steps_per_epoch * (1 if epochs is None else epochs)
        self._check_planned(self.step + num_steps)
        before = len(self.history)
        with stop_requests() as is_stopped:
            for _ in self.steps(self.step + num_steps):
                if is_stopped():
                    raise KeyboardInterrupt
        return self.history[before:]

    def _check_planned(self, until: int) -> None:
        if self.schedule.shape != "constant" and until > self.schedule.num_steps:
            raise RecipeError(
                found=f"{until:,} steps in all, where the learning rate is planned to end after"
                f" {self.schedule.num_steps:,}",
                expected="at most as many steps as are planned",
                fix="plan more, such as Recipe(epochs=...), or take Recipe(schedule='constant')",
            )

    def steps(self, until: int, *, judge_last: bool = False) -> Iterator[Epoch | None]:
        """Learn up to step `until`, pausing after each step; yields the epoch's row where one was completed, else None.

        With `judge_last` an epoch that ends with the last step counts as completed, whole or not.
        """
        if judge_last and self.step == until and (not self.history or self.history[-1].step < until):
            yield self._close_epoch()  # the training stopped here before it was judged
        source = training_batches(self._lessons(), start=self.step)
        with (
            Prefetch(source) as batches,
            progress("training", until, unit="steps", done=self.step, work=self.schedule.work) as counter,
        ):
            while self.step < until:
                started = time.monotonic()
                self._train(*next(batches), np.float32(self.schedule.learning_rate(self.step)))  # a float would retrace
                self.step += 1
                ends = self.step % self.steps_per_epoch == 0 or (judge_last and self.step == until)
                self.seconds += time.monotonic() - started
                row = self._close_epoch() if ends else None
                if counter.is_due():
                    counter.note = self._describe_step()
                counter.advance()
                if row is not None:
                    left = format_duration(counter.seconds_left() or 0)
                    logger.info(f"{row.describe(-(-until // self.steps_per_epoch))}; {left} left")
                yield row

    def _describe_step(self) -> str:
        """The epoch that is running, with its loss and accuracy so far."""
        loss, accuracy = self._tally.read()
        return f"epoch {-(-self.step // self.steps_per_epoch)}, loss {loss:.3f}, accuracy {accuracy:.1%}"

    def _close_epoch(self) -> Epoch:
        """Judge the network, which counts as training time, and add a row to the history."""
        started = time.monotonic()
        loss, accuracy = self._tally.read()
        judged = self.evaluate(size=self.schedule.size(self.step - 1))
        self.seconds += time.monotonic() - started
        row = Epoch(
            epoch=-(-self.step // self.steps_per_epoch),
            step=self.step,
            seconds=round(self.seconds, 3),
            loss=loss,
            accuracy=accuracy,
            val_loss=judged["loss"],
            val_accuracy=judged["accuracy"],
            learning_rate=self.schedule.learning_rate(self.step - 1),
        )
        self._tally.reset()
        self._keep(row)
        return row

    def _keep(self, row: Epoch) -> None:
        """Add a row to the history, and keep the weights where none were better."""
        self.history.append(row)
        if self.best is None or row.val_loss < self.best.val_loss:
            self.best = row
            self._best_weights = read_weights(self.model)

    def _begin(self) -> None:
        """Give the network what it can have of the images before its first step."""
        started = time.monotonic()
        if self.recipe.kind == "compact":
            whiten(self.model, self._some_images())
        elif self.has_solved_head:
            judged = start_from_features(self.model, self.dataset, seed=self.recipe.seed)
            self.seconds = time.monotonic() - started
            self._keep(Epoch(epoch=0, step=0, seconds=round(self.seconds, 3), learning_rate=0.0, **asdict(judged)))

    def evaluate(
        self, split: str = "validation", *, size: int | None = None, most: int | None = None
    ) -> dict[str, float]:
        """Mean cross-entropy (nats) and accuracy over every image of a split, or over the first `most` of them.

        At the recipe's image size, or another.

        Raises:
            FolderError: it has no image.
        """
        rows = self.dataset.rows(split)[:most]
        if not len(rows):
            splits = sorted({sample.split for sample in self.dataset.samples} - {""})
            raise FolderError(found=f"no images in the split {split!r}", expected=" or ".join(splits), fix="name one")
        images = self._images(size or self.recipe.image_size)
        batches = evaluation_batches(images, self.dataset.labels, rows, batch_size=JUDGED_AT_ONCE)
        self._judged.reset()
        with Prefetch(batches) as ready:
            for images, labels in ready:
                self._judge(images, labels)
        loss, accuracy = self._judged.read()
        return {"loss": loss, "accuracy": accuracy}

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The probabilities of each class, (n, classes) float32, of images (n, size, size, channels) uint8."""
        parts = np.split(images, range(JUDGED_AT_ONCE, len(images), JUDGED_AT_ONCE))
        return np.concatenate([self._infer(part).numpy() for part in parts])

    def save(self, folder: str | Path) -> Path:
        """Write the network as a bundle, which `evaluate` and `predict` take; returns its folder.

        Raises:
            BundleError: the bundle does not answer as the network does.
        """
        place = Path(folder)
        model = self.model
        if self.precision != "float32":
            model = build_network(self.recipe, len(self.dataset.classes), is_blank=True)
            set_weights(model, read_weights(self.model))
        seal_model(place, model, self.recipe, self.dataset)
        return place

    def steps_at(self, learning_rates: Iterable[float], *, size: int) -> Generator[float, None, None]:
        """Take a step at each learning rate, at one image size, counted nowhere; yields each batch's mean loss."""
        lessons = replace(self._lessons(), size_of=lambda _: size)
        with Prefetch(training_batches(lessons, start=self.step)) as batches:
            for learning_rate in learning_rates:
                self._tally.reset()
                self._train(*next(batches), np.float32(learning_rate))
                yield self._tally.read()[0]

    def set_num_steps(self, num_steps: int) -> None:
        """Plan learning rate and image size for another number of steps; before the first one only."""
        self.recipe = self.recipe.with_changes({"steps": num_steps, "budget": None})
        self.schedule = plan(self.recipe, self.steps_per_epoch)

    def restore_best(self) -> None:
        """Put back the weights of the epoch with the lowest validation loss, if one has ended."""
        if self._best_weights:
            set_weights(self.model, self._best_weights)

    def snapshot(self) -> Checkpoint:
        """Everything needed to go on exactly."""
        arrays = {f"weights/{name}": array for name, array in read_weights(self.model).items()}
        arrays |= {f"best/{name}": array for name, array in self._best_weights.items()}
        arrays |= {name: variable.numpy() for name, variable in self._variables().items()}
        facts = {
            "seconds": self.seconds,
            "history": [asdict(row) for row in self.history],
            "best": None if self.best is None else asdict(self.best),
        }
        return Checkpoint(self.step, {name: np.asarray(array) for name, array in arrays.items()}, facts)

    def go_back_to(self, checkpoint: Checkpoint) -> None:
        """Take on the state of a checkpoint of the same recipe and data.

        Raises:
            RunError: it is of another network or optimiser.
        """
        arrays: Mapping[str, Any] = checkpoint.arrays
        expected = {f"weights/{name}" for name in weights_of(self.model)} | self._variables().keys()
        if absent := sorted(expected - arrays.keys()):
            raise RunError(
                found=f"a checkpoint without {absent[0]}",
                expected="one of this recipe's network and optimizer",
                fix="put recipe.toml back as it was, or start a new run with another --out",
            )
        set_weights(self.model, _below("weights/", arrays))
        self._best_weights = _below("best/", arrays)
        for name, variable in self._variables().items():
            variable.assign(arrays[name])
        self.step = checkpoint.step
        self.seconds = checkpoint.facts["seconds"]
        self.history = [Epoch(**row) for row in checkpoint.facts["history"]]
        best = checkpoint.facts["best"]
        self.best = None if best is None else Epoch(**best)

    def _variables(self) -> dict[str, Any]:
        return self._optimizer.state | self._tally.state | random_states(self.model)

    def _images(self, size: int) -> NDArray[np.uint8]:
        """The data set's images at a size, scaled or opened once."""
        if size not in self._scaled:
            self._scaled[size] = images_at(self.dataset.images, size)
        return self._scaled[size]

    def _some_images(self) -> NDArray[np.uint8]:
        """Training images drawn at random, as small as they are first learned from."""
        drawn: NDArray[np.int64] = generator(self.recipe.seed, "whitening").permutation(self.order.rows)[
            :WHITENED_IMAGES
        ]
        return Reader(self._images(self.schedule.sizes[0]))[drawn]

    def _lessons(self) -> Lessons:
        recipe = self.recipe
        return Lessons(
            images={size: self._images(size) for size in self.schedule.sizes},
            labels=self.dataset.labels,
            order=self.order,
            augmentation=Augmentation(
                zoom=recipe.zoom, flip=recipe.flip, shift=recipe.shift, erase=recipe.erase, seed=recipe.seed
            ),
            size_of=self.schedule.size,
        )

    def _make_optimizer(self) -> Optimizer:
        learned = {name: weight.value for name, weight in weights_of(self.model).items() if weight.trainable}
        variables, names = list(learned.values()), list(learned)
        if self.recipe.optimizer == "adam":
            return Adam(variables, names)
        kinds: dict[str, type[Lamb | Muon | NesterovSGD]] = {"lamb": Lamb, "muon": Muon, "sgd": NesterovSGD}
        return kinds[self.recipe.optimizer](variables, names, weight_decay=self.recipe.weight_decay)


def plan(recipe: Recipe, steps_per_epoch: int) -> Schedule:
    """The learning rate and image size of each step, as a recipe says."""
    smaller = [round(share * recipe.image_size) for share in recipe.sizes]
    return Schedule(
        num_steps=recipe.num_steps(steps_per_epoch),
        shape=recipe.schedule,
        peak=recipe.learning_rate,
        warmup=WARMUP,
        sizes=(*smaller, recipe.image_size),
        shares=(*recipe.size_shares, 1 - sum(recipe.size_shares)),
    )


def _below(prefix: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
