"""The learning-rate range test: steps at rising learning rates until the loss diverges, and a rate read off the losses.

Smith, 2015 (arXiv 1506.01186). Nothing of these steps is kept but their losses.
"""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convscope.files import explain_write_errors, make_numbered_folder, write_table
from convscope.plotting.style import BLUE, GREY, RED, NotebookFigure, save_figure, styled
from convscope.progress import progress
from convscope.recipe.recipe import Recipe
from convscope.recipe.validation import Schedule
from convscope.run import RUNS, check_free
from convscope.signals import stop_requests
from convscope.training.learner import Learner
from convscope.training.plan import make_plan
from convscope.training.preparation import list_images, open_images, resolve_recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

NUM_STEPS = 100
# from hardly any training to divergence
RANGES = {"adam": (1e-5, 1.0), "lamb": (1e-5, 1.0), "muon": (1e-5, 1.0), "sgd": (1e-4, 10.0)}
MOMENTUM = 0.9  # of the smoothed loss; 0.98, which is usual, lags behind by half of 100 steps
DIVERGED = 4.0  # times the lowest smoothed loss, at which the test ends
SHARES: dict[Schedule, float] = {"constant": 1 / 10, "one-cycle": 1 / 3}  # of the rate with the lowest loss
WARMUP_STEPS = 10  # until the smoothed loss is steadier than the losses
MIN_FALL = 2.0  # standard deviations between batches; 2.4 to 11 where training worked, elsewhere 0.3 to 1.2 (measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeTest:
    """The losses of a learning-rate range test.

    Attributes:
        learning_rates: (n,) float64, rising, one for each step that was taken; 100 unless the loss diverged.
        losses: (n,) float64, the mean cross-entropy of each step's batch in nats, without the label smoothing.
        smoothed: (n,) float64, the exponentially weighted mean of the losses so far, corrected for its start at 0.
        suggestion: of `suggest`; None where the losses are too noisy.
    """

    learning_rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    suggestion: float | None


@dataclass(frozen=True, slots=True)
class FoundRate:
    """The files of a range test, and how to train with what it suggests.

    Attributes:
        folder: has `learning-rate.csv` and `learning-rate.png`.
        choices: those of the user, with the network that was chosen and the suggested learning rate; None where the
            losses are too noisy to suggest one.
    """

    folder: Path
    choices: Recipe | None


def find_rate(
    data: Path, recipe: Recipe | None = None, *, out: Path | None = None, cache: Path | None = None
) -> FoundRate:
    """Suggest a learning rate for a folder of images; the losses that it is read off become a table and a figure.

    Args:
        data, recipe, cache: as `train` takes them.
        out: a new folder for the two files; None: the next free `runs/N`.

    Raises:
        FolderError, CacheError, RecipeError, RunError: it cannot start, or `out` cannot be written.
        KeyboardInterrupt: Ctrl-C or SIGTERM; nothing is written.
    """
    if out is not None:
        check_free(Path(out))  # now, not after the test
    choices = recipe or Recipe()
    listing = list_images(Path(data), choices)
    resolved = resolve_recipe(choices, listing)
    dataset = open_images(listing, resolved, cache=cache)
    test = run_range_test(Learner(dataset, resolved, make_plan(resolved, dataset)))
    figure = plot_range_test(test, chosen=resolved.learning_rate)
    columns = (test.learning_rates.tolist(), test.losses.tolist(), test.smoothed.tolist())
    rows = [(step, *values) for step, values in enumerate(zip(*columns, strict=True), start=1)]
    with explain_write_errors(Path(out or RUNS), fix="choose another `out`"):
        folder = make_numbered_folder(RUNS) if out is None else Path(out)
        write_table(folder / "learning-rate.csv", ["step", "learning_rate", "loss", "smoothed"], rows)
        save_figure(figure, folder / "learning-rate.png")
    logger.info(describe_range_test(test, chosen=resolved.learning_rate))
    if test.suggestion is None:
        return FoundRate(folder, None)
    rate = float(f"{test.suggestion:.2g}")
    return FoundRate(folder, choices.with_changes({"network": resolved.network, "learning_rate": rate}))


