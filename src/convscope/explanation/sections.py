"""The figures of the report, by section: the run, the filters, and each explained image. Needs Matplotlib."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.bundle.introspection import Introspection, IntrospectionResult
from convscope.bundle.neighbours import NeighbourIndex, has_neighbours, open_neighbours
from convscope.errors import RecipeError
from convscope.evaluation.labelled_images import image_root
from convscope.explanation.photos import Photo
from convscope.explanation.report import ReportFigure, Section
from convscope.files import read_table
from convscope.formatting import plural
from convscope.images.decoder_pool import InputSpec, decode_files
from convscope.plotting.channels import plot_activations, plot_filters
from convscope.plotting.confusion import plot_confusion
from convscope.plotting.heatmap import plot_heatmap
from convscope.plotting.history import plot_history
from convscope.plotting.image_grids import plot_images, plot_mistakes
from convscope.plotting.neighbours import plot_neighbours
from convscope.plotting.probabilities import plot_probabilities
from convscope.run import Run
from convscope.statistics.metrics import predicted_classes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_MISTAKES = 24


def draw_run(run: Run, square: InputSpec, metrics: Mapping[str, Any], held_out: Sequence[Photo]) -> Section:
    """Learning curves, confusion matrix, a grid of held-out images, mistakes.

    Args:
        run: the run.
        square: size, fit and channels of the images that the model takes.
        metrics: the content of metrics.json.
        held_out: the images of the grid.
    """
    return Section("Overview", "概览", tuple(_draw_overview(run, square, metrics, held_out)))


def draw_filters(inside: Introspection, input_channel: int) -> Section:
    """The filters of every convolution, for one of its input channels.

    Raises:
        RecipeError: no convolution has such an input channel.
    """
    return Section("Filters", "滤波器", tuple(_draw_filters(inside, input_channel)))


def draw_photos(inside: Introspection, photos: Sequence[Photo], class_index: int | None) -> list[Section]:
    """Of each image its probabilities, heat map, nearest training images, and the activations of each block.

    Args:
        inside: the network.
        photos: the images.
        class_index: the class of the heat maps; None: the predicted one.
    """
    neighbours = open_neighbours(inside.bundle) if has_neighbours(inside.bundle) else None
    return [
        Section(f"Image {photo.name}", "图像", tuple(_draw_photo(inside, neighbours, photo, number, class_index)))
        for number, photo in enumerate(photos, 1)
    ]


def _draw_overview(
    run: Run, square: InputSpec, metrics: Mapping[str, Any], held_out: Sequence[Photo]
) -> Iterator[ReportFigure]:
    classes = list(metrics["classes"])
    rows = [{name: float(value) for name, value in row.items()} for row in read_table(run.history_file)]
    if rows:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        yield ReportFigure("history", "Learning curves", "学习曲线", plot_history(columns))
    confusion = np.array(metrics["confusion"], np.int64)
    yield ReportFigure("confusion", "Confusion matrix", "混淆矩阵", plot_confusion(confusion, classes))
    if held_out:
        images = np.stack([photo.image for photo in held_out])
        predicted = [classes[int(predicted_classes(photo.probabilities))] for photo in held_out]
        true = [photo.true or "" for photo in held_out]
        yield ReportFigure("images", "Held-out images", "留出图像", plot_images(images, true, predicted))
    if (figure := _draw_mistakes(run, square)) is not None:
        yield ReportFigure("mistakes", "Mistakes, most confident first", "错误预测，置信度最高的在前", figure)


def _draw_mistakes(run: Run, square: InputSpec) -> Figure | None:
    rows = read_table(run.path / "mistakes.csv")[:MAX_MISTAKES]
    decoded = decode_files([image_root(run) / row["path"] for row in rows], square)
    readable = [(row, result.image) for row, result in zip(rows, decoded, strict=True) if result.image is not None]
    if not readable:
        return None
    images = np.stack([image for _, image in readable])
    true, predicted = [row["true"] for row, _ in readable], [row["predicted"] for row, _ in readable]
    return plot_mistakes(images, true, predicted, [float(row["confidence"]) for row, _ in readable])


def _draw_filters(inside: Introspection, input_channel: int) -> Iterator[ReportFigure]:
    filters = {name: inside.filters(name) for name in inside.convolutions}
    most_channels = max(weights.shape[2] for weights in filters.values())
    if not 0 <= input_channel < most_channels:
        raise RecipeError(
            found=f"input channel {input_channel}",
            expected=f"0 to {most_channels - 1}",
            fix="choose another `input_channel`",
        )
    for name, weights in filters.items():
        channel = min(input_channel, weights.shape[2] - 1)
        figure = plot_filters(weights, input_channel=channel, title=f"filters of {name}")
        yield ReportFigure(f"filters_{name}", f"Filters of {name}", "滤波器", figure)


def _draw_photo(
    inside: Introspection, neighbours: NeighbourIndex | None, photo: Photo, number: int, class_index: int | None
) -> Iterator[ReportFigure]:
    classes, look = inside.bundle.classes, inside.run(photo.image)
    index = int(predicted_classes(look.probabilities)) if class_index is None else class_index
    figure = plot_probabilities(look.probabilities, classes)
    yield ReportFigure(f"image{number}_scores", "Probabilities", "各类别概率", figure)
    figure = plot_heatmap(photo.image, look.heat, class_index=index, title=f"heat map for {classes[index]}")
    yield ReportFigure(f"image{number}_heatmap", f"Heat map for {classes[index]} (HiResCAM)", "热力图", figure)
    if neighbours is not None:
        figure = _draw_neighbours(neighbours, photo, look)
        yield ReportFigure(f"image{number}_neighbours", "Most similar training images", "最相似的训练图像", figure)
    for block, activations in look.activations.items():
        num_channels = plural(activations.shape[2], "channel")
        figure = plot_activations(activations, title=f"activations of {block}: {num_channels}")
        yield ReportFigure(f"image{number}_{block}", f"Activations of {block}", "激活", figure)


def _draw_neighbours(neighbours: NeighbourIndex, photo: Photo, look: IntrospectionResult) -> Figure:
    """A photo beside the training images with the most similar features."""
    (nearest,) = neighbours.nearest(look.features[np.newaxis])
    return plot_neighbours(
        photo.image,
        neighbours.bundle.classes[int(predicted_classes(look.probabilities))],
        [neighbours.picture(neighbour.row) for neighbour in nearest],
        labels=[neighbour.label for neighbour in nearest],
        similarities=[neighbour.similarity for neighbour in nearest],
    )
