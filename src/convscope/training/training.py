"""The verb `train`: a folder of images to a run folder with everything that using the model needs.

Stopped at any moment, by Ctrl-C, by a signal or by a power cut, a run continues with `resume` and ends with the same
bits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from convscope.datasets.dataset import write_samples
from convscope.errors import Interrupted
from convscope.files import explain_write_errors, read_json, write_atomic
from convscope.formatting import format_duration, plural
from convscope.recipe.recipe import Recipe
from convscope.run import Run, check_free, find_started_run, new_run, write_environment
from convscope.signals import stop_requests
from convscope.training.budget import count_affordable_steps
from convscope.training.bundle_export import save_bundle
from convscope.training.checkpoint import CHECKPOINT_SECONDS, save_checkpoint
from convscope.training.history import Epoch, write_history
from convscope.training.learner import Learner
from convscope.training.plan import make_plan
from convscope.training.preparation import check_network, list_images, open_images, resolve_recipe
from convscope.training.resuming import check_length, check_samples, load_last_checkpoint, resume_recipe
from convscope.training.tensorboard import check_tensorboard, write_scalars

logger = logging.getLogger(__name__)

LogScalars = Callable[[Epoch], None]


def train(
    data: Path,
    recipe: Recipe | None = None,
    *,
    out: Path | None = None,
    resume: bool = False,
    cache: Path | None = None,
    tensorboard: bool = False,
) -> Run:
    """Train a classifier on a folder of images; the run folder gets everything that using the model needs.

    Args:
        data: one sub-folder per class, or train/validation/test folders of these, or a CSV manifest.
        recipe: the choices; None: none.
        out: the run folder; None: the next free `runs/N`.
        resume: continue the run in `out`, with its recipe, or start it where there is none yet.
        cache: where decoded images are kept.
        tensorboard: also write a log for TensorBoard, to `tensorboard` in the run folder.

    Raises:
        FolderError, CacheError, RecipeError, RunError, MissingExtra: it cannot start, or `out` cannot be written.
        Interrupted: Ctrl-C or SIGTERM; everything is saved.
    """
    data, choices = Path(data), recipe or Recipe()
    if tensorboard:
        check_tensorboard()
    run = find_started_run(out) if resume else None
    if run is None:
        if out is not None:
            check_free(Path(out))  # now, not after the images are decoded
        listing = list_images(data, choices)
        complete, checkpoint = resolve_recipe(choices, listing), None
    else:
        complete, checkpoint = resume_recipe(run, choices), load_last_checkpoint(run)
        check_network(complete, load_weights=False)
        listing = list_images(data, complete)
    dataset = open_images(listing, complete, cache=cache)
    if run is not None:
        check_samples(run, dataset.samples)
    plan = make_plan(complete, dataset)
    check_length(checkpoint, num_steps=plan.num_steps)
    learner = Learner(dataset, complete, plan, checkpoint=checkpoint)
    if complete.length.unit == "budget":
        learner.set_num_steps(count_affordable_steps(learner, complete.length.amount - learner.seconds))
    run = run or new_run(out, recipe=learner.recipe, data=data)
    _write_inputs(run, learner, data)
    start = "start" if checkpoint is None else "resume"
    run.log(start, step=learner.step, parameters=int(learner.model.count_params()))
    arguments = {"data": data, "out": run.path, "resume": True, "cache": cache, "tensorboard": tensorboard}
    with write_scalars(run.path / "tensorboard" if tensorboard else None) as log_scalars:
        if checkpoint is None and learner.history:  # the fitted head: resuming needs no features any more
            _record(run, learner, learner.history[-1], log_scalars)
            _save(run, learner)
        if not learn(learner, run, log_scalars=log_scalars):
            raise _interrupted(f"step {learner.step:,} of {learner.plan.num_steps:,}", run, arguments)
    try:
        write_model(learner, run)
    except KeyboardInterrupt:
        raise _interrupted("the export of the model", run, arguments) from None
    return run


def learn(learner: Learner, run: Run, *, log_scalars: LogScalars) -> bool:
    """Take the remaining steps of a plan, with a checkpoint after each epoch and each minute.

    Args:
        learner: its steps so far are those of the run's last checkpoint.
        run: gets the checkpoints, the history and the log.
        log_scalars: called with each epoch's row.

    Returns: whether training has ended; False where it was stopped on request.
    """
    num_steps = learner.plan.num_steps
    _log_start(run, learner)
    saved, first = time.monotonic(), learner.step + 1
    with stop_requests() as is_stopped:
        if learner.has_converged:
            return True
        for row in learner.steps(num_steps, evaluate_last=True):
            if learner.step == first:
                run.log("first_step", step=learner.step)
            if row is not None:
                _record(run, learner, row, log_scalars)
            if row is not None or is_stopped() or time.monotonic() - saved > CHECKPOINT_SECONDS:
                _save(run, learner)
                saved = time.monotonic()
            if is_stopped():
                run.log("interrupted", step=learner.step)
                return False
            if learner.has_converged:
                logger.info(f"no lower validation loss for {learner.recipe.patience} epochs: stopping early")
                run.log("converged", step=learner.step)
                return True
    return True


def write_model(learner: Learner, run: Run) -> None:
    """Restore the best weights where the recipe says so, and write the model of a run."""
    best = learner.best
    if learner.restores_best_weights and best is not None:
        learner.restore_best_weights()
        if best.step != learner.step:
            source = f"the weights of epoch {best.epoch}" if best.step else "the fitted head"
            logger.info(f"restored {source}, with the lowest validation loss, {best.val_loss:.4f}")
    with _explained(run):
        save_bundle(learner, run.model)
    _compare(run, learner)
    run.log("done", step=learner.step, seconds=round(learner.seconds, 3))
    logger.info(
        f"trained {plural(learner.step, 'step')} in {format_duration(learner.seconds)}; the model is in {run.model}"
    )


def _compare(run: Run, learner: Learner) -> None:
    """Log the validation accuracy of the exported model, in float32, and how it differs from that while training."""
    last = learner.best if learner.restores_best_weights and learner.best is not None else learner.history[-1]
    is_full_size = learner.plan.image_size(last.step - 1) == learner.recipe.image_size
    trained = last.val_accuracy if is_full_size else learner.evaluate()["accuracy"]
    metrics = read_json(run.model / "model.json")["metrics"]
    exported, low, high = (metrics["accuracy"][name] for name in ("value", "low", "high"))
    run.log("compared", trained=trained, bundle=exported)
    points = f"{100 * (exported - trained):+.2f}"
    difference = "" if float(points) == 0 else f"; {points} points against {trained:.2%} in {learner.recipe.precision}"
    logger.info(
        f"validation accuracy of the exported model {exported:.2%}"
        f" (95 % interval {low:.2%} to {high:.2%}, {plural(metrics['images'], 'image')}){difference}"
    )


def _write_inputs(run: Run, learner: Learner, data: Path) -> None:
    """Write what a run was started with, as far as it is not there yet; the recipe also where its length changed."""
    with _explained(run):
        write_environment(run, data=data)
        if not run.data_file.exists():
            write_samples(run.data_file, learner.dataset.samples)
        if run.recipe != learner.recipe:
            write_atomic(run.recipe_file, learner.recipe.to_toml())


def _record(run: Run, learner: Learner, row: Epoch, log_scalars: LogScalars) -> None:
    with _explained(run):
        write_history(run.history_file, learner.history)
        run.log("epoch", **asdict(row))
        log_scalars(row)


def _save(run: Run, learner: Learner) -> None:
    with _explained(run):
        save_checkpoint(run.checkpoints, learner.snapshot())


def _explained(run: Run) -> AbstractContextManager[None]:
    return explain_write_errors(run.path, fix="free some space, then continue with `resume=True`")


def _log_start(run: Run, learner: Learner) -> None:
    num_weights, total = learner.model.count_params(), learner.plan.num_steps
    start = f"continuing at step {learner.step:,} of {total:,}" if learner.step else plural(total, "step")
    network = f"{learner.recipe.network} in {learner.recipe.precision}, {num_weights:,} weights"
    logger.info(f"{network}, {start}; run folder {run.path}")


def _interrupted(position: str, run: Run, arguments: Mapping[str, Any]) -> Interrupted:
    """What is raised where training was stopped: the arguments of `train` that continue, without the default ones."""
    resume = {name: value for name, value in arguments.items() if value not in (None, False)}
    return Interrupted(position=position, saved=f"every step, in {run.path}", resume=resume)
