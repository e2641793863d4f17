"""The files that an evaluation leaves: metrics.json, mistakes.csv and figures/confusion.png, in one folder."""

from __future__ import annotations

import itertools
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.evaluation.mistakes import write_mistakes
from convscope.files import explain_write_errors, read_json, write_json

if TYPE_CHECKING:
    from convscope.evaluation.evaluation import Evaluation

logger = logging.getLogger(__name__)


def results_folder(model: Path, data: Path | None, *, mirror: bool) -> Path:
    """Where results go: the run, or for labelled `data` a folder `evaluations/NAME` in the run, or here without a run.

    Each `data` keeps its folder. Results with test-time augmentation have a folder beside those without.
    """
    if data is None:
        return model / "mirrored" if mirror else model
    parent = (model if model.is_dir() else Path()) / "evaluations"
    name = f"{_absolute(data).name or 'data'}{'-mirrored' if mirror else ''}"
    folders = (parent / f"{name}{f'-{number}' if number > 1 else ''}" for number in itertools.count(1))
    return next(folder for folder in folders if _is_free(folder / "metrics.json", data))


def write_results(evaluation: Evaluation, data: Path) -> None:
    """Write the files of an evaluation on `data` into its folder; without Matplotlib all but the figure.

    Raises:
        RunError: the folder cannot be written.
    """
    facts = {**evaluation.metrics.to_json(), "data": str(_absolute(data))}
    facts |= {"absent": evaluation.absent, "unknown": evaluation.unknown, "unreadable": len(evaluation.unreadable)}
    if overlap := evaluation.overlap:
        others = {"images": overlap.others, "accuracy": overlap.accuracy.to_json()}
        facts["learned_from"] = {"images": overlap.images, "others": others}
    with explain_write_errors(evaluation.folder):
        write_json(evaluation.folder / "metrics.json", facts)
        write_mistakes(evaluation.folder / "mistakes.csv", evaluation.mistakes)
        _draw_confusion(evaluation)


def _draw_confusion(evaluation: Evaluation) -> None:
    try:
        from convscope.plotting.confusion import plot_confusion
        from convscope.plotting.style import save_figure
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        logger.info("no figure of the confusion matrix: it needs pip install 'convscope[explain]'")
        return
    figure = plot_confusion(evaluation.metrics.confusion, list(evaluation.metrics.classes))
    save_figure(figure, evaluation.folder / "figures" / "confusion.png")


def _is_free(metrics: Path, data: Path) -> bool:
    return not metrics.exists() or read_json(metrics).get("data") == str(_absolute(data))


def _absolute(data: Path) -> Path:
    """Without `..`, so that it has a name."""
    return Path(os.path.abspath(data))
