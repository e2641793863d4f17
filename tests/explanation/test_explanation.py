"""The verb `explain`: every documented figure, of the requested images, class and input channel."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from localized_shapes import CLASSES, draw_shape, write_shapes
from PIL import Image
from processes import Command

from convscope.errors import BundleError, ConvscopeError, FolderError, MissingExtra, RunError
from convscope.files import read_table
from convscope.recipe.recipe import Recipe
from convscope.run import Run

pytestmark = pytest.mark.tensorflow

OVERVIEW = {"history", "confusion", "images", "mistakes"}
LAYERS = ("block1_convolution", "block2_convolution")
INSIDE = {"scores", "heatmap", "neighbours", "block1", "block2"}


def names_in(folder: Path) -> set[str]:
    """The names of the figures that were drawn."""
    return {file.stem for file in (folder / "figures").iterdir()}


def headings_of(report: Path) -> list[str]:
    """The English headings of a report, in order."""
    return re.findall(r"<h2>(.*?) <small>", report.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def photos_of_small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of `small`."""
    return write_shapes(tmp_path_factory.mktemp("small_photos") / "photos", per_class=15)


@pytest.fixture(scope="module")
def small(photos_of_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two steps of a network with one block, which has few figures; it was never evaluated."""
    from convscope.training.training import train

    recipe = Recipe(network="classic", image_size=16, filters=(2,), dense_units=4, steps=2)
    return train(photos_of_small, recipe, out=tmp_path_factory.mktemp("small") / "run")


@pytest.fixture
def copy(small: Run, tmp_path: Path) -> Run:
    """The small run, to be written to."""
    shutil.copytree(small.path, tmp_path / "run")
    return Run(tmp_path / "run")


def test_every_figure_is_drawn(trained: Run, explained: Path) -> None:
    """Overview, filters of each convolution; of two images probabilities, heat map, neighbours, all activations."""
    inside = {f"image{number}_{name}" for number in (1, 2) for name in INSIDE}
    assert names_in(trained.path) == OVERVIEW | {f"filters_{layer}" for layer in LAYERS} | inside
    for file in (trained.path / "figures").iterdir():
        with Image.open(file) as figure:
            assert figure.format == "PNG"
            assert min(figure.size) > 100
    assert explained == trained.path / "report.html"
    assert explained.is_file()


def test_two_held_out_images_of_different_classes_are_explained(trained: Run, explained: Path) -> None:
    """By default one image of each of two classes, which the network was not trained on."""
    samples = read_table(trained.data_file)
    names = [heading.removeprefix("Image ") for heading in headings_of(explained) if heading.startswith("Image ")]
    chosen = [row for name in names for row in samples if row["path"] == name]
    assert [row["class"] for row in chosen] == list(CLASSES)
    assert {row["split"] for row in chosen} <= {"validation", "test"}


def test_named_images_are_explained(copy: Run, tmp_path: Path) -> None:
    """Exactly the named images, in their order, wherever they are; the figures go to `out`."""
    from convscope.explanation.explanation import explain

    files = [tmp_path / f"{name}.png" for name in ("second", "first", "third")]
    for seed, file in enumerate(files):
        Image.fromarray(draw_shape("ring", seed)).save(file)
    before = {file.name for file in copy.path.iterdir()}
    report = explain(copy.path, [str(file) for file in files], out=tmp_path / "out")
    assert report == tmp_path / "out" / "report.html"
    assert headings_of(report)[3:6] == ["Image second.png", "Image first.png", "Image third.png"]
    assert {name for name in names_in(tmp_path / "out") if name.startswith("image")} == {
        "images",
        *(f"image{number}_{name}" for number in (1, 2, 3) for name in ("scores", "heatmap", "neighbours", "block1")),
    }
    # the run was not evaluated yet, so that is done; nothing else of it changes
    assert {file.name for file in copy.path.iterdir()} == before | {"metrics.json", "mistakes.csv", "figures"}


@pytest.mark.slow
def test_filters_are_those_of_the_input_channel(trained: Run, explained: Path, tmp_path: Path) -> None:
    """`input_channel=2` draws the weights of the third input of each convolution, as `plot_filters` does."""
    from safetensors.numpy import load_file

    from convscope.explanation.explanation import explain
    from convscope.plotting.channels import plot_filters
    from convscope.plotting.style import to_png

    explain(trained.path, out=tmp_path, input_channel=2)
    weights = load_file(trained.model / "weights.safetensors")
    for layer in LAYERS:
        drawn = (tmp_path / "figures" / f"filters_{layer}.png").read_bytes()
        expected = plot_filters(weights[f"{layer}/kernel"], input_channel=2, title=f"filters of {layer}")
        assert drawn == to_png(expected)
        assert drawn != (explained.parent / "figures" / f"filters_{layer}.png").read_bytes()


@pytest.mark.slow
def test_heat_map_is_of_the_requested_class(small: Run, tmp_path: Path) -> None:
    """`class_name` selects the class, and the page names it."""
    from convscope.explanation.explanation import explain

    pages = {}
    for name in CLASSES:
        page = explain(small.path, out=tmp_path / name, class_name=name).read_text(encoding="utf-8")
        pages[name] = page
        assert re.findall(r"Heat map for (\w+) \(HiResCAM\)", re.sub("<img.*?>", "", page)) == [name, name]
    first, second = ((tmp_path / name / "figures" / "image1_heatmap.png").read_bytes() for name in CLASSES)
    assert first != second


def test_most_similar_training_images_are_shown(trained: Run, explained: Path) -> None:
    """The five nearest by their features, with their classes; the title is in both languages."""
    from convscope.bundle.introspection import open_introspection
    from convscope.bundle.neighbours import DEFAULT_NEIGHBOURS, open_neighbours
    from convscope.plotting.neighbours import plot_neighbours
    from convscope.plotting.style import to_png

    inside = open_introspection(trained.path)
    neighbours = open_neighbours(inside.bundle)
    assert set(neighbours.paths) == {row["path"] for row in read_table(trained.data_file) if row["split"] == "train"}
    name = next(heading for heading in headings_of(explained) if heading.startswith("Image ")).removeprefix("Image ")
    with Image.open(Path(trained.environment["data"]) / name) as file:
        image = np.asarray(file)
    look = inside.run(image)
    (nearest,) = neighbours.nearest(look.features[np.newaxis])
    assert len(nearest) == DEFAULT_NEIGHBOURS == 5
    expected = plot_neighbours(
        image,
        CLASSES[look.probabilities.argmax()],
        [neighbours.picture(neighbour.row) for neighbour in nearest],
        labels=[neighbour.label for neighbour in nearest],
        similarities=[neighbour.similarity for neighbour in nearest],
    )
    assert (trained.path / "figures" / "image1_neighbours.png").read_bytes() == to_png(expected)
    page = explained.read_text(encoding="utf-8")
    assert page.count("最相似的训练图像") == 2
    assert "Most similar training images" in page


def test_model_without_training_images_is_explained(copy: Run, tmp_path: Path) -> None:
    """Without neighbours.safetensors everything else is drawn."""
    from convscope.explanation.explanation import explain

    (copy.model / "neighbours.safetensors").unlink()
    names = names_in(explain(copy.path, out=tmp_path).parent)
    assert "image1_heatmap" in names
    assert "image1_neighbours" not in names


@pytest.mark.parametrize(
    ("images", "choices", "parts"),
    [
        ([], {"class_name": "square"}, ("class 'square'", "one of disc, ring", "choose another `class_name`")),
        ([], {"input_channel": 7}, ("input channel 7", "0 to 2", "choose another `input_channel`")),
        ([], {"input_channel": -1}, ("input channel -1", "0 to 2", "choose another `input_channel`")),
        (["no.png"], {}, ("no.png: no such file", "an image", "name another")),
    ],
)
def test_wrong_choices_are_errors(
    small: Run, tmp_path: Path, images: list[str], choices: dict[str, Any], parts: tuple[str, str, str]
) -> None:
    """A class, an input channel or an image that does not exist: found, expected and fix, and nothing is written."""
    from convscope.explanation.explanation import explain

    with pytest.raises(ConvscopeError) as caught:
        explain(small.path, images, out=tmp_path / "out", **choices)
    assert (caught.value.found, caught.value.expected, caught.value.fix) == parts
    assert not (tmp_path / "out").exists()


def test_wrong_choice_on_the_command_line_exits_with_2(small: Run, cli: Command, tmp_path: Path) -> None:
    """The command prints the three parts of the error."""
    result = cli("explain", small.path, "--class", "square", "--out", tmp_path / "out")
    assert result.code == 2
    assert "class 'square'" in result.err
    assert "one of disc, ring" in result.err


def test_report_that_cannot_be_written_is_an_error(copy: Run, tmp_path: Path) -> None:
    """A file where the folder should be: the error names it and the parameter."""
    from convscope.explanation.explanation import explain

    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file.* cannot be written.*choose another `out`"):
        explain(copy.path, out=tmp_path / "file" / "out")


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_missing_extra_is_an_error(small: Run, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Without Matplotlib or Jinja2 the error names the extra that installs them."""
    from convscope.explanation.explanation import explain

    drawing = ("convscope.plotting", "convscope.explanation.sections", "convscope.explanation.report")
    for name in [name for name in sys.modules if name.startswith(drawing)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"{module}.*pip install 'convscope\[explain\]'"):
        explain(small.path)


def test_resumed_run_is_evaluated_again(copy: Run) -> None:
    """The metrics of an older model are replaced by those of this one."""
    from convscope.explanation.explanation import explain

    (copy.path / "metrics.json").write_text(json.dumps({"count": -1}))
    os.utime(copy.path / "metrics.json", (0, 0))
    explain(copy.path)
    assert json.loads((copy.path / "metrics.json").read_text())["count"] == sum(
        row["split"] == "validation" for row in read_table(copy.data_file)
    )


def test_metrics_with_test_time_augmentation_are_replaced(copy: Run) -> None:
    """Where `evaluate(run, mirror=True, out=run)` wrote metrics.json, the run is evaluated again."""
    from convscope.evaluation.evaluation import evaluate
    from convscope.explanation.explanation import explain

    evaluate(copy.path, mirror=True, out=copy.path)
    assert json.loads((copy.path / "metrics.json").read_text())["mirrored"]
    explain(copy.path)
    assert not json.loads((copy.path / "metrics.json").read_text())["mirrored"]


def test_missing_held_out_images_do_not_matter_with_named_ones(
    copy: Run, photos_of_small: Path, tmp_path: Path
) -> None:
    """A run whose photos were moved away still explains new ones; without any the error names the folder."""
    from convscope.evaluation.evaluation import evaluate
    from convscope.explanation.explanation import explain

    evaluate(copy.path)
    gone = photos_of_small.rename(photos_of_small.with_name("elsewhere"))
    try:
        report = explain(copy.path, [gone / "disc" / "disc000.png"], out=tmp_path / "out")
        assert "Image disc000.png" in headings_of(report)
        assert "images" not in names_in(tmp_path / "out")
        with pytest.raises(FolderError) as caught:
            explain(copy.path, out=tmp_path / "none")
    finally:
        gone.rename(photos_of_small)
    assert str(photos_of_small) in caught.value.found


def test_damaged_held_out_image_is_skipped(copy: Run, photos_of_small: Path, tmp_path: Path) -> None:
    """The others are drawn."""
    from convscope.explanation.explanation import explain

    (held_out, *_) = [row["path"] for row in read_table(copy.data_file) if row["split"] == "validation"]
    content = (photos_of_small / held_out).read_bytes()
    (photos_of_small / held_out).write_bytes(b"")
    try:
        assert "images" in names_in(explain(copy.path, out=tmp_path).parent)
    finally:
        (photos_of_small / held_out).write_bytes(content)


def test_run_without_a_model_is_an_error(small: Run, tmp_path: Path) -> None:
    """No run, and a run that is not finished, are different errors."""
    from convscope.explanation.explanation import explain

    with pytest.raises(RunError, match="nothing at"):
        explain(tmp_path / "nowhere")
    shutil.copy(small.recipe_file, tmp_path)
    with pytest.raises(BundleError, match="its training is not finished"):
        explain(tmp_path)


def test_probabilities_are_those_of_the_bundle(trained: Run, explained: Path) -> None:
    """The page shows the probabilities that `predict` writes."""
    from convscope.bundle.bundle import open_bundle
    from convscope.plotting.probabilities import plot_probabilities
    from convscope.plotting.style import to_png

    name = next(heading for heading in headings_of(explained) if heading.startswith("Image ")).removeprefix("Image ")
    (path,) = (row["path"] for row in read_table(trained.data_file) if row["path"] == name)
    with Image.open(Path(trained.environment["data"]) / path) as image:
        probabilities = open_bundle(trained.path).predict(np.asarray(image)[np.newaxis])[0]
    drawn = (trained.path / "figures" / "image1_scores.png").read_bytes()
    assert drawn == to_png(plot_probabilities(probabilities, CLASSES))
