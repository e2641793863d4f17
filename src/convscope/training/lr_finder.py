"""The learning-rate range test: a training whose learning rate rises until the loss does, and what to read off it.

Smith, 2015 (arXiv 1506.01186). Nothing of that training is kept but its losses; from them a rate is suggested.
"""

from __future__ import annotations

import logging
import shlex
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convscope.datasets.dataset import open_dataset
from convscope.environment import program_name
from convscope.files import make_numbered_folder, write_table
from convscope.formatting import printable
from convscope.plotting.figures import QUIET, RIGHT, WRONG, NotebookFigure, drawing, save_figure
from convscope.progress import progress
from convscope.recipe.recipe import Recipe
from convscope.run import RUNS, check_free
from convscope.signals import stop_requests
from convscope.training.dataset_summary import describe_dataset
from convscope.training.learner import Learner
from convscope.training.schedule import Shape
from convscope.training.training import settle_recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

NUM_STEPS = 100
# from next to no learning to none any more
RANGES = {"adam": (1e-5, 1.0), "lamb": (1e-5, 1.0), "muon": (1e-5, 1.0), "sgd": (1e-4, 10.0)}
MEMORY = 0.9  # share of the smoothed loss that a step leaves; 0.98, which is usual, lags behind by half of 100 steps
DIVERGED = 4.0  # times the lowest smoothed loss, above which no step is taken any more
SHARES: dict[Shape, float] = {"constant": 1 / 10, "one-cycle": 1 / 3}  # of the rate with the lowest loss
SETTLING = 10  # steps until the smoothed loss is steadier than the losses
LEAST_FALL = 2.0  # times what batches differ by; where something was learned it was 2.4 to 11, elsewhere 0.3 to 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The losses of a range test.

    Attributes:
        learning_rates: (n,) float64, rising, one for each step that was taken; 100 unless the loss ran away.
        losses: (n,) float64, the mean cross-entropy of each step's batch in nats, without the label smoothing.
        smoothed: (n,) float64, the exponentially weighted mean of the losses so far, corrected for its start at 0.
        suggestion: what `suggest` makes of them.
    """

    learning_rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    suggestion: float | None


def find_rate(data: Path, recipe: Recipe | None = None, *, out: Path | None = None, cache: Path | None = None) -> Path:
    """Suggest a learning rate for a folder of images; leave the losses behind it as a table and as a figure.

    Args:
        data, recipe, cache: as `train` takes them.
        out: a new folder for the two files; None: the next free `runs/N`.

    Returns: the folder.

    Raises:
        FolderError, CacheError, RecipeError, RunError: it cannot start.
        KeyboardInterrupt: Ctrl-C or SIGTERM; nothing is written.
    """
    if out is not None:
        check_free(Path(out))  # now, not after the test
    asked = recipe or Recipe()
    recipe = settle_recipe(asked, Path(data))
    dataset = open_dataset(Path(data), recipe, cache=cache)
    logger.info(describe_dataset(dataset))
    rates = try_rates(Learner(dataset, replace(recipe, budget=None)))
    figure = plot_rates(rates, chosen=recipe.learning_rate)
    folder = make_numbered_folder(RUNS) if out is None else Path(out)
    columns = (rates.learning_rates.tolist(), rates.losses.tolist(), rates.smoothed.tolist())
    rows = [(step, *values) for step, values in enumerate(zip(*columns, strict=True), start=1)]
    write_table(folder / "learning-rate.csv", ["step", "learning_rate", "loss", "smoothed"], rows)
    save_figure(figure, folder / "learning-rate.png")
    _tell(rates, data, replace(recipe, precision=asked.precision), cache=cache)
    return folder


def try_rates(learner: Learner) -> Rates:
    """Take up to 100 steps at rising learning rates from where a learner stands, and put it back there.

    The steps are the recipe's own, with its optimiser, batches, augmentation and smoothing, at the image size that
    most of its steps have. They end when the smoothed loss is four times its lowest, or a loss is no number.
    """
    learning_rates = np.geomspace(*RANGES[learner.recipe.optimizer], NUM_STEPS)
    schedule = learner.schedule
    size = schedule.sizes[int(np.argmax(schedule.shares))]
    losses: list[float] = []
    before = learner.snapshot()
    with (
        stop_requests() as is_stopped,
        progress(f"trying learning rates at {size} px", NUM_STEPS, unit="steps") as bar,
        closing(learner.steps_at(learning_rates.tolist(), size=size)) as steps,
    ):
        for loss in steps:
            if is_stopped():
                learner.go_back_to(before)
                raise KeyboardInterrupt
            if not np.isfinite(loss):
                break
            losses.append(loss)
            bar.advance()
            smoothed = smooth(np.array(losses))
            if smoothed[-1] > DIVERGED * smoothed.min():
                break
    learner.go_back_to(before)
    taken = learning_rates[: len(losses)]
    kept = np.array(losses, np.float64)
    suggestion = suggest(taken, kept, shape=schedule.shape)
    return Rates(learning_rates=taken, losses=kept, smoothed=smooth(kept), suggestion=suggestion)


def smooth(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The exponentially weighted mean of the losses up to each step, (n,) -> (n,), corrected for its start at 0."""
    mean, means = 0.0, []
    for loss in losses.tolist():
        mean = MEMORY * mean + (1 - MEMORY) * loss
        means.append(mean)
    return np.array(means, np.float64) / (1 - MEMORY ** np.arange(1, len(means) + 1))


