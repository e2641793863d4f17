"""The verb `evaluate`: every image judged once, by its class's name, and all that is left out said."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Command
from PIL import Image
from sample_images import encode, refused_files
from tiny_model import COLOURS, SMALL, colour_model, colour_run, random_model

from convscope.datasets.dataset import read_samples
from convscope.errors import BundleError, FolderError
from convscope.evaluation.evaluation import describe, evaluate
from convscope.files import read_table
from convscope.formatting import plural
from convscope.images.reading import read_image
from convscope.run import Run
from convscope.statistics.intervals import wilson

pytestmark = pytest.mark.slow  # every figure takes a third of a second

PER_CLASS = 20


def paint(place: Path, colour: str, number: int) -> None:
    """One image of a colour, unlike all other numbers; the higher the number, the paler and the less sure."""
    pixels = np.full((8, 8, 3), 40 + number, np.uint8)
    pixels[:, :, COLOURS.index(colour)] = 220 - number
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(place)


def paint_folder(root: Path, counts: Mapping[str, Mapping[str, int]]) -> Path:
    """`counts` says how many images of which colour each folder gets."""
    for folder, colours in counts.items():
        for colour, count in colours.items():
            for number in range(count):
                paint(root / folder / f"{colour}{number:02d}.png", colour, number)
    return root


def files_below(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its content and its time."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(autouse=True)
def base_install(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Matplotlib, as in the base install, but for the test of the figure: drawing takes most of the time."""
    if request.function is not test_confusion_matrix_is_drawn_where_matplotlib_is:
        monkeypatch.setitem(sys.modules, "convscope.plotting.figures", None)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images of each of three colours; every fifth green one is in the folder `blue`."""
    root = paint_folder(tmp_path_factory.mktemp("data") / "colours", {name: {name: PER_CLASS} for name in COLOURS})
    for number in range(0, PER_CLASS, 5):
        (root / "green" / f"green{number:02d}.png").rename(root / "blue" / f"green{number:02d}.png")
    return root


@pytest.fixture
def run(colours: Path, tmp_path: Path) -> Run:
    """A finished run on them, with validation and test images."""
    return colour_run(tmp_path / "run", colours, validation=0.3, test=0.3)


@pytest.mark.parametrize(("split", "chosen"), [(None, "test"), ("validation", "validation"), ("train", "train")])
def test_own_split_is_judged_whole(run: Run, colours: Path, split: str | None, chosen: str) -> None:
    """Accuracy, loss and confusion of a split are those of every image of it in data.csv, computed one by one."""
    judged = evaluate(run.path, split=split)
    model = colour_model(judged.metrics.classes)
    right, losses = 0, []
    confusion = np.zeros((3, 3), int)
    samples = [sample for sample in read_samples(run.data_file) if sample.split == chosen]
    for sample in samples:
        answer = model.answer(read_image(colours / sample.path, size=8)[np.newaxis])[0]
        true = model.classes.index(sample.label)
        right += answer.argmax() == true
        losses.append(-math.log(answer[true]))
        confusion[true, answer.argmax()] += 1
    assert judged.metrics.split == chosen
    assert judged.metrics.count == len(samples) > 0
    assert judged.metrics.accuracy.value == right / len(samples)
    assert judged.metrics.log_loss.value == pytest.approx(np.mean(losses), rel=1e-4)
    np.testing.assert_array_equal(judged.metrics.confusion, confusion)


def test_validation_speaks_where_there_is_no_test_split(colours: Path, tmp_path: Path) -> None:
    """Without test images the validation images are judged, and the text says that they chose the epoch."""
    judged = evaluate(colour_run(tmp_path / "run", colours).path)
    assert judged.metrics.split == "validation"
    assert "these images also chose the best epoch" in describe(judged)


def test_split_without_images_is_an_error(colours: Path, tmp_path: Path) -> None:
    """A split that a run does not have is told, with those that it has."""
    run = colour_run(tmp_path / "run", colours)
    with pytest.raises(FolderError) as caught:
        evaluate(run.path, split="test")
    assert "no images in the split 'test'" in caught.value.found
    assert caught.value.expected == "one of train, validation"


@pytest.mark.parametrize("classes", [("blue", "green", "red"), ("red", "green", "blue"), ("green", "red", "blue")])
def test_folders_are_matched_by_name(tmp_path: Path, classes: tuple[str, ...]) -> None:
    """Whatever the order of the model's classes, an image is judged by the name of its folder."""
    data = paint_folder(tmp_path / "data", {"red": {"red": 3}, "green": {"green": 2, "blue": 1}, "blue": {"blue": 4}})
    judged = evaluate(colour_model(classes).write(tmp_path / "m.onnx"), data, out=tmp_path / "out")
    assert judged.metrics.split == "all"
    assert judged.metrics.accuracy.value == 0.9
    assert {name: each.support for name, each in judged.metrics.classes.items()} == {"red": 3, "green": 3, "blue": 4}
    row, column = classes.index("green"), classes.index("blue")
    assert judged.metrics.confusion[row, column] == 1


