"""The verb `explain`: figures and one self-contained page that show what a network learned and where it looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.bundle.introspection import Inside, Look, open_inside
from convscope.bundle.neighbours import Neighbours, has_neighbours, neighbours_of
from convscope.datasets.dataset import read_samples
from convscope.errors import FolderError, RecipeError
from convscope.evaluation.evaluation import evaluate, images_of
from convscope.explanation.report import Drawing, Section, write_report
from convscope.files import read_json, read_table
from convscope.formatting import plural
from convscope.images.decoding import decode_file, decode_files
from convscope.plotting import figures
from convscope.plotting.neighbours import plot_neighbours
from convscope.progress import progress
from convscope.run import Run, open_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

GRID_IMAGES = 24
MISTAKES_SHOWN = 24
IMAGES_LOOKED_INTO = 2  # as the reference looks at two, when none are named


@dataclass(frozen=True, slots=True)
class Photo:
    """An image to look into: (size, size, channels) uint8, its name, its class where that is known, and its scores."""

    name: str
    image: NDArray[np.uint8]
    true: str | None
    probabilities: NDArray[np.float32]


def explain(
    path: Path,
    images: Sequence[str | Path] = (),
    *,
    out: Path | None = None,
    class_name: str | None = None,
    input_channel: int = 0,
) -> Path:
    """Draw what a trained network sees, as PNG files and as report.html. Needs no TensorFlow.

    Args:
        path: the run folder.
        images: files to look into; none: two held-out ones of different classes.
        out: where `figures` and `report.html` go; None: the run folder.
        class_name: the class of the heat maps; None: the predicted one.
        input_channel: which input channel of the convolutions the filters are drawn for.

    Returns: the report.

    Raises:
        RunError, BundleError: there is no finished run. FolderError: an image cannot be read.
        RecipeError: no such class or channel.
    """
    run = open_run(path)
    inside = open_inside(path)
    neighbours = neighbours_of(inside.bundle) if has_neighbours(inside.bundle) else None
    target = None if class_name is None else _class_index(inside, class_name)
    chosen = [_named(inside, Path(image)) for image in images]
    held_out = _held_out(run, inside)
    if not held_out and not chosen:
        raise FolderError(
            found=f"none of the run's held-out images in {images_of(run)}",
            expected="the images that it was trained on, or images by name",
            fix="put them back, or name images to look into",
        )
    folder = out or run.path
    sections = [
        Section("Overview", "全貌", tuple(_overview(run, inside, held_out))),
        Section("Filters", "滤波器", tuple(_filters(inside, input_channel))),
        *(
            Section(f"Image {photo.name}", "图像", tuple(_draw_inside(inside, neighbours, photo, number, target)))
            for number, photo in enumerate(chosen or _one_per_class(held_out), 1)
        ),
    ]
    with progress("drawing", sum(len(section.drawings) for section in sections), unit="figures") as bar:
        for drawing in (each for section in sections for each in section.drawings):
            figures.save_figure(drawing.figure, folder / "figures" / f"{drawing.name}.png")
            bar.advance()
    return write_report(folder / "report.html", run=run, sections=sections, figures=folder / "figures")


def _overview(run: Run, inside: Inside, held_out: Sequence[Photo]) -> Iterator[Drawing]:
    """Learning curves, confusion, a grid of held-out images, mistakes."""
    metrics = _plain_figures(run)
    history = [{name: float(value) for name, value in row.items()} for row in read_table(run.history_file)]
    if history:
        columns = {name: [row[name] for row in history] for name in history[0]}
        yield Drawing("history", "Learning curves", "学习曲线", figures.plot_history(columns))
    confusion = np.array(metrics["confusion"], np.int64)
    yield Drawing(
        "confusion", "Confusion matrix", "混淆矩阵", figures.plot_confusion(confusion, list(metrics["classes"]))
    )
    if held_out:
        classes = list(metrics["classes"])
        grid = np.stack([photo.image for photo in held_out])
        guesses = [classes[int(photo.probabilities.argmax())] for photo in held_out]
        truths = [photo.true or "" for photo in held_out]
        yield Drawing("images", "Held-out images", "留出图像", figures.plot_images(grid, truths, guesses))
    if (figure := _mistakes(run, inside)) is not None:
        yield Drawing("mistakes", "Mistakes, worst first", "错误示例", figure)


def _plain_figures(run: Run) -> dict[str, Any]:
    """What metrics.json says of this model, which is judged where there is none: a run that went on has another one."""
    judged, model = run.path / "metrics.json", run.model / "model.json"
    is_new = judged.exists() and judged.stat().st_mtime >= model.stat().st_mtime
    metrics = read_json(judged) if is_new else None
    if metrics is None or metrics.get("mirrored"):
        evaluate(run.path)
        metrics = read_json(judged)
    return metrics


def _mistakes(run: Run, inside: Inside) -> Figure | None:
    rows = read_table(run.path / "mistakes.csv")[:MISTAKES_SHOWN]
    decoded = decode_files([images_of(run) / row["path"] for row in rows], inside.bundle.square)
    shown = [(row, each.image) for row, each in zip(rows, decoded, strict=True) if each.image is not None]
    if not shown:
        return None
    images = np.stack([image for _, image in shown])
    true, predicted = [row["true"] for row, _ in shown], [row["predicted"] for row, _ in shown]
    return figures.plot_mistakes(images, true, predicted, [float(row["confidence"]) for row, _ in shown])


def _filters(inside: Inside, input_channel: int) -> Iterator[Drawing]:
    """The filters of every convolution, for one of its input channels."""
    filters = {name: inside.filters(name) for name in inside.convolutions}
    widest = max(weights.shape[2] for weights in filters.values())
    if not 0 <= input_channel < widest:
        raise RecipeError(found=f"input channel {input_channel}", expected=f"0 to {widest - 1}", fix="change --channel")
    for name, weights in filters.items():
        channel = min(input_channel, weights.shape[2] - 1)
        figure = figures.plot_filters(weights, input_channel=channel, title=name)
        yield Drawing(f"filters_{name}", f"Filters of {name}", "滤波器", figure)


def _draw_inside(
    inside: Inside, neighbours: Neighbours | None, photo: Photo, number: int, target: int | None
) -> Iterator[Drawing]:
    """One image: the scores of its classes, where the network looked, what it is like, what each block makes of it."""
    classes, look = inside.bundle.classes, inside.look(photo.image)
    index = int(look.probabilities.argmax()) if target is None else target
    scores = figures.plot_scores(look.probabilities, classes)
    yield Drawing(f"image{number}_scores", "Score of each class", "各类得分", scores)
    name = classes[index]
    figure = figures.plot_heatmap(photo.image, look.heat[..., index], title=f"what speaks for {name}")
    yield Drawing(f"image{number}_heatmap", f"Where it looks for {name} (Grad-CAM)", "热力图", figure)
    if neighbours is not None:
        figure = _draw_neighbours(neighbours, photo, look)
        yield Drawing(f"image{number}_neighbours", "The most similar training images", "最相似的训练图片", figure)
    for block, activation in look.activations.items():
        figure = figures.plot_activations(activation, title=f"{block}: {plural(activation.shape[2], 'channel')}")
        yield Drawing(f"image{number}_{block}", f"What {block} makes of it", "激活", figure)


def _draw_neighbours(neighbours: Neighbours, photo: Photo, look: Look) -> Figure:
    """The training images that the network finds most like a photo."""
    (nearest,) = neighbours.nearest(look.features[np.newaxis])
    return plot_neighbours(
        photo.image,
        neighbours.bundle.classes[int(look.probabilities.argmax())],
        [neighbours.picture(each.place) for each in nearest],
        labels=[each.label for each in nearest],
        similarities=[each.similarity for each in nearest],
    )


def _held_out(run: Run, inside: Inside) -> list[Photo]:
    """Some images that the network did not learn from, the classes in turn; those that are gone are passed over."""
    samples = [sample for sample in read_samples(run.data_file) if sample.split in ("validation", "test")]
    turns: dict[str, int] = {}
    order = []
    for sample in samples:
        turns[sample.label] = turn = turns.get(sample.label, 0) + 1
        order.append((turn, sample.label, sample.path))
    photos: list[Photo] = []
    for _, label, path in sorted(order):
        if len(photos) == GRID_IMAGES:
            break
        decoded = decode_file(images_of(run) / path, inside.bundle.square)
        if decoded.image is not None:
            photos.append(_photo(inside, path, decoded.image, label))
    return photos


def _one_per_class(held_out: Sequence[Photo]) -> list[Photo]:
    first = {photo.true: photo for photo in reversed(held_out)}
    return sorted(first.values(), key=lambda photo: str(photo.true))[:IMAGES_LOOKED_INTO]


def _named(inside: Inside, path: Path) -> Photo:
    """An image that the person wants looked into."""
    decoded = decode_file(path, inside.bundle.square)
    if decoded.image is None:
        raise FolderError(found=f"{path}: {decoded.reason}", expected="an image", fix="name another")
    return _photo(inside, path.name, decoded.image, None)


def _photo(inside: Inside, name: str, image: NDArray[np.uint8], true: str | None) -> Photo:
    return Photo(name, image, true, inside.bundle.predict(image[np.newaxis])[0])


def _class_index(inside: Inside, name: str) -> int:
    classes = inside.bundle.classes
    if name not in classes:
        raise RecipeError(found=f"class {name!r}", expected=f"one of {', '.join(classes[:20])}", fix="change --class")
    return classes.index(name)
