"""The verb `explain`: every figure that it promises, of the images, class and channel that it is asked for."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import Command
from halves import CLASSES, draw_half, write_halves
from PIL import Image

from convscope.errors import BundleError, FolderError, RecipeError, RunError
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
    """The images of `small`, in a folder of their own."""
    return write_halves(tmp_path_factory.mktemp("small_photos") / "photos", per_class=15)


@pytest.fixture(scope="module")
def small(photos_of_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two steps of a network with one block, which draws few figures; it was never judged."""
    from convscope.training.training import train

    recipe = Recipe(network="classic", image_size=16, filters=(2,), dense_units=4, steps=2)
    return train(photos_of_small, recipe, out=tmp_path_factory.mktemp("small") / "run")


@pytest.fixture
def copy(small: Run, tmp_path: Path) -> Run:
    """The small run, to be written to."""
    shutil.copytree(small.path, tmp_path / "run")
    return Run(tmp_path / "run")


def test_every_figure_is_drawn(trained: Run, explained: Path) -> None:
    """Overview, filters of each convolution; of two images scores, heat map, similar images, every activation."""
    inside = {f"image{number}_{name}" for number in (1, 2) for name in INSIDE}
    assert names_in(trained.path) == OVERVIEW | {f"filters_{layer}" for layer in LAYERS} | inside
    for file in (trained.path / "figures").iterdir():
        with Image.open(file) as figure:
            assert figure.format == "PNG"
            assert min(figure.size) > 100
    assert explained == trained.path / "report.html"
    assert explained.is_file()


def test_two_held_out_images_of_different_classes_are_looked_into(trained: Run, explained: Path) -> None:
    """Where none is named, one of each class is, and the network has not learned from either."""
    samples = read_table(trained.data_file)
    names = [heading.removeprefix("Image ") for heading in headings_of(explained) if heading.startswith("Image ")]
    chosen = [row for name in names for row in samples if row["path"] == name]
    assert [row["class"] for row in chosen] == list(CLASSES)
    assert {row["split"] for row in chosen} <= {"validation", "test"}


def test_named_images_are_looked_into(copy: Run, tmp_path: Path) -> None:
    """Exactly the images that are named, in their order, wherever they are; figures go where `out` says."""
    from convscope.explanation.explanation import explain

    places = [tmp_path / f"{name}.png" for name in ("second", "first", "third")]
    for seed, place in enumerate(places):
        Image.fromarray(draw_half("ring", seed)).save(place)
    before = {file.name for file in copy.path.iterdir()}
    report = explain(copy.path, [str(place) for place in places], out=tmp_path / "out")
    assert report == tmp_path / "out" / "report.html"
    assert headings_of(report)[3:6] == ["Image second.png", "Image first.png", "Image third.png"]
    assert {name for name in names_in(tmp_path / "out") if name.startswith("image")} == {
        "images",
        *(f"image{number}_{name}" for number in (1, 2, 3) for name in ("scores", "heatmap", "neighbours", "block1")),
    }
    # the run was not judged yet, so that is done; nothing else of it changes
    assert {file.name for file in copy.path.iterdir()} == before | {"metrics.json", "mistakes.csv", "figures"}


@pytest.mark.slow
def test_filters_are_those_of_the_channel_that_is_asked_for(trained: Run, explained: Path, tmp_path: Path) -> None:
    """`--channel 2` draws the weights of the third input of each convolution, as `plot_filters` does."""
    from safetensors.numpy import load_file

    from convscope.explanation.explanation import explain
    from convscope.plotting import figures

    explain(trained.path, out=tmp_path, input_channel=2)
    weights = load_file(trained.model / "weights.safetensors")
    for layer in LAYERS:
        drawn = (tmp_path / "figures" / f"filters_{layer}.png").read_bytes()
        expected = figures.plot_filters(weights[f"{layer}/kernel"], input_channel=2, title=layer)
        assert drawn == figures.to_png(expected)
        assert drawn != (explained.parent / "figures" / f"filters_{layer}.png").read_bytes()


@pytest.mark.slow
def test_heat_map_is_of_the_class_that_is_asked_for(small: Run, tmp_path: Path) -> None:
    """`--class` draws what speaks for that class, and the page says which it is."""
    from convscope.explanation.explanation import explain

    pages = {}
    for name in CLASSES:
        page = explain(small.path, out=tmp_path / name, class_name=name).read_text(encoding="utf-8")
        pages[name] = page
        assert re.findall(r"Where it looks for (\w+)", re.sub("<img.*?>", "", page)) == [name, name]
    first, second = ((tmp_path / name / "figures" / "image1_heatmap.png").read_bytes() for name in CLASSES)
    assert first != second