def suggest(learning_rates: NDArray[np.float64], losses: NDArray[np.float64], *, shape: Shape) -> float | None:
    """The learning rate to train with, the highest one where the schedule changes it.

    It is a share of the rate at which the smoothed loss was lowest, where progress and harm are even: a tenth for a
    constant rate, as `minimum` of fastai has it (fastai/callback/schedule.py), a third for the peak of one-cycle, which
    is passed in a moment. The steepest descent, and the middle of the longest one (`valley` of fastai), were tried:
    the first is a matter of chance where batches differ a lot, the second asked for a fifth of the best peak.

    Args:
        learning_rates: (n,) rising.
        losses: (n,) as they were, in nats.
        shape: of the schedule.

    Returns: None if the loss fell by less than twice what one batch differs from the next by.
    """
    smoothed = smooth(losses)
    lowest = int(np.argmin(smoothed)) if len(losses) else 0
    if lowest < SETTLING:
        return None
    spread = np.std(np.diff(losses[: lowest + 1])) / np.sqrt(2)  # a difference has the variance of both
    if smoothed[:SETTLING].mean() - smoothed[lowest] < LEAST_FALL * spread:
        return None
    return float(learning_rates[lowest]) * SHARES[shape]


@drawing
def plot_rates(rates: Rates, *, chosen: float) -> Figure:
    """The loss at each learning rate, each batch's and smoothed, with the suggested rate and the recipe's.

    Args:
        rates: from `try_rates`.
        chosen: the learning rate of the recipe.
    """
    figure = NotebookFigure(figsize=(7.0, 4.2))
    axes = figure.add_subplot()
    axes.plot(rates.learning_rates, rates.losses, color=QUIET, linewidth=0.8, label="loss of the batch")
    axes.plot(rates.learning_rates, rates.smoothed, color=RIGHT, linewidth=2.2, label="smoothed")
    axes.axvline(chosen, color=QUIET, linestyle=":", label=f"the recipe's: {chosen:.2g}")
    if rates.suggestion is not None:
        _mark(axes, rates, rates.suggestion)
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.xaxis.set_major_formatter("{x:g}")  # as it is typed
    if len(rates.losses):
        start = float(rates.smoothed[:SETTLING].max())
        low = float(rates.losses.min())
        axes.set_ylim(max(low - 0.1 * (start - low), 0.0), max(1.5 * start, 1e-6))  # where it runs away is not shown
    axes.grid(alpha=0.25)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _mark(axes: Axes, rates: Rates, suggestion: float) -> None:
    """A dot on the smoothed loss at the suggested rate, with its name."""
    height = float(np.interp(np.log(suggestion), np.log(rates.learning_rates), rates.smoothed))
    label = f"suggested: {suggestion:.2g}"
    axes.axvline(suggestion, color=WRONG, linewidth=1.0)
    axes.plot([suggestion], [height], color=WRONG, marker="o", linestyle="none", label=label)
    axes.annotate(
        label,
        (suggestion, 1.0),  # at the top, to the left: there the loss has not run away
        (-5, -5),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right",
        va="top",
        backgroundcolor="white",
    )


def _tell(rates: Rates, data: Path, recipe: Recipe, *, cache: Path | None) -> None:
    """Say what is suggested, what the recipe has, and how to train with it."""
    if rates.suggestion is None:
        text = (
            f"no learning rate stands out, since the loss fell by no more than batches differ by; "
            f"the recipe has {recipe.learning_rate:g}. A larger --batch-size may show more"
        )
    else:
        command = _command(data, recipe.with_changes({"learning_rate": float(f"{rates.suggestion:.2g}")}), cache=cache)
        text = (
            f"suggested learning rate {rates.suggestion:.2g}, the recipe has {recipe.learning_rate:g};"
            f" to train with it: {command}"
        )
    logger.info(printable(text))


def _command(data: Path, recipe: Recipe, *, cache: Path | None) -> str:
    """What to type to train with a recipe: its fields that are not the default ones are flags."""
    words, plain = ["train", str(data), "--network", recipe.network], Recipe(network=recipe.network)
    for field in fields(Recipe):
        value = getattr(recipe, field.name)
        if value != getattr(plain, field.name):
            words += _flag(field.name, value)
    words += [] if cache is None else ["--cache", str(cache)]
    return f"{program_name()} {shlex.join(words)}"


def _flag(name: str, value: Any) -> list[str]:
    word = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{word}" if value else f"--no-{word}"]
    return [f"--{word}", ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
