"""The plan of a training: the learning rate and the image size of each step, as pure functions of the step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from convscope.datasets.batches import BatchOrder
from convscope.datasets.dataset import Dataset
from convscope.recipe.resolved import ResolvedRecipe
from convscope.recipe.validation import Schedule
from convscope.training.learning_rate_schedule import learning_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The plan of a training of `num_steps` steps.

    Attributes:
        num_steps: optimisation steps in all; 0 where they are not measured yet.
        steps_per_epoch: full batches in one pass over the training images.
        schedule: of the learning rate.
        peak: the highest learning rate.
        sizes: image sizes in pixels, in the order of their use; the last is that of the finished network.
        shares: share of the steps at each size; they add up to 1.
    """

    num_steps: int
    steps_per_epoch: int
    schedule: Schedule
    peak: float
    sizes: tuple[int, ...]
    shares: tuple[float, ...]

    def with_steps(self, num_steps: int) -> Self:
        """This plan for another number of steps."""
        return replace(self, num_steps=num_steps)

    def learning_rate(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        return learning_rate(self.schedule, self.peak, position=(step + 0.5) / max(self.num_steps, 1))

    def image_size(self, step: int) -> int:
        """The image size of step `step`, counted from 0, in pixels."""
        end = 0.0
        for size, share in zip(self.sizes, self.shares, strict=True):
            end += share * self.num_steps
            if step < round(end):
                return size
        return self.sizes[-1]

    def pixels(self, num_steps: int) -> float:
        """The pixels of one image, summed over the first `num_steps` steps: a measure of the time that they take."""
        first, end, total = 0, 0.0, 0.0
        for size, share in zip(self.sizes, self.shares, strict=True):
            end += share * self.num_steps
            last = min(num_steps, round(end))
            total += size**2 * max(last - first, 0)
            first = max(first, last)
        return total + self.sizes[-1] ** 2 * (num_steps - first)


def make_plan(recipe: ResolvedRecipe, dataset: Dataset) -> Plan:
    """The plan of a recipe for a data set; with a budget it has 0 steps until they are measured (`budget.py`)."""
    steps_per_epoch = order_images(recipe, dataset).steps_per_epoch
    sizes = image_sizes(recipe)
    return Plan(
        num_steps=recipe.length.num_steps(steps_per_epoch),
        steps_per_epoch=steps_per_epoch,
        schedule=recipe.schedule,
        peak=recipe.learning_rate,
        sizes=tuple(size for size, _ in sizes),
        shares=tuple(share for _, share in sizes),
    )


def image_sizes(recipe: ResolvedRecipe) -> list[tuple[int, float]]:
    """Each image size in pixels with its share of the steps, in the order of their use."""
    smaller = [round(share * recipe.image_size) for share in recipe.sizes]
    shares = (*recipe.size_shares, 1 - sum(recipe.size_shares))
    return list(zip((*smaller, recipe.image_size), shares, strict=True))


def order_images(recipe: ResolvedRecipe, dataset: Dataset) -> BatchOrder:
    """The order in which the training images are used."""
    return BatchOrder(dataset.rows("train"), recipe.batch_size, recipe.seed)
