"""The verb `explain`: figures and report.html with the filters, activations and heat maps of a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.bundle.introspection import Introspection, open_introspection
from convscope.errors import FolderError, MissingExtra, RecipeError
from convscope.evaluation.evaluation import evaluate
from convscope.evaluation.labelled_images import image_root
from convscope.explanation.photos import one_per_class, read_held_out, read_named
from convscope.files import explain_write_errors, read_json
from convscope.progress import progress
from convscope.run import Run, open_run

if TYPE_CHECKING:
    from convscope.explanation.report import Section

OPTIONAL_MODULES = ("matplotlib", "jinja2")


def explain(
    path: Path,
    images: Sequence[str | Path] = (),
    *,
    out: Path | None = None,
    class_name: str | None = None,
    input_channel: int = 0,
) -> Path:
    """Draw what a trained network has learned and how it sees images, as PNG files and report.html. No TensorFlow.

    Args:
        path: the run folder.
        images: files to explain; none: two held-out images of different classes.
        out: where `figures` and `report.html` go; None: the run folder.
        class_name: the class of the heat maps; None: the predicted one.
        input_channel: the input channel of the convolutions that the filters are drawn for.

    Returns: the report.

    Raises:
        BundleError: there is no finished run. FolderError: an image cannot be read.
        RecipeError: no such class or channel. RunError: there is no run, or `out` cannot be written.
        MissingExtra: Matplotlib or Jinja2 is not installed.
    """
    try:
        from convscope.explanation.report import write_report
        from convscope.explanation.sections import draw_filters, draw_photos, draw_run
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL_MODULES:  # a bug, and no missing extra
            raise
        raise MissingExtra(command="convscope explain", module=error.name, extra="explain") from None
    run = open_run(path)
    inside = open_introspection(path)
    class_index = None if class_name is None else _class_index(inside, class_name)
    named = [read_named(inside.bundle, Path(image)) for image in images]
    held_out = read_held_out(run, inside.bundle)
    if not held_out and not named:
        raise FolderError(
            found=f"none of the run's held-out images in {image_root(run)}",
            expected="the images of the run where they were in training, or images by name",
            fix="put them back, or name images to explain",
        )
    sections = [
        draw_run(run, inside.bundle.square, _read_metrics(run), held_out),
        draw_filters(inside, input_channel),
        *draw_photos(inside, named or one_per_class(held_out), class_index),
    ]
    folder = out or run.path
    with explain_write_errors(folder):
        _save_figures(sections, folder / "figures")
        return write_report(folder / "report.html", run=run, sections=sections, figures=folder / "figures")


def _save_figures(sections: Sequence[Section], folder: Path) -> None:
    from convscope.plotting.style import save_figure

    figures = [figure for section in sections for figure in section.figures]
    with progress("drawing", len(figures), unit="figures") as counter:
        for figure in figures:
            save_figure(figure.figure, folder / f"{figure.name}.png")
            counter.advance()


def _read_metrics(run: Run) -> dict[str, Any]:
    """metrics.json of this model without test-time augmentation; the run is evaluated where it is missing or older."""
    file, model = run.path / "metrics.json", run.model / "model.json"
    is_current = file.exists() and file.stat().st_mtime >= model.stat().st_mtime  # a resumed run has another model
    metrics = read_json(file) if is_current else None
    if metrics is None or metrics.get("mirrored"):
        evaluate(run.path)
        metrics = read_json(file)
    return metrics


def _class_index(inside: Introspection, name: str) -> int:
    classes = inside.bundle.classes
    if name not in classes:
        expected = f"one of {', '.join(classes[:20])}"
        raise RecipeError(found=f"class {name!r}", expected=expected, fix="choose another `class_name`")
    return classes.index(name)
