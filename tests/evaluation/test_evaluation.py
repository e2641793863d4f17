"""The verb `evaluate`: every image counts once, classes are matched by name, every skipped image is named."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from processes import Command
from sample_images import encode, refused_files
from tiny_model import COLOURS, SMALL, colour_model, colour_run, random_model

from convscope.datasets.dataset import read_samples
from convscope.errors import BundleError, FolderError, RunError
from convscope.evaluation.evaluation import evaluate
from convscope.evaluation.text_report import describe
from convscope.files import read_table
from convscope.formatting import plural
from convscope.images.image_reader import read_image
from convscope.run import Run
from convscope.statistics.intervals import wilson_interval

pytestmark = pytest.mark.slow  # every figure takes a third of a second

PER_CLASS = 20


def paint(file: Path, colour: str, number: int) -> None:
    """One image of a colour; the higher the number, the paler the image and the lower the confidence."""
    pixels = np.full((8, 8, 3), 40 + number, np.uint8)
    pixels[:, :, COLOURS.index(colour)] = 220 - number
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def paint_folder(root: Path, counts: Mapping[str, Mapping[str, int]]) -> Path:
    """`counts`: how many images of which colour each folder gets."""
    for folder, colours in counts.items():
        for colour, count in colours.items():
            for number in range(count):
                paint(root / folder / f"{colour}{number:02d}.png", colour, number)
    return root


def files_below(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its content and its modification time."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(autouse=True)
def base_install(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Matplotlib, as in the base install, but for the test of the figure: drawing takes most of the time."""
    if request.function is not test_confusion_matrix_is_drawn_with_matplotlib:
        for name in [name for name in sys.modules if name.startswith("convscope.plotting")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "matplotlib", None)


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
def test_metrics_of_a_split_are_of_all_its_images(run: Run, colours: Path, split: str | None, chosen: str) -> None:
    """Accuracy, log loss and confusion matrix equal those computed image by image from data.csv."""
    evaluation = evaluate(run.path, split=split)
    model = colour_model(evaluation.metrics.classes)
    num_correct, losses = 0, []
    confusion = np.zeros((3, 3), int)
    samples = [sample for sample in read_samples(run.data_file) if sample.split == chosen]
    for sample in samples:
        probabilities = model.predict(read_image(colours / sample.path, size=8)[np.newaxis])[0]
        true = model.classes.index(sample.label)
        num_correct += probabilities.argmax() == true
        losses.append(-math.log(probabilities[true]))
        confusion[true, probabilities.argmax()] += 1
    assert evaluation.metrics.split == chosen
    assert evaluation.metrics.count == len(samples) > 0
    assert evaluation.metrics.accuracy.value == num_correct / len(samples)
    assert evaluation.metrics.log_loss.value == pytest.approx(np.mean(losses), rel=1e-4)
    np.testing.assert_array_equal(evaluation.metrics.confusion, confusion)


def test_validation_images_are_used_without_a_test_split(colours: Path, tmp_path: Path) -> None:
    """And the text says that they selected the epoch."""
    evaluation = evaluate(colour_run(tmp_path / "run", colours).path)
    assert evaluation.metrics.split == "validation"
    assert "these images also selected the best epoch" in describe(evaluation)


def test_split_without_images_is_an_error(colours: Path, tmp_path: Path) -> None:
    """The error names the splits that the run has."""
    run = colour_run(tmp_path / "run", colours)
    with pytest.raises(FolderError) as caught:
        evaluate(run.path, split="test")
    assert "no images in the split 'test'" in caught.value.found
    assert caught.value.expected == "one of train, validation"


@pytest.mark.parametrize("classes", [("blue", "green", "red"), ("red", "green", "blue"), ("green", "red", "blue")])
def test_folders_are_matched_by_name(tmp_path: Path, classes: tuple[str, ...]) -> None:
    """Whatever the order of the model's classes, the label of an image is the name of its folder."""
    data = paint_folder(tmp_path / "data", {"red": {"red": 3}, "green": {"green": 2, "blue": 1}, "blue": {"blue": 4}})
    evaluation = evaluate(colour_model(classes).write(tmp_path / "m.onnx"), data, out=tmp_path / "out")
    assert evaluation.metrics.split == "all"
    assert evaluation.metrics.accuracy.value == 0.9
    assert {name: scores.support for name, scores in evaluation.metrics.classes.items()} == {
        "red": 3,
        "green": 3,
        "blue": 4,
    }
    row, column = classes.index("green"), classes.index("blue")
    assert evaluation.metrics.confusion[row, column] == 1


