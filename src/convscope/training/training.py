"""The verb `train`: a folder of images to a run folder with everything that using the model needs.

Stopped at any moment, by Ctrl-C, by a signal or by a power cut, it goes on with `resume` and ends with the same bits.
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from convscope.datasets.dataset import check_dataset, count_images, open_dataset, read_samples, write_samples
from convscope.environment import program_name
from convscope.errors import Interrupted, RunError
from convscope.files import read_json, write_atomic
from convscope.formatting import format_duration, plural
from convscope.networks.catalog import build_network
from convscope.recipe.defaults import AUTO, KERAS
from convscope.recipe.recipe import LENGTHS, Recipe
from convscope.run import Run, check_free, keep_environment, new_run, run_to_resume
from convscope.signals import stop_requests
from convscope.training.auto_network import settle_network
from convscope.training.budget import fit_into, shrink_into
from convscope.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from convscope.training.dataset_summary import describe_dataset
from convscope.training.history import Epoch, write_history
from convscope.training.learner import Learner

logger = logging.getLogger(__name__)

FEWEST_CLASSES = 2
CHECKPOINT_SECONDS = 60.0  # between epochs; what a kill can cost. Writing one takes 0.1 s for 2 million weights
MAY_CHANGE = ("epochs", "steps", "patience", "license")  # how long to train is open until the end


def train(
    data: Path,
    recipe: Recipe | None = None,
    *,
    out: Path | None = None,
    resume: bool = False,
    cache: Path | None = None,
    tensorboard: bool = False,
) -> Run:
    """Learn the classes of a folder of images; leave in the run folder everything that using the model needs.

    Args:
        data: one sub-folder per class, or train/validation/test folders of these, or a CSV manifest.
        recipe: every choice; None: the default ones, or with `resume` those that the run was started with.
        out: the run folder; None: the next free `runs/N`.
        resume: go on with the run in `out`, or start it where there is none yet.
        cache: where decoded images are kept.
        tensorboard: also write a log for TensorBoard, to `tensorboard` in the run folder.

    Raises:
        FolderError, CacheError, RecipeError, RunError: it cannot start; nothing was trained.
        Interrupted: Ctrl-C or SIGTERM; everything is saved.
    """
    old = run_to_resume(out, resume=resume)
    if old is None and out is not None:
        check_free(Path(out))  # now, not after the images are decoded
    if old is None:
        recipe, checkpoint = settle_recipe(recipe or Recipe(), Path(data)), None
    else:
        recipe = _recipe_of(old, recipe)
        _try_network(recipe, is_blank=True)
        checkpoint = _load(old)
    dataset = open_dataset(Path(data), recipe, cache=cache)
    logger.info(describe_dataset(dataset))
    check_dataset(dataset, max_refused=recipe.max_refused)
    if old is not None:
        _keep_samples(old, dataset.samples)
    learner = Learner(dataset, replace(recipe, budget=None), checkpoint=checkpoint)
    _check_length(learner)
    if recipe.budget is not None:
        learner.set_num_steps(fit_into(learner, recipe.budget - learner.seconds))
    run = old or new_run(out, recipe=learner.recipe, data=Path(data))
    keep_environment(run, data=Path(data))
    if old is None:
        _keep_samples(run, dataset.samples)
    if run.recipe != learner.recipe:  # how long to train was changed
        write_atomic(run.recipe_file, learner.recipe.to_toml())
    begun = "start" if checkpoint is None else "resume"
    run.log(begun, step=learner.step, parameters=int(learner.model.count_params()))
    with _tensorboard_log(run, tensorboard) as log_scalars:
        if checkpoint is None and learner.history:  # its head is solved: going on needs no features any more
            _record(run, learner, learner.history[-1], log_scalars)
            save_checkpoint(run.checkpoints, learner.snapshot())
        again = _command_to_resume(run, data, cache=cache, tensorboard=tensorboard)
        _learn(run, learner, log_scalars, again=again)
    _finish(run, learner, again=again)
    return run


def settle_recipe(recipe: Recipe, data: Path) -> Recipe:
    """The recipe with what is left to choose chosen for these images, none of which is read: network, size in a budget.

    What is wrong with a network from elsewhere, or with its file of weights, is told here too.
    """
    recipe = settle_network(recipe, data)
    _try_network(recipe, is_blank=recipe.weights == "imagenet")
    return recipe if recipe.budget is None else shrink_into(recipe, count_images(data, recipe))


def _try_network(recipe: Recipe, *, is_blank: bool) -> None:
    """Build a network that is not of the house, so that what is wrong with it is told before images are decoded."""
    if recipe.network.startswith(KERAS) or recipe.kind == "own":
        build_network(recipe, FEWEST_CLASSES, is_blank=is_blank)


def _check_length(learner: Learner) -> None:
    """Make sure that a training that goes on has not gone further already than it is asked to."""
    total = learner.recipe.num_steps(learner.steps_per_epoch)
    if learner.step > total:
        raise RunError(
            found=f"{plural(total, 'step')} in all, where the run is at step {learner.step:,} already",
            expected="at least as many",
            fix=f"say --steps {learner.step} or more, or leave the flag out",
        )


def _learn(run: Run, learner: Learner, log_scalars: Any, *, again: str) -> None:
    """Take the steps that are left, with a checkpoint at each epoch and each minute, until the end or a stop.

    `again` is the command that goes on after a stop.
    """
    total = learner.recipe.num_steps(learner.steps_per_epoch)
    _tell_start(run, learner, total)
    saved, first = time.monotonic(), learner.step + 1
    with stop_requests() as is_stopped:
        if learner.has_converged:
            return
        for row in learner.steps(total, judge_last=True):
            if learner.step == first:
                run.log("first_step", step=learner.step)
            if row is not None:
                _record(run, learner, row, log_scalars)
            if row is not None or is_stopped() or time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_checkpoint(run.checkpoints, learner.snapshot())
                saved = time.monotonic()
            if is_stopped():
                run.log("interrupted", step=learner.step)
                raise Interrupted(
                    found=f"at step {learner.step:,} of {total:,}", expected=f"everything, in {run.path}", fix=again
                )
            if learner.has_converged:
                logger.info(f"no better validation loss for {learner.recipe.patience} epochs: stopping early")
                run.log("converged", step=learner.step)
                return


def _finish(run: Run, learner: Learner, *, again: str) -> None:
    """Give back the best weights, and write the model; `again` is the command that goes on after a stop."""
    best = learner.best
    if learner.keeps_best and best is not None:
        learner.restore_best()
        if best.step != learner.step:
            kept = f"the weights of epoch {best.epoch}, which has" if best.step else "the solved head, which has"
            logger.info(f"kept {kept} the lowest validation loss, {best.val_loss:.4f}")
    try:
        learner.save(run.model)
    except KeyboardInterrupt:
        raise Interrupted(
            found="while the model was being written", expected=f"everything, in {run.path}", fix=again
        ) from None
    _compare(run, learner)
    run.log("done", step=learner.step, seconds=round(learner.seconds, 3))
    logger.info(
        f"trained {plural(learner.step, 'step')} in {format_duration(learner.seconds)}; the model is in {run.model}"
    )


def _compare(run: Run, learner: Learner) -> None:
    """What the model that was written does on the images that the training was judged by: in float32, on its own."""
    kept = learner.best if learner.keeps_best and learner.best is not None else learner.history[-1]
    is_whole = learner.schedule.size(kept.step - 1) == learner.recipe.image_size
    trained = kept.val_accuracy if is_whole else learner.evaluate()["accuracy"]  # judged at this size already
    judged = read_json(run.model / "model.json")["metrics"]
    written, low, high = (judged["accuracy"][name] for name in ("value", "low", "high"))
    run.log("compared", trained=trained, bundle=written)
    logger.info(
        f"validation accuracy {trained:.2%} as trained in {learner.precision}, {written:.2%} by the model that was"
        f" written: {100 * (written - trained):+.2f} points; of {plural(judged['images'], 'image')},"
        f" 95 % interval {low:.2%} to {high:.2%}"
    )


def _recipe_of(run: Run, recipe: Recipe | None) -> Recipe:
    """The recipe to go on with: the run's own, with the changes that are allowed."""
    saved = run.recipe
    if recipe is None:
        return saved
    if recipe.network == AUTO:  # it was chosen when the run began
        recipe = recipe.with_changes({"network": saved.network})
    if recipe.precision == "auto":  # it was chosen when the run began
        recipe = replace(recipe, precision=saved.precision)
    if recipe.budget is not None:  # it was spent on a number of steps, and a size, when the run began
        recipe = replace(recipe, **{name: getattr(saved, name) for name in (*LENGTHS, "image_size")})
    for field in fields(Recipe):
        ours, theirs = getattr(recipe, field.name), getattr(saved, field.name)
        if ours != theirs and field.name not in MAY_CHANGE:
            raise RunError(
                found=f"{field.name} = {ours!r}, but {run.path} was started with {theirs!r}",
                expected="the same recipe, so that the result is the same as without a break",
                fix="leave the flag out, or start a new run with another --out",
            )
    going_on = replace(saved, **{name: getattr(recipe, name) for name in MAY_CHANGE})
    is_planned = saved.schedule != "constant" or saved.sizes  # learning rate and image size go by the number of steps
    if is_planned and any(getattr(going_on, name) != getattr(saved, name) for name in LENGTHS):
        raise RunError(
            found=f"another length for {run.path}, whose learning rate or image sizes were planned for the first",
            expected="the same length",
            fix="leave the flag out, or start a new run with another --out",
        )
    return going_on


