"""The rules of resuming a run: what may change, and what must be as it was, so that it ends with the same bits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from convscope.datasets.dataset import read_samples
from convscope.datasets.splits import Sample
from convscope.errors import RunError
from convscope.formatting import plural
from convscope.recipe.defaults import AUTO
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import Length, ResolvedRecipe
from convscope.recipe.validation import LENGTHS
from convscope.run import Run
from convscope.training.checkpoint import Checkpoint, load_checkpoint

logger = logging.getLogger(__name__)

CHANGEABLE = ("epochs", "steps", "patience", "license")  # a training may be prolonged until its end
NEW_RUN = "leave it out, or start a new run with another `out`"


def resume_recipe(run: Run, choices: Recipe) -> ResolvedRecipe:
    """The recipe of a run with the changes that resuming it allows.

    Args:
        run: whose recipe.toml is complete.
        choices: what is chosen now; what is left open stays as it is. `auto` stays what it was resolved to, and a
            budget the steps and the image size that it was spent on.

    Raises:
        RunError: a choice would change the result.
    """
    saved = run.recipe
    values = saved.values()
    chosen = {name: value for name, value in choices.chosen().items() if value != AUTO}
    if chosen.pop("budget", None) is not None:
        chosen.pop("image_size", None)
    for name, value in chosen.items():
        if name not in CHANGEABLE and value != values[name]:
            raise RunError(
                found=f"{name} = {value!r}, but {run.path} was started with {values[name]!r}",
                expected="the same recipe, so that the result is the same as without a break",
                fix=NEW_RUN,
            )
    length = next((Length(name, chosen[name]) for name in LENGTHS if name in chosen), saved.length)
    if length != saved.length and (saved.schedule != "constant" or saved.sizes):
        raise RunError(
            found=f"another length for {run.path}, whose learning rate or image sizes were planned for the first",
            expected="the same length",
            fix=NEW_RUN,
        )
    return replace(
        saved,
        length=length,
        patience=chosen.get("patience", saved.patience),
        license=chosen.get("license", saved.license),
    )


def check_length(checkpoint: Checkpoint | None, *, num_steps: int) -> None:
    """Check that a run has not taken more steps already than it is to have in all.

    Raises:
        RunError: it has.
    """
    if checkpoint is not None and checkpoint.step > num_steps:
        raise RunError(
            found=f"{plural(num_steps, 'step')} in all, where the run is at step {checkpoint.step:,} already",
            expected="at least as many",
            fix=f"choose `steps={checkpoint.step}` or more, or leave it out",
        )


def check_samples(run: Run, samples: Sequence[Sample]) -> None:
    """Check that a run has the same images in the same splits as when it was started.

    Raises:
        RunError: an image was changed, added or removed.
    """
    if not run.data_file.exists():  # it was killed before that was written
        return
    saved = {sample.path: sample for sample in read_samples(run.data_file)}
    now = {sample.path: sample for sample in samples}
    changed = [path for path in saved.keys() | now.keys() if saved.get(path) != now.get(path)]
    if changed:
        raise RunError(
            found=f"{len(changed):,} images were changed, added or removed since the run started, such as"
            f" {min(changed)}",
            expected="the images that the run was started with",
            fix="restore them, or start a new run with another `out`",
        )


def load_last_checkpoint(run: Run) -> Checkpoint | None:
    """The newest intact checkpoint of a run; None if it has none yet. Damaged ones are logged.

    Raises:
        RunError: all of its checkpoints are damaged.
    """

    def log_damage(message: str) -> None:
        logger.info(message)
        run.log("damaged", text=message)

    return load_checkpoint(run.checkpoints, on_damage=log_damage)