def test_absent_and_unknown_classes_are_named(run: Run, tmp_path: Path) -> None:
    """A class that the folder lacks, and one that the model lacks, whose images are skipped."""
    data = paint_folder(tmp_path / "data", {"red": {"red": 3}, "green": {"green": 3}, "violet": {"blue": 5}})
    evaluation = evaluate(run.path, data)
    assert (evaluation.absent, evaluation.unknown, evaluation.metrics.count) == (("blue",), ("violet",), 6)
    text = describe(evaluation)
    assert "no images of: blue" in text
    assert "skipped, not a class of the model: violet" in text
    facts = json.loads((evaluation.folder / "metrics.json").read_text())
    assert (facts["absent"], facts["unknown"]) == (["blue"], ["violet"])
    assert facts["classes"]["blue"]["recall"]["value"] is None


def test_folder_without_a_known_class_is_an_error(run: Run, tmp_path: Path) -> None:
    """The error names the classes of both, and nothing is written."""
    data = paint_folder(tmp_path / "data", {"violet": {"blue": 2}, "pink": {"red": 2}})
    with pytest.raises(FolderError) as caught:
        evaluate(run.path, data)
    assert caught.value.found.endswith("pink, violet")
    assert caught.value.expected == "folders named blue, green, red"
    assert not (run.path / "evaluations").exists()


def test_unreadable_images_are_named(run: Run, tmp_path: Path) -> None:
    """Each bad file is counted and named with its reason, also one in no class folder; metrics leave them out."""
    data = paint_folder(tmp_path / "data", {name: {name: 2} for name in COLOURS})
    files = refused_files()
    for name, (content, _) in files.items():
        (data / "red" / name).write_bytes(content)
    (data / "loose.png").write_bytes(encode(np.zeros((8, 8, 3), np.uint8)))
    evaluation = evaluate(run.path, data)
    assert dict(evaluation.unreadable) == {f"red/{name}": reason for name, (_, reason) in files.items()} | {
        "loose.png": "in no class folder"
    }
    assert evaluation.metrics.count == 6
    assert json.loads((evaluation.folder / "metrics.json").read_text())["unreadable"] == len(files) + 1
    text = describe(evaluation)
    assert text.count("skipped, unreadable: ") == 5
    assert f"... and {len(files) - 4} more unreadable" in text


def test_images_that_are_gone_are_an_error(tmp_path: Path) -> None:
    """The error names the folder where the images were."""
    data = paint_folder(tmp_path / "data", {name: {name: 5} for name in COLOURS})
    run = colour_run(tmp_path / "run", data)
    data.rename(tmp_path / "elsewhere")
    with pytest.raises(FolderError) as caught:
        evaluate(run.path)
    assert f"no readable image in {data}" in caught.value.found
    assert "no such file" in caught.value.found


def test_metrics_json_has_the_documented_keys(run: Run) -> None:
    """Exactly the documented keys; every estimate has a value and an interval around it."""
    evaluation = evaluate(run.path)
    facts: dict[str, Any] = json.loads((run.path / "metrics.json").read_text())
    keys = {
        "accuracy",
        "log_loss",
        "count",
        "split",
        "mirrored",
        "classes",
        "confusion",
        "macro",
        "majority_baseline",
        "format",
        "data",
        "absent",
        "unknown",
        "unreadable",
    }
    assert set(facts) == keys
    estimates = [facts["accuracy"], facts["log_loss"]]
    assert list(facts["classes"]) == ["blue", "green", "red"]
    for scores in facts["classes"].values():
        assert set(scores) == {"precision", "recall", "f1", "support"}
        estimates += [scores["precision"], scores["recall"], scores["f1"]]
    for estimate in estimates:
        assert list(estimate) == ["value", "low", "high"]
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert facts["count"] == evaluation.metrics.count == np.sum(facts["confusion"])
    assert facts["split"] == "test"
    assert np.shape(facts["confusion"]) == (3, 3)
    assert facts["majority_baseline"] == {"class": "blue", "accuracy": pytest.approx(max_share(facts))}


def max_share(facts: dict[str, Any]) -> float:
    """The proportion of the most frequent class."""
    return max(map(sum, facts["confusion"])) / facts["count"]