def test_absent_and_unknown_classes_are_said(run: Run, tmp_path: Path) -> None:
    """A class that the folder lacks, and one that the model lacks, are named, and the latter's images left out."""
    data = paint_folder(tmp_path / "data", {"red": {"red": 3}, "green": {"green": 3}, "violet": {"blue": 5}})
    judged = evaluate(run.path, data)
    assert (judged.absent, judged.unknown, judged.metrics.count) == (("blue",), ("violet",), 6)
    text = describe(judged)
    assert "no image of: blue" in text
    assert "left out, since the model does not know the class: violet" in text
    facts = json.loads((judged.folder / "metrics.json").read_text())
    assert (facts["absent"], facts["unknown"]) == (["blue"], ["violet"])
    assert facts["classes"]["blue"]["recall"]["value"] is None


def test_folder_without_a_known_class_is_an_error(run: Run, tmp_path: Path) -> None:
    """Nothing is judged by nothing: the classes of both are named."""
    data = paint_folder(tmp_path / "data", {"violet": {"blue": 2}, "pink": {"red": 2}})
    with pytest.raises(FolderError) as caught:
        evaluate(run.path, data)
    assert caught.value.found.endswith("pink, violet")
    assert caught.value.expected == "folders named blue, green, red"
    assert not (run.path / "evaluations").exists()


def test_unreadable_images_are_said(run: Run, tmp_path: Path) -> None:
    """Each bad file is counted and named with its reason, also one in no class folder; none is judged."""
    data = paint_folder(tmp_path / "data", {name: {name: 2} for name in COLOURS})
    files = refused_files()
    for name, (content, _) in files.items():
        (data / "red" / name).write_bytes(content)
    (data / "loose.png").write_bytes(encode(np.zeros((8, 8, 3), np.uint8)))
    judged = evaluate(run.path, data)
    said = dict(judged.unreadable)
    assert said == {f"red/{name}": reason for name, (_, reason) in files.items()} | {"loose.png": "in no class folder"}
    assert judged.metrics.count == 6
    assert json.loads((judged.folder / "metrics.json").read_text())["unreadable"] == len(files) + 1
    text = describe(judged)
    assert text.count("left out, unreadable: ") == 5
    assert f"... and {len(files) - 4} more unreadable" in text


def test_images_that_are_gone_are_an_error(tmp_path: Path) -> None:
    """A run whose images were moved away says where it looked."""
    data = paint_folder(tmp_path / "data", {name: {name: 5} for name in COLOURS})
    run = colour_run(tmp_path / "run", data)
    data.rename(tmp_path / "elsewhere")
    with pytest.raises(FolderError) as caught:
        evaluate(run.path)
    assert f"no readable image in {data}" in caught.value.found
    assert "no such file" in caught.value.found


def test_metrics_json_is_as_promised(run: Run) -> None:
    """Exactly the keys that others build on; every figure has a value and its interval around it."""
    judged = evaluate(run.path)
    facts: dict[str, Any] = json.loads((run.path / "metrics.json").read_text())
    ours = {"macro", "majority_baseline", "format", "data", "absent", "unknown", "unreadable"}
    assert set(facts) == {"accuracy", "log_loss", "count", "split", "mirrored", "classes", "confusion"} | ours
    figures = [facts["accuracy"], facts["log_loss"]]
    assert list(facts["classes"]) == ["blue", "green", "red"]
    for scores in facts["classes"].values():
        assert set(scores) == {"precision", "recall", "f1", "support"}
        figures += [scores["precision"], scores["recall"], scores["f1"]]
    for figure in figures:
        assert list(figure) == ["value", "low", "high"]
        assert figure["low"] <= figure["value"] <= figure["high"]
    assert facts["count"] == judged.metrics.count == np.sum(facts["confusion"])
    assert facts["split"] == "test"
    assert np.shape(facts["confusion"]) == (3, 3)
    assert facts["majority_baseline"] == {"class": "blue", "accuracy": pytest.approx(max_share(facts))}