def test_similar_training_images_are_shown(trained: Run, explained: Path) -> None:
    """As many as there is room for, those that the model finds, with their classes; the page says it in two tongues."""
    from convscope.bundle.introspection import open_inside
    from convscope.bundle.neighbours import SHOWN, neighbours_of
    from convscope.plotting.figures import to_png
    from convscope.plotting.neighbours import plot_neighbours

    inside = open_inside(trained.path)
    carried = neighbours_of(inside.bundle)
    assert set(carried.paths) == {row["path"] for row in read_table(trained.data_file) if row["split"] == "train"}
    name = next(each for each in headings_of(explained) if each.startswith("Image ")).removeprefix("Image ")
    with Image.open(Path(trained.environment["data"]) / name) as file:
        image = np.asarray(file)
    look = inside.look(image)
    (near,) = carried.nearest(look.features[np.newaxis])
    assert len(near) == SHOWN == 5
    expected = plot_neighbours(
        image,
        CLASSES[look.probabilities.argmax()],
        [carried.picture(each.place) for each in near],
        labels=[each.label for each in near],
        similarities=[each.similarity for each in near],
    )
    assert (trained.path / "figures" / "image1_neighbours.png").read_bytes() == to_png(expected)
    page = explained.read_text(encoding="utf-8")
    assert page.count("最相似的训练图片") == 2
    assert "The most similar training images" in page


def test_model_without_training_images_is_explained(copy: Run, tmp_path: Path) -> None:
    """Whoever deleted the file sees everything else."""
    from convscope.explanation.explanation import explain

    (copy.model / "neighbours.safetensors").unlink()
    names = names_in(explain(copy.path, out=tmp_path).parent)
    assert "image1_heatmap" in names
    assert "image1_neighbours" not in names


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--class", "square"], ["class 'square'", "one of disc, ring", "change --class"]),
        (["--channel", "7"], ["input channel 7", "0 to 2", "change --channel"]),
        (["no.png"], ["no.png: no such file", "an image", "name another"]),
    ],
)
def test_what_is_not_there_is_told(small: Run, cli: Command, tmp_path: Path, words: list[str], says: list[str]) -> None:
    """A class, a channel or an image that does not exist ends in three lines, and nothing is drawn."""
    ended = cli("explain", small.path, *words, "--out", tmp_path / "out")
    assert ended.code == 2
    assert [text in line for text, line in zip(says, ended.err.splitlines()[-3:], strict=True)] == [True] * 3
    assert not (tmp_path / "out").exists()


def test_run_that_went_on_is_judged_again(copy: Run) -> None:
    """Figures of an older model are not passed off as those of this one."""
    from convscope.explanation.explanation import explain

    (copy.path / "metrics.json").write_text(json.dumps({"count": -1}))
    os.utime(copy.path / "metrics.json", (0, 0))
    explain(copy.path)
    assert json.loads((copy.path / "metrics.json").read_text())["count"] == sum(
        row["split"] == "validation" for row in read_table(copy.data_file)
    )


def test_mirrored_figures_are_not_passed_off_as_plain_ones(copy: Run) -> None:
    """Where `evaluate --mirror --out RUN` put its own in their place, the run is judged again."""
    from convscope.evaluation.evaluation import evaluate
    from convscope.explanation.explanation import explain

    evaluate(copy.path, mirror=True, out=copy.path)
    assert json.loads((copy.path / "metrics.json").read_text())["mirrored"]
    explain(copy.path)
    assert not json.loads((copy.path / "metrics.json").read_text())["mirrored"]


def test_images_that_are_gone_do_not_matter_where_others_are_named(
    copy: Run, photos_of_small: Path, tmp_path: Path
) -> None:
    """A judged run whose photos were moved away still looks into new ones; without any it says where it looked."""
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


def test_damaged_held_out_image_is_passed_over(copy: Run, photos_of_small: Path, tmp_path: Path) -> None:
    """One held-out photo that has been overwritten since does not keep the others from being shown."""
    from convscope.explanation.explanation import explain

    (held_out, *_) = [row["path"] for row in read_table(copy.data_file) if row["split"] == "validation"]
    content = (photos_of_small / held_out).read_bytes()
    (photos_of_small / held_out).write_bytes(b"")
    try:
        assert "images" in names_in(explain(copy.path, out=tmp_path).parent)
    finally:
        (photos_of_small / held_out).write_bytes(content)


def test_run_without_a_model_is_told(small: Run, tmp_path: Path) -> None:
    """No run, and a run that is not finished, are errors of their own."""
    from convscope.explanation.explanation import explain

    with pytest.raises(RunError, match="nothing at"):
        explain(tmp_path / "nowhere")
    shutil.copy(small.recipe_file, tmp_path)
    with pytest.raises(BundleError, match="its training is not finished"):
        explain(tmp_path)


def test_wrong_choices_are_errors_in_python_too(small: Run, tmp_path: Path) -> None:
    """A negative channel does not count from the end."""
    from convscope.explanation.explanation import explain

    with pytest.raises(RecipeError, match="input channel -1"):
        explain(small.path, input_channel=-1, out=tmp_path)


def test_scores_are_those_of_the_bundle(trained: Run, explained: Path) -> None:
    """What the page shows and what `predict` writes are answers of one model."""
    from convscope.bundle.bundle import open_bundle
    from convscope.plotting import figures

    name = next(each for each in headings_of(explained) if each.startswith("Image ")).removeprefix("Image ")
    (path,) = (row["path"] for row in read_table(trained.data_file) if row["path"] == name)
    with Image.open(Path(trained.environment["data"]) / path) as image:
        answer = open_bundle(trained.path).predict(np.asarray(image)[np.newaxis])[0]
    drawn = (trained.path / "figures" / "image1_scores.png").read_bytes()
    assert drawn == figures.to_png(figures.plot_scores(answer, CLASSES))