def test_mistakes_are_written_most_confident_first(run: Run, colours: Path) -> None:
    """mistakes.csv has a row for every wrong prediction, and its paths are those of the images."""
    evaluation = evaluate(run.path, colours)
    rows = read_table(evaluation.folder / "mistakes.csv")
    assert list(rows[0]) == ["path", "true", "predicted", "confidence"]
    assert len(rows) == evaluation.metrics.count - np.trace(evaluation.metrics.confusion) == PER_CLASS // 5
    confidences = [float(row["confidence"]) for row in rows]
    assert confidences == sorted(confidences, reverse=True)
    for row in rows:
        assert (row["true"], row["predicted"]) == ("blue", "green")
        assert (colours / row["path"]).name.startswith("green")


@pytest.mark.slow
def test_confusion_matrix_is_drawn_with_matplotlib(run: Run) -> None:
    """figures/confusion.png is the confusion matrix of this evaluation."""
    from convscope.plotting.confusion import plot_confusion
    from convscope.plotting.style import to_png

    metrics = evaluate(run.path).metrics
    assert (run.figures / "confusion.png").read_bytes() == to_png(
        plot_confusion(metrics.confusion, list(metrics.classes))
    )


def test_matplotlib_is_optional(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Without it everything but the figure is written, and a message says which extra it needs."""
    caplog.set_level(logging.INFO, logger="convscope")
    evaluate(run.path)
    assert (run.path / "metrics.json").is_file()
    assert not run.figures.exists()
    assert "no figure of the confusion matrix: it needs pip install 'convscope[explain]'" in caplog.messages


@pytest.mark.parametrize("count", [1, 31, 32, 33, 65])
def test_last_batch_may_have_any_size(tmp_path: Path, count: int) -> None:
    """One image, a full batch, one less, one more: each image counts once."""
    data = paint_folder(tmp_path / "data", {"red": {"red": count}, "green": {"green": 1}})
    evaluation = evaluate(colour_model().write(tmp_path / "m.onnx"), data, out=tmp_path / "out")
    assert evaluation.metrics.count == count + 1
    assert evaluation.metrics.accuracy.value == 1.0


def test_each_labelled_folder_has_a_results_folder(run: Run, tmp_path: Path) -> None:
    """Folders of the same name do not share one, the same folder keeps its one, and the run's metrics.json stays."""
    evaluate(run.path)
    held_out = (run.path / "metrics.json").read_bytes()
    first = paint_folder(tmp_path / "a" / "new", {"red": {"red": 2}, "green": {"green": 2}})
    second = paint_folder(tmp_path / "b" / "new", {"red": {"green": 2}, "green": {"green": 2}})
    folders = [evaluate(run.path, data).folder for data in (first, second, first, second)]
    assert folders == [run.path / "evaluations" / name for name in ("new", "new-2", "new", "new-2")]
    values = [json.loads((folder / "metrics.json").read_text())["accuracy"]["value"] for folder in folders]
    assert values == [1.0, 0.5, 1.0, 0.5]
    assert (run.path / "metrics.json").read_bytes() == held_out


def test_results_with_test_time_augmentation_have_their_folder(run: Run, colours: Path) -> None:
    """For the held-out images and for a folder: the results without it stay, and the text and metrics.json name it."""
    plain = [evaluate(run.path), evaluate(run.path, colours)]
    before = [(evaluation.folder / "metrics.json").read_bytes() for evaluation in plain]
    augmented = [evaluate(run.path, mirror=True), evaluate(run.path, colours, mirror=True)]
    assert [str(evaluation.folder.relative_to(run.path)) for evaluation in (*plain, *augmented)] == [
        *(".", "evaluations/colours"),
        *("mirrored", "evaluations/colours-mirrored"),
    ]
    assert [(evaluation.folder / "metrics.json").read_bytes() for evaluation in plain] == before
    for evaluation, flipped in zip(plain, augmented, strict=True):
        facts = json.loads((flipped.folder / "metrics.json").read_text())
        assert (evaluation.metrics.mirrored, facts["mirrored"]) == (False, True)
        assert "test-time augmentation: " in describe(flipped)
        assert "test-time augmentation" not in describe(evaluation)
        assert evaluation.metrics.accuracy == flipped.metrics.accuracy  # plain colours are symmetric


def test_test_time_augmentation_averages_probabilities(photos: Path, tmp_path: Path, cli: Command) -> None:
    """The log loss is that of the mean over each image and its horizontal flip; the command line has it too."""
    classes = tuple(sorted(folder.name for folder in photos.iterdir()))
    model = random_model(classes, seed=4)
    file = model.write(tmp_path / "m.onnx")
    plain, augmented = (evaluate(file, photos, mirror=mirror, out=tmp_path / str(mirror)) for mirror in (False, True))
    losses = []
    for photo in sorted(photos.rglob("*.png")):
        image = read_image(photo, size=SMALL.size)
        both = model.predict(np.stack([image, image[:, ::-1]])).mean(axis=0)
        losses.append(-math.log(both[classes.index(photo.parent.name)]))
    assert augmented.metrics.log_loss.value == pytest.approx(np.mean(losses), rel=1e-4)
    assert plain.metrics.log_loss.value != pytest.approx(np.mean(losses), rel=1e-3)
    result = cli("evaluate", file, photos, "--mirror", "--json", "--out", tmp_path / "cli")
    assert json.loads(result.out) == augmented.metrics.to_json()


def test_training_images_in_a_folder_are_found(run: Run, colours: Path, tmp_path: Path) -> None:
    """By content, under other names: their number, and the accuracy on the other images; in JSON too."""
    trained_on = [sample for sample in read_samples(run.data_file) if sample.split == "train"]
    held_out = [sample for sample in read_samples(run.data_file) if sample.split == "test"]
    for number, sample in enumerate([*trained_on[:7], *held_out[:4]]):
        target = tmp_path / "again" / sample.label / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(colours / sample.path, target)
    evaluation = evaluate(run.path, tmp_path / "again")
    assert evaluation.overlap is not None
    assert (evaluation.overlap.images, evaluation.overlap.others) == (7, 4)
    num_correct = sum(sample.path.split("/")[1].startswith(sample.label) for sample in held_out[:4])
    assert evaluation.overlap.accuracy == wilson_interval(num_correct, 4)
    lines = describe(evaluation).splitlines()
    assert lines[1] == "7 of 11 images were in the training set: expect a lower accuracy on new images"
    assert lines[2].startswith(f"accuracy on the other 4: {num_correct / 4:.2%}  (95 % interval ")
    facts = json.loads((evaluation.folder / "metrics.json").read_text())
    assert facts["learned_from"]["images"] == 7
    assert facts["learned_from"]["others"] == {"images": 4, "accuracy": wilson_interval(num_correct, 4).to_json()}


def test_overlap_of_none_or_all_images(run: Run, tmp_path: Path) -> None:
    """With no training image in the folder there is no overlap; with nothing else there is no second accuracy."""
    new = paint_folder(tmp_path / "new", {"red": {"red": 2}, "green": {"green": 2}})
    for file in new.rglob("*.png"):
        Image.fromarray(read_image(file, size=8) // 2 + 9).save(file)
    evaluation = evaluate(run.path, new)
    assert evaluation.overlap is None
    assert "learned_from" not in json.loads((evaluation.folder / "metrics.json").read_text())
    sample = next(sample for sample in read_samples(run.data_file) if sample.split == "train")
    (tmp_path / "old" / sample.label).mkdir(parents=True)
    shutil.copy(Path(run.environment["data"]) / sample.path, tmp_path / "old" / sample.label / "a.png")
    complete = evaluate(run.path, tmp_path / "old")
    assert complete.overlap is not None
    assert (complete.overlap.images, complete.overlap.others) == (1, 0)
    assert "accuracy on the other" not in describe(complete)


def test_folder_may_be_named_with_dots(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`..` is the folder above, by its name."""
    data = paint_folder(tmp_path / "new", {"red": {"red": 2}, "green": {"green": 2}})
    monkeypatch.chdir(data / "red")
    assert evaluate(run.path, Path("..")).folder == run.path / "evaluations" / "new"
    assert not (run.path / "metrics.json").exists()


def test_manifest_is_data_too(run: Run, tmp_path: Path) -> None:
    """A CSV of paths and labels, whose test split is evaluated; and a run that was trained on one."""
    data = paint_folder(tmp_path / "data", {"pictures": {"red": 4, "green": 4}})
    rows = [
        ("path", "label", "split"),
        *((f"pictures/red{number:02d}.png", "red", "test" if number else "train") for number in range(4)),
        *((f"pictures/green{number:02d}.png", "green", "train" if number else "test") for number in range(4)),
    ]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    (data / "list.csv").write_text(text.getvalue())
    evaluation = evaluate(run.path, data / "list.csv")
    assert (evaluation.metrics.split, evaluation.metrics.count, evaluation.metrics.accuracy.value) == ("test", 4, 1.0)
    assert evaluation.folder == run.path / "evaluations" / "list.csv"
    held_out = evaluate(colour_run(tmp_path / "other", data / "list.csv").path)
    assert (held_out.metrics.split, held_out.metrics.count) == ("test", 4)


def test_split_of_a_folder_can_be_chosen(run: Run, tmp_path: Path) -> None:
    """Of a folder with `train` and `test` the test images are the default; the error names the splits that it has."""
    counts = {"train/red": {"red": 3}, "train/green": {"green": 3}, "test/red": {"red": 1}, "test/green": {"red": 1}}
    data = paint_folder(tmp_path / "data", counts)
    assert evaluate(run.path, data).metrics.accuracy.value == 0.5
    assert evaluate(run.path, data, split="train").metrics.accuracy.value == 1.0
    with pytest.raises(FolderError, match=r"no split 'validation'.*expected: one of test, train"):
        evaluate(run.path, data, split="validation")


def test_class_comes_from_the_name_as_in_training(tmp_path: Path) -> None:
    """A run with `label_from_name` takes the classes of a flat folder from its file names."""
    for number in range(8):
        paint(tmp_path / "flat" / f"red.{number}.png", "red", number)
        paint(tmp_path / "flat" / f"green.{number}.png", "green", number)
    run = colour_run(tmp_path / "run", tmp_path / "flat", label_from_name=True)
    evaluation = evaluate(run.path, tmp_path / "flat")
    assert (evaluation.metrics.count, evaluation.metrics.accuracy.value) == (16, 1.0)


def test_images_and_model_are_not_changed(run: Run, colours: Path) -> None:
    """The labelled folder and the model are the same after as before."""
    before = files_below(colours), files_below(run.model)
    evaluate(run.path)
    evaluate(run.path, colours)
    assert (files_below(colours), files_below(run.model)) == before


def test_onnx_file_needs_a_labelled_folder(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its results are in `evaluations` of the working folder; without a labelled folder it is an error."""
    model = colour_model().write(tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    evaluation = evaluate(model, colours)
    assert evaluation.folder == Path("evaluations/colours")
    assert (tmp_path / "evaluations" / "colours" / "metrics.json").is_file()
    with pytest.raises(FolderError, match=r"a labelled folder beside a \.onnx file"):
        evaluate(model)


def test_folder_without_a_model_is_an_error(colours: Path, tmp_path: Path) -> None:
    """An empty folder is none."""
    with pytest.raises(BundleError, match="no model in"):
        evaluate(tmp_path, colours)


def test_json_is_the_only_output(run: Run, colours: Path, cli: Command) -> None:
    """`--json` prints one JSON object, with the values of metrics.json; without it there is text."""
    result = cli("evaluate", run.path, "--json")
    assert result.code == 0
    printed = json.loads(result.out)
    written = json.loads((run.path / "metrics.json").read_text())
    assert printed == {name: written[name] for name in printed}
    assert {"accuracy", "log_loss", "count", "split", "classes", "confusion"} <= set(printed)
    assert cli("evaluate", run.path, colours).out.startswith("accuracy ")


def test_text_has_every_metric(run: Run) -> None:
    """Accuracy and log loss with named intervals, the baseline, a row for each class, the mistakes."""
    evaluation = evaluate(run.path)
    lines = describe(evaluation).splitlines()
    accuracy, loss = evaluation.metrics.accuracy, evaluation.metrics.log_loss
    interval = f"(95 % interval {accuracy.low:.2%} to {accuracy.high:.2%}, "
    assert lines[0].startswith(f"accuracy {accuracy.value:.2%}  {interval}")
    assert lines[1] == f"log loss {loss.value:.4f}  (95 % interval {loss.low:.4f} to {loss.high:.4f})"
    assert lines[2].startswith("baseline (always 'blue') ")
    assert sum(line.startswith(("blue ", "green ", "red ", "macro ")) for line in lines) >= 4
    count = evaluation.metrics.count - int(np.trace(evaluation.metrics.confusion))
    assert lines[-1] == f"{plural(count, 'mistake')}, most confident first, in {run.path / 'mistakes.csv'}"


def test_text_without_mistakes_or_spread(tmp_path: Path) -> None:
    """One image has no interval of the log loss, and no mistake is not "0 mistakes"."""
    data = paint_folder(tmp_path / "data", {"red": {"red": 1}})
    text = describe(evaluate(colour_model().write(tmp_path / "m.onnx"), data, out=tmp_path / "out"))
    assert "(95 % interval unknown)" in text
    assert text.endswith("\nno mistakes")


def test_results_that_cannot_be_written_are_an_error(run: Run, tmp_path: Path) -> None:
    """A file where the folder should be: the error names it and the parameter."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as caught:
        evaluate(run.path, out=tmp_path / "file" / "out")
    assert str(tmp_path / "file") in caught.value.found
    assert caught.value.fix.endswith("choose another `out`")