def max_share(facts: dict[str, Any]) -> float:
    """The share of the most frequent class."""
    return max(map(sum, facts["confusion"])) / facts["count"]


def test_mistakes_are_written_worst_first(run: Run, colours: Path) -> None:
    """mistakes.csv has a row for every wrong answer, the surest first, and its paths lead to the images."""
    judged = evaluate(run.path, colours)
    rows = read_table(judged.folder / "mistakes.csv")
    assert list(rows[0]) == ["path", "true", "predicted", "confidence"]
    assert len(rows) == judged.metrics.count - np.trace(judged.metrics.confusion) == PER_CLASS // 5
    confidences = [float(row["confidence"]) for row in rows]
    assert confidences == sorted(confidences, reverse=True)
    for row in rows:
        assert (row["true"], row["predicted"]) == ("blue", "green")
        assert (colours / row["path"]).name.startswith("green")


@pytest.mark.slow
def test_confusion_matrix_is_drawn_where_matplotlib_is(run: Run) -> None:
    """figures/confusion.png is the confusion matrix of this evaluation."""
    from convscope.plotting.figures import plot_confusion, to_png

    metrics = evaluate(run.path).metrics
    assert (run.figures / "confusion.png").read_bytes() == to_png(
        plot_confusion(metrics.confusion, list(metrics.classes))
    )


