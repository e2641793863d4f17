"""Learner: a network and its data set, trained a few steps at a time, as a plan says.

All of its state is in `snapshot()`: put back into a learner of the same recipe and data, training continues to the same
bits as if it had never stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from convscope.datasets.augmentation import Augmentation
from convscope.datasets.batches import Prefetch, TrainingInput, training_batches
from convscope.datasets.dataset import Dataset, check_dataset, open_dataset
from convscope.datasets.memory_map import RowReader
from convscope.errors import RecipeError
from convscope.formatting import format_duration
from convscope.networks.catalog import build_network, random_states
from convscope.networks.compact import whiten
from convscope.progress import progress
from convscope.randomness import generator
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import ResolvedRecipe
from convscope.signals import stop_requests
from convscope.training.checkpoint import Checkpoint
from convscope.training.history import Epoch, best_epoch, has_converged
from convscope.training.linear_probe import fit_linear_probe
from convscope.training.optimizer import make_optimizer
from convscope.training.plan import Plan, make_plan, order_images
from convscope.training.preparation import list_images, resolve_recipe
from convscope.training.state import TrainingState
from convscope.training.step import Tally, make_training_step
from convscope.training.validation import Evaluator, ResizedImages

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

WHITENING_IMAGES = 2000  # that the first filters of `compact` are computed from


class Learner:
    """A network that is trained on a data set.

    Args:
        dataset: decoded and split.
        recipe: complete.
        plan: of `recipe` for `dataset`.
        checkpoint: the state to continue from, of a learner of the same recipe and data; None: start anew.

    Attributes:
        dataset, recipe, plan: as given; another length of the training changes `plan` and `recipe` (`set_num_steps`).
        model: the `keras.Model`, from uint8 images to probabilities.

    Example:
        >>> learner = Learner.open("photos", Recipe(image_size=64, steps=1000))
        >>> learner.fit(steps=100)
        >>> learner.evaluate()
        {'loss': 0.61, 'accuracy': 0.66}
        >>> learner.fit(steps=900)  # continues: 1,000 steps in all
    """

    def __init__(
        self, dataset: Dataset, recipe: ResolvedRecipe, plan: Plan, *, checkpoint: Checkpoint | None = None
    ) -> None:
        self.dataset = dataset
        self.recipe = recipe
        self.plan = plan
        self.model = build_network(
            recipe, len(dataset.classes), precision=recipe.precision, load_weights=checkpoint is None
        )
        self._images = ResizedImages(dataset.images)
        self._order = order_images(recipe, dataset)
        self._tally = Tally()
        self._evaluator = Evaluator(self.model, dataset, self._images)
        optimizer = make_optimizer(recipe, self.model)
        self._train = make_training_step(
            self.model,
            optimizer,
            self._tally,
            batch_size=min(recipe.batch_size, len(self._order.rows)),
            label_smoothing=recipe.label_smoothing,
        )
        self._state = TrainingState(self.model, optimizer.state | self._tally.state | random_states(self.model))
        if checkpoint is None:
            self._initialize()
        else:
            self.restore(checkpoint)

    @classmethod
    def open(cls, data: str | Path, recipe: Recipe | None = None, *, cache: Path | None = None) -> Self:
        """A learner for a folder of images: lists them, completes the recipe, decodes, and plans.

        Args:
            data: a folder or manifest, as `convscope train` takes it.
            recipe: the choices; None: none.
            cache: where decoded images are kept; None: as `convscope.datasets.cache.cache_folder` says.

        Raises:
            FolderError: the data cannot be trained on.
            RecipeError: the recipe has a budget, which only `train` can spend.
        """
        choices = recipe or Recipe()
        if choices.budget is not None:
            raise RecipeError(
                found=f"a learner with a budget of {choices.budget:g} s, which it cannot measure",
                expected="a number of steps or epochs",
                fix="use `convscope.train`, which spends a budget, or choose `steps`",
            )
        listing = list_images(Path(data), choices)
        resolved = resolve_recipe(choices, listing)
        dataset = open_dataset(listing, resolved, cache=cache)
        check_dataset(dataset, max_refused=resolved.max_refused)
        return cls(dataset, resolved, make_plan(resolved, dataset))

    @property
    def step(self) -> int:
        """Optimisation steps taken so far."""
        return self._state.step

    @property
    def seconds(self) -> float:
        """Training time so far in seconds, evaluations included."""
        return self._state.seconds

    @property
    def history(self) -> list[Epoch]:
        """One row for each evaluated epoch."""
        return self._state.history

    @property
    def best(self) -> Epoch | None:
        """The epoch with the lowest validation loss, whose weights are kept; None before the first."""
        return best_epoch(self.history)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass over the training images."""
        return self.plan.steps_per_epoch

    @property
    def has_converged(self) -> bool:
        """Whether the validation loss has not fallen for as many epochs as the recipe's patience."""
        return has_converged(self.history, patience=self.recipe.patience)

    @property
    def has_fitted_head(self) -> bool:
        """Whether it starts with a head fitted on frozen features: a model already, evaluated as epoch 0."""
        return self.recipe.kind == "pretrained" and self.recipe.weights != "none"

    @property
    def restores_best_weights(self) -> bool:
        """Whether the finished model has the weights with the lowest validation loss, not the last ones."""
        return self.recipe.patience > 0 or self.has_fitted_head

    def fit(self, *, steps: int | None = None, epochs: int | None = None) -> list[Epoch]:
        """Train for so many steps or epochs more; one epoch if neither is given.

        Returns: the epochs that were completed, as rows of the history.

        Raises:
            KeyboardInterrupt: on Ctrl-C, between two steps: the learner is intact, and `fit` continues from there.
            RecipeError: the learning rate is planned to end before that.
        """
        num_steps = steps if steps is not None else self.steps_per_epoch * (1 if epochs is None else epochs)
        self._check_planned(self.step + num_steps)
        before = len(self.history)
        with stop_requests() as is_stopped:
            for _ in self.steps(self.step + num_steps):
                if is_stopped():
                    raise KeyboardInterrupt
        return self.history[before:]

    def steps(self, until: int, *, evaluate_last: bool = False) -> Iterator[Epoch | None]:
        """Train up to step `until`, pausing after each step; yields the epoch's row where one was completed, else None.

        With `evaluate_last` the epoch of the last step is evaluated even if it is incomplete.
        """
        if evaluate_last and self.step == until and (not self.history or self.history[-1].step < until):
            yield self._end_epoch()  # the training was stopped here before the evaluation
        batches = training_batches(self._training_input(), start=self.step)
        with (
            Prefetch(batches) as ready,
            progress("training", until, unit="steps", done=self.step, work=self.plan.pixels) as counter,
        ):
            while self.step < until:
                started = time.monotonic()
                learning_rate = np.float32(self.plan.learning_rate(self.step))  # a Python float would retrace
                self._train(*next(ready), learning_rate)
                self._state.step += 1
                ends = self.step % self.steps_per_epoch == 0 or (evaluate_last and self.step == until)
                self._state.seconds += time.monotonic() - started
                if counter.is_due():
                    counter.note = self._describe_epoch()  # before the epoch ends, which resets its loss
                row = self._end_epoch() if ends else None
                counter.advance()
                if row is not None:
                    left = format_duration(counter.seconds_left() or 0)
                    logger.info(f"{row.describe(-(-until // self.steps_per_epoch))}; {left} left")
                yield row

    def trial_steps(self, learning_rates: Iterable[float], *, size: int) -> Generator[float, None, None]:
        """Take a step at each learning rate, at one image size in pixels; yields each batch's mean loss.

        The steps change the weights but are not counted: `restore` a snapshot afterwards.
        """
        at_size = replace(self._training_input(), size_at_step=lambda _: size)
        with Prefetch(training_batches(at_size, start=self.step)) as ready:
            for learning_rate in learning_rates:
                self._tally.reset()
                self._train(*next(ready), np.float32(learning_rate))
                yield self._tally.read()[0]

    def evaluate(
        self, split: str = "validation", *, size: int | None = None, max_images: int | None = None
    ) -> dict[str, float]:
        """Mean cross-entropy (nats) and accuracy over every image of a split, or over its first `max_images`.

        At the recipe's image size, or another.

        Raises:
            FolderError: the split has no image.
        """
        return self._evaluator.evaluate(split, size=size or self.recipe.image_size, max_images=max_images)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, size, size, channels) uint8 -> (n, classes) float32 probabilities."""
        return self._evaluator.predict(images)

    def set_num_steps(self, num_steps: int) -> None:
        """Set the length of the training, in steps: for a budget, whose steps are measured on the learner itself.

        Raises:
            RuntimeError: a step was taken already, with the learning rate and image size of the plan so far.
        """
        if self.step:
            raise RuntimeError(f"the plan cannot change after the first step; the learner is at step {self.step}")
        self.plan = self.plan.with_steps(num_steps)
        self.recipe = self.recipe.with_steps(num_steps)

    def restore_best_weights(self) -> None:
        """Put back the weights of the epoch with the lowest validation loss, if one has ended."""
        self._state.restore_best_weights()

    def snapshot(self) -> Checkpoint:
        """A copy of the state, from which training continues exactly."""
        return self._state.snapshot()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take on the state in a checkpoint of the same recipe and data.

        Raises:
            RunError: it is of another network or optimiser; nothing was changed.
        """
        self._state.restore(checkpoint)

    def _check_planned(self, until: int) -> None:
        if self.plan.schedule != "constant" and until > self.plan.num_steps:
            raise RecipeError(
                found=f"{until:,} steps in all, where the learning rate is planned to end after"
                f" {self.plan.num_steps:,}",
                expected="at most as many steps as are planned",
                fix="plan more, such as Recipe(epochs=...), or choose Recipe(schedule='constant')",
            )

    def _initialize(self) -> None:
        """Compute from the images what the network starts with: whitening filters, or a fitted head."""
        if self.recipe.kind == "compact":
            whiten(self.model, self._draw_images())
        elif self.has_fitted_head:
            started = time.monotonic()
            metrics = fit_linear_probe(self.model, self.dataset, seed=self.recipe.seed)
            self._state.seconds = time.monotonic() - started
            row = Epoch(epoch=0, step=0, seconds=round(self.seconds, 3), learning_rate=0.0, **asdict(metrics))
            self._state.add_epoch(row)

    def _end_epoch(self) -> Epoch:
        """Evaluate the network, which counts as training time, and add a row to the history."""
        started = time.monotonic()
        loss, accuracy = self._tally.read()
        validation = self.evaluate(size=self.plan.image_size(self.step - 1))
        self._state.seconds += time.monotonic() - started
        row = Epoch(
            epoch=-(-self.step // self.steps_per_epoch),
            step=self.step,
            seconds=round(self.seconds, 3),
            loss=loss,
            accuracy=accuracy,
            val_loss=validation["loss"],
            val_accuracy=validation["accuracy"],
            learning_rate=self.plan.learning_rate(self.step - 1),
        )
        self._tally.reset()
        self._state.add_epoch(row)
        return row

    def _describe_epoch(self) -> str:
        """The epoch that is running, with its loss and accuracy so far."""
        loss, accuracy = self._tally.read()
        return f"epoch {-(-self.step // self.steps_per_epoch)}, loss {loss:.3f}, accuracy {accuracy:.1%}"

    def _draw_images(self) -> NDArray[np.uint8]:
        """Training images drawn at random, at the size of the first steps: (n, size, size, channels) uint8."""
        shuffled: NDArray[np.int64] = generator(self.recipe.seed, "whitening").permutation(self._order.rows)
        return RowReader(self._images.at(self.plan.sizes[0]))[shuffled[:WHITENING_IMAGES]]

    def _training_input(self) -> TrainingInput:
        """The input pipeline of the training steps."""
        recipe = self.recipe
        return TrainingInput(
            images={size: self._images.at(size) for size in self.plan.sizes},
            labels=self.dataset.labels,
            order=self._order,
            augmentation=Augmentation(
                zoom=recipe.zoom, flip=recipe.flip, shift=recipe.shift, erase=recipe.erase, seed=recipe.seed
            ),
            size_at_step=self.plan.image_size,
        )