def _keep_samples(run: Run, samples: tuple[Any, ...]) -> None:
    """Write data.csv, or make sure that a run that goes on still sees the same images in the same splits."""
    if not run.data_file.exists():
        write_samples(run.data_file, samples)
        return
    saved = {sample.path: sample for sample in read_samples(run.data_file)}
    now = {sample.path: sample for sample in samples}
    changed = [path for path in saved.keys() | now.keys() if saved.get(path) != now.get(path)]
    if changed:
        raise RunError(
            found=f"{len(changed):,} images changed, came or went since the run began, such as {min(changed)}",
            expected="the images that the run was started with",
            fix="put them back, or start a new run with another --out",
        )


def _load(run: Run) -> Checkpoint | None:
    """The newest whole checkpoint of a run, if it has one already."""

    def tell(text: str) -> None:
        logger.info(text)
        run.log("damaged", text=text)

    return load_checkpoint(run.checkpoints, tell=tell)


def _tell_start(run: Run, learner: Learner, total: int) -> None:
    weights = learner.model.count_params()
    begin = f"going on at step {learner.step:,} of {total:,}" if learner.step else plural(total, "step")
    network = f"{learner.recipe.network} in {learner.precision}, {weights:,} weights"
    logger.info(f"{network}, {begin}; run folder {run.path}")


def _record(run: Run, learner: Learner, row: Epoch, log_scalars: Any) -> None:
    write_history(run.history_file, learner.history)
    run.log("epoch", **asdict(row))
    log_scalars(row)


def _command_to_resume(run: Run, data: Path, *, cache: Path | None, tensorboard: bool) -> str:
    words = ["train", str(data), "--out", str(run.path), "--resume"]
    words += [] if cache is None else ["--cache", str(cache)]
    return f"{program_name()} {shlex.join([*words, *['--tensorboard'] * tensorboard])}"


@contextmanager
def _tensorboard_log(run: Run, wanted: bool) -> Iterator[Any]:
    """A function that logs an epoch for TensorBoard, or does nothing."""
    if not wanted:
        yield lambda _: None
        return
    from convscope.networks.frameworks import tf

    writer = tf.summary.create_file_writer(str(run.path / "tensorboard"))

    def log(row: Epoch) -> None:
        with writer.as_default(step=row.step):
            for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
                tf.summary.scalar(name, getattr(row, name))

    with writer.as_default():
        yield log
    writer.close()