def test_judging_does_not_need_matplotlib(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Without it everything else is there, and what is missing is said."""
    evaluate(run.path)
    assert (run.path / "metrics.json").is_file()
    assert not run.figures.exists()
    assert "no figure of the confusion matrix: it needs pip install 'convscope[train]'" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 31, 32, 33, 65])
def test_last_batch_may_be_of_any_size(tmp_path: Path, count: int) -> None:
    """One image, a full batch, one less, one more: each is judged once."""
    data = paint_folder(tmp_path / "data", {"red": {"red": count}, "green": {"green": 1}})
    judged = evaluate(colour_model().write(tmp_path / "m.onnx"), data, out=tmp_path / "out")
    assert judged.metrics.count == count + 1
    assert judged.metrics.accuracy.value == 1.0


def test_each_folder_has_its_own_results(run: Run, tmp_path: Path) -> None:
    """Folders of the same name do not share a place, the same folder keeps its own, and the run's own stays."""
    evaluate(run.path)
    own = (run.path / "metrics.json").read_bytes()
    first = paint_folder(tmp_path / "a" / "new", {"red": {"red": 2}, "green": {"green": 2}})
    second = paint_folder(tmp_path / "b" / "new", {"red": {"green": 2}, "green": {"green": 2}})
    places = [evaluate(run.path, data).folder for data in (first, second, first, second)]
    assert places == [run.path / "evaluations" / name for name in ("new", "new-2", "new", "new-2")]
    values = [json.loads((place / "metrics.json").read_text())["accuracy"]["value"] for place in places]
    assert values == [1.0, 0.5, 1.0, 0.5]
    assert (run.path / "metrics.json").read_bytes() == own


def test_mirrored_figures_stand_apart_and_say_what_they_are(run: Run, colours: Path) -> None:
    """Of the run's own images and of a folder: the plain figures stay, `mirrored` is true, and a line says so."""
    plain = [evaluate(run.path), evaluate(run.path, colours)]
    before = [(judged.folder / "metrics.json").read_bytes() for judged in plain]
    mirrored = [evaluate(run.path, mirror=True), evaluate(run.path, colours, mirror=True)]
    assert [str(judged.folder.relative_to(run.path)) for judged in (*plain, *mirrored)] == [
        *(".", "evaluations/colours"),
        *("mirrored", "evaluations/colours-mirrored"),
    ]
    assert [(judged.folder / "metrics.json").read_bytes() for judged in plain] == before
    for judged, with_mirror in zip(plain, mirrored, strict=True):
        facts = json.loads((with_mirror.folder / "metrics.json").read_text())
        assert (judged.metrics.mirrored, facts["mirrored"]) == (False, True)
        assert "--mirror" in describe(with_mirror)
        assert "mirror image" not in describe(judged)
        assert judged.metrics.accuracy == with_mirror.metrics.accuracy  # plain colours are their own mirror images


def test_mirrored_figures_are_of_answers_both_ways_round(photos: Path, tmp_path: Path, cli: Command) -> None:
    """The log loss is that of the mean over each image and its mirror image, and no plain one; the command says so."""
    classes = tuple(sorted(folder.name for folder in photos.iterdir()))
    model = random_model(classes, seed=4)
    file = model.write(tmp_path / "m.onnx")
    plain, mirrored = (evaluate(file, photos, mirror=mirror, out=tmp_path / str(mirror)) for mirror in (False, True))
    losses = []
    for place in sorted(photos.rglob("*.png")):
        image = read_image(place, size=SMALL.size)
        both = model.answer(np.stack([image, image[:, ::-1]])).mean(axis=0)
        losses.append(-math.log(both[classes.index(place.parent.name)]))
    assert mirrored.metrics.log_loss.value == pytest.approx(np.mean(losses), rel=1e-4)
    assert plain.metrics.log_loss.value != pytest.approx(np.mean(losses), rel=1e-3)
    ended = cli("evaluate", file, photos, "--mirror", "--json", "--out", tmp_path / "said")
    assert json.loads(ended.out) == mirrored.metrics.to_json()


def test_images_that_it_learned_from_are_told(run: Run, colours: Path, tmp_path: Path) -> None:
    """Also under other names and beside others: how many they are, and the accuracy without them; in JSON too."""
    learned = [sample for sample in read_samples(run.data_file) if sample.split == "train"]
    held = [sample for sample in read_samples(run.data_file) if sample.split == "test"]
    for place, sample in enumerate([*learned[:7], *held[:4]]):
        target = tmp_path / "again" / sample.label / f"{place}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(colours / sample.path, target)
    found = evaluate(run.path, tmp_path / "again")
    assert found.learned is not None
    assert (found.learned.images, found.learned.others) == (7, 4)
    right = sum(sample.path.split("/")[1].startswith(sample.label) for sample in held[:4])
    assert found.learned.accuracy == wilson(right, 4)
    lines = describe(found).splitlines()
    assert lines[1] == "7 of 11 images it learned from: on new ones it will be wrong more often"
    assert lines[2].startswith(f"accuracy on the other 4: {right / 4:.2%}  (95 % interval ")
    facts = json.loads((found.folder / "metrics.json").read_text())
    assert facts["learned_from"]["images"] == 7
    assert facts["learned_from"]["others"] == {"images": 4, "accuracy": wilson(right, 4).to_json()}


def test_new_images_are_not_spoken_of(run: Run, tmp_path: Path) -> None:
    """Where it learned from none of them nothing is said; where it learned from all there is no other figure."""
    new = paint_folder(tmp_path / "new", {"red": {"red": 2}, "green": {"green": 2}})
    for file in new.rglob("*.png"):
        Image.fromarray(read_image(file, size=8) // 2 + 9).save(file)
    found = evaluate(run.path, new)
    assert found.learned is None
    assert "learned_from" not in json.loads((found.folder / "metrics.json").read_text())
    learned = next(sample for sample in read_samples(run.data_file) if sample.split == "train")
    (tmp_path / "old" / learned.label).mkdir(parents=True)
    shutil.copy(Path(run.environment["data"]) / learned.path, tmp_path / "old" / learned.label / "a.png")
    whole = evaluate(run.path, tmp_path / "old")
    assert whole.learned is not None
    assert (whole.learned.images, whole.learned.others) == (1, 0)
    assert "accuracy on the other" not in describe(whole)


def test_folder_may_be_named_by_dots(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`evaluate RUN ..` is the folder above, by its own name; its results do not fall into the run's."""
    data = paint_folder(tmp_path / "new", {"red": {"red": 2}, "green": {"green": 2}})
    monkeypatch.chdir(data / "red")
    assert evaluate(run.path, Path("..")).folder == run.path / "evaluations" / "new"
    assert not (run.path / "metrics.json").exists()


def test_manifest_is_data_too(run: Run, tmp_path: Path) -> None:
    """A CSV of paths and labels, of which its test split speaks; and a run that was trained on one."""
    data = paint_folder(tmp_path / "data", {"pictures": {"red": 4, "green": 4}})
    rows = [
        ("path", "label", "split"),
        *((f"pictures/red{number:02d}.png", "red", "test" if number else "train") for number in range(4)),
        *((f"pictures/green{number:02d}.png", "green", "train" if number else "test") for number in range(4)),
    ]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    (data / "list.csv").write_text(text.getvalue())
    judged = evaluate(run.path, data / "list.csv")
    assert (judged.metrics.split, judged.metrics.count, judged.metrics.accuracy.value) == ("test", 4, 1.0)
    assert judged.folder == run.path / "evaluations" / "list.csv"
    own = evaluate(colour_run(tmp_path / "other", data / "list.csv").path)
    assert (own.metrics.split, own.metrics.count) == ("test", 4)


def test_split_of_a_folder_can_be_chosen(run: Run, tmp_path: Path) -> None:
    """Of a folder with `train` and `test`, the test images are judged, others when asked for, or it is told."""
    counts = {"train/red": {"red": 3}, "train/green": {"green": 3}, "test/red": {"red": 1}, "test/green": {"red": 1}}
    data = paint_folder(tmp_path / "data", counts)
    assert evaluate(run.path, data).metrics.accuracy.value == 0.5
    assert evaluate(run.path, data, split="train").metrics.accuracy.value == 1.0
    with pytest.raises(FolderError, match="no split 'validation'"):
        evaluate(run.path, data, split="validation")


def test_names_carry_the_class_as_in_training(tmp_path: Path) -> None:
    """A run that took classes from names judges a flat folder in the same way."""
    for number in range(8):
        paint(tmp_path / "flat" / f"red.{number}.png", "red", number)
        paint(tmp_path / "flat" / f"green.{number}.png", "green", number)
    run = colour_run(tmp_path / "run", tmp_path / "flat", label_from_name=True)
    judged = evaluate(run.path, tmp_path / "flat")
    assert (judged.metrics.count, judged.metrics.accuracy.value) == (16, 1.0)


def test_nothing_is_written_beside_the_images(run: Run, colours: Path) -> None:
    """The judged folder is the same after as before, and so is the model."""
    before = files_below(colours), files_below(run.model)
    evaluate(run.path)
    evaluate(run.path, colours)
    assert (files_below(colours), files_below(run.model)) == before


def test_bare_model_needs_only_a_folder(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .onnx alone is judged on a folder, its results standing in `evaluations` here; without a folder it is told."""
    model = colour_model().write(tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    judged = evaluate(model, colours)
    assert judged.folder == Path("evaluations/colours")
    assert (tmp_path / "evaluations" / "colours" / "metrics.json").is_file()
    with pytest.raises(FolderError, match=r"a labelled folder beside a \.onnx file"):
        evaluate(model)


def test_model_that_is_none_is_an_error(colours: Path, tmp_path: Path) -> None:
    """An empty folder is no model."""
    with pytest.raises(BundleError, match="no model in"):
        evaluate(tmp_path, colours)


def test_json_is_all_that_is_printed(run: Run, colours: Path, cli: Command) -> None:
    """`--json` puts one JSON object on standard output, the figures of metrics.json; without it there is text."""
    ended = cli("evaluate", run.path, "--json")
    assert ended.code == 0
    printed = json.loads(ended.out)
    written = json.loads((run.path / "metrics.json").read_text())
    assert printed == {name: written[name] for name in printed}
    assert {"accuracy", "log_loss", "count", "split", "classes", "confusion"} <= set(printed)
    assert cli("evaluate", run.path, colours).out.startswith("accuracy ")


def test_text_says_what_a_person_asks_first(run: Run) -> None:
    """The accuracy with its interval, the baseline, a row for each class, the confusion matrix, the mistakes."""
    judged = evaluate(run.path)
    lines = describe(judged).splitlines()
    figure = judged.metrics.accuracy
    assert lines[0].startswith(f"accuracy {figure.value:.2%}  (95 % interval {figure.low:.2%} to {figure.high:.2%}")
    assert any(line.startswith("always answering 'blue' would reach ") for line in lines)
    assert sum(line.startswith(("blue ", "green ", "red ", "macro ")) for line in lines) >= 4
    count = judged.metrics.count - int(np.trace(judged.metrics.confusion))
    assert lines[-1] == f"{plural(count, 'mistake')}, worst first, in {run.path / 'mistakes.csv'}"