def run_range_test(learner: Learner) -> RangeTest:
    """Take up to 100 steps at rising learning rates; the learner's state is restored in the end.

    The steps are those of the recipe, with its optimiser, batches, augmentation and label smoothing, at the image size
    that most steps of the plan have. They end when the smoothed loss is four times its lowest, or a loss is not finite.
    """
    learning_rates = np.geomspace(*RANGES[learner.recipe.optimizer], NUM_STEPS)
    plan = learner.plan
    size = plan.sizes[int(np.argmax(plan.shares))]
    losses: list[float] = []
    before = learner.snapshot()
    with (
        stop_requests() as is_stopped,
        progress(f"trying learning rates at {size} px", NUM_STEPS, unit="steps") as counter,
        closing(learner.trial_steps(learning_rates.tolist(), size=size)) as steps,
    ):
        for loss in steps:
            if is_stopped():
                learner.restore(before)
                raise KeyboardInterrupt
            if not np.isfinite(loss):
                break
            losses.append(loss)
            counter.advance()
            smoothed = smooth(np.array(losses))
            if smoothed[-1] > DIVERGED * smoothed.min():
                break
    learner.restore(before)
    tried = learning_rates[: len(losses)]
    finite = np.array(losses, np.float64)
    suggestion = suggest(tried, finite, schedule=plan.schedule)
    return RangeTest(learning_rates=tried, losses=finite, smoothed=smooth(finite), suggestion=suggestion)


def smooth(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The exponentially weighted mean of the losses up to each step, (n,) -> (n,), corrected for its start at 0."""
    mean, means = 0.0, []
    for loss in losses.tolist():
        mean = MOMENTUM * mean + (1 - MOMENTUM) * loss
        means.append(mean)
    return np.array(means, np.float64) / (1 - MOMENTUM ** np.arange(1, len(means) + 1))


def suggest(learning_rates: NDArray[np.float64], losses: NDArray[np.float64], *, schedule: Schedule) -> float | None:
    """The learning rate to train with; for `one-cycle` its peak.

    It is a share of the rate with the lowest smoothed loss: a tenth for a constant rate, as `minimum` of fastai has it
    (fastai/callback/schedule.py), a third for the peak of one-cycle, which is passed in a moment. The steepest descent,
    and the middle of the longest one (`valley` of fastai), were tried: the first is a matter of chance where batches
    differ a lot, the second suggested a fifth of the best peak.

    Args:
        learning_rates: (n,) rising.
        losses: (n,) mean losses of the batches, in nats.
        schedule: of the recipe.

    Returns: None if the loss fell by less than two standard deviations between batches.
    """
    smoothed = smooth(losses)
    lowest = int(np.argmin(smoothed)) if len(losses) else 0
    if lowest < WARMUP_STEPS:
        return None
    deviation = np.std(np.diff(losses[: lowest + 1])) / np.sqrt(2)  # a difference has the variance of both
    if smoothed[:WARMUP_STEPS].mean() - smoothed[lowest] < MIN_FALL * deviation:
        return None
    return float(learning_rates[lowest]) * SHARES[schedule]


@styled
def plot_range_test(test: RangeTest, *, chosen: float) -> Figure:
    """The loss of each batch over the learning rate, also smoothed, with the suggested rate and the recipe's.

    Args:
        test: from `run_range_test`.
        chosen: the learning rate of the recipe.
    """
    figure = NotebookFigure(figsize=(7.0, 4.2))
    axes = figure.add_subplot()
    axes.plot(test.learning_rates, test.losses, color=GREY, linewidth=0.8, label="loss of the batch")
    axes.plot(test.learning_rates, test.smoothed, color=BLUE, linewidth=2.2, label="smoothed")
    axes.axvline(chosen, color=GREY, linestyle=":", label=f"the recipe's: {chosen:.2g}")
    if test.suggestion is not None:
        _mark_suggestion(axes, test, test.suggestion)
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.xaxis.set_major_formatter("{x:g}")  # as it is typed
    if len(test.losses):
        start, low = float(test.smoothed[:WARMUP_STEPS].max()), float(test.losses.min())
        axes.set_ylim(max(low - 0.1 * (start - low), 0.0), max(1.5 * start, 1e-6))  # without the divergence
    axes.grid(alpha=0.25)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _mark_suggestion(axes: Axes, test: RangeTest, suggestion: float) -> None:
    """A dot on the smoothed loss at the suggested rate, with its name."""
    height = float(np.interp(np.log(suggestion), np.log(test.learning_rates), test.smoothed))
    label = f"suggested: {suggestion:.2g}"
    axes.axvline(suggestion, color=RED, linewidth=1.0)
    axes.plot([suggestion], [height], color=RED, marker="o", linestyle="none", label=label)
    axes.annotate(
        label,
        (suggestion, 1.0),  # at the top, to the left, where the loss has not diverged yet
        (-5, -5),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right",
        va="top",
        backgroundcolor="white",
    )


def describe_range_test(test: RangeTest, *, chosen: float) -> str:
    """The suggestion as a message, beside the recipe's learning rate."""
    if test.suggestion is None:
        return (
            f"the losses are too noisy to suggest a rate; the recipe has {chosen:g}."
            " A larger `batch_size` may show more"
        )
    suggestion = f"{test.suggestion:.2g}"
    return f"suggested learning rate {suggestion}; the recipe has {chosen:g}"
