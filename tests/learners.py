"""Learners for tests: made from a recipe and an open data set, and compared bit for bit."""

from __future__ import annotations

from convscope.datasets.dataset import Dataset
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import ResolvedRecipe, resolve
from convscope.training.checkpoint import Checkpoint
from convscope.training.learner import Learner
from convscope.training.plan import make_plan


def make_learner(dataset: Dataset, recipe: Recipe | ResolvedRecipe, *, checkpoint: Checkpoint | None = None) -> Learner:
    """A learner of a recipe that names its network, with the plan that follows from it."""
    complete = resolve(recipe) if isinstance(recipe, Recipe) else recipe
    return Learner(dataset, complete, make_plan(complete, dataset), checkpoint=checkpoint)


def bits(checkpoint: Checkpoint) -> object:
    """Everything in a checkpoint that has to be equal in two equal trainings: all but the seconds."""
    history = [{**row, "seconds": 0} for row in checkpoint.facts["history"]]
    best = checkpoint.facts["best"]
    arrays = {name: (array.dtype, array.shape, array.tobytes()) for name, array in checkpoint.arrays.items()}
    return checkpoint.step, arrays, history, best and {**best, "seconds": 0}
