"""The command line, from a folder of images to predictions.csv, and how its commands end."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import sys
import time
import tomllib
from pathlib import Path

import pytest
from localized_shapes import CLASSES, write_shapes
from processes import Command, CommandResult, finish, start
from sample_images import refused_files

from convscope.files import read_table
from convscope.run import Run

SMALL = ("--network", "classic", "--image-size", 16, "--filters", "2,4", "--dense-units", 8, "--steps", 4)
LEARNING = (
    "--network",
    "classic",
    "--image-size",
    32,
    "--filters",
    "8,16",
    "--dense-units",
    32,
    "--learning-rate",
    3e-3,
    "--epochs",
    20,
)


def check_error(result: CommandResult, *texts: str) -> None:
    """Exit code 2, `texts` in the last three lines of standard error, no traceback, nothing on standard output."""
    assert (result.code, result.out) == (2, "")
    assert "Traceback" not in result.err
    lines = result.err.splitlines()[-3:]
    for line, name, text in zip(lines, ("found:    ", "expected: ", "fix:      "), texts, strict=True):
        assert line.startswith(name)
        assert text in line


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty images of two classes. Read-only."""
    return write_shapes(tmp_path_factory.mktemp("few") / "photos", per_class=15)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_from_folder_to_predictions(localized_shapes: Path, cli: Command, tmp_path: Path) -> None:
    """train, evaluate, explain, predict: each exits with 0, prints the path of its result, and writes it."""
    run = Run(tmp_path / "run")
    trained = cli("train", localized_shapes, "--out", run.path, "--test", 0.15, *LEARNING)
    assert (trained.code, trained.out) == (0, f"{run.path}\n")
    assert "300 images in" in trained.err
    assert trained.err.count("validation loss") >= 20
    assert run.is_finished

    evaluated = cli("evaluate", run.path, "--json")
    assert evaluated.code == 0
    assert json.loads(evaluated.out)["accuracy"]["value"] > 0.8
    assert json.loads(evaluated.out)["split"] == "test"

    explained = cli("explain", run.path)
    assert (explained.code, explained.out) == (0, f"{run.path / 'report.html'}\n")
    assert (run.path / "report.html").is_file()

    table = tmp_path / "predictions.csv"
    predicted = cli("predict", run.path, localized_shapes, "--out", table)
    assert (predicted.code, predicted.out) == (0, "")
    assert f"300 rows in {table}" in predicted.err
    rows = read_table(table)
    assert len(rows) == 300
    num_correct = sum(
        Path(row["path"]).name.startswith(row["label"]) for row in rows
    )  # files are named by what is drawn
    assert num_correct > 0.95 * len(rows)


@pytest.mark.tensorflow
def test_cache_is_listed_and_cleared(few: Path, cli: Command, tmp_path: Path) -> None:
    """Training keeps its decoded images in `--cache`; they are listed with their size, and can be removed."""
    cache = tmp_path / "decoded"
    assert cli("train", few, "--out", tmp_path / "run", "--cache", cache, *SMALL).code == 0
    listed = cli("cache", "list", "--cache", cache)
    assert listed.code == 0
    name, count, unit, *_ = listed.out.split()
    assert name.startswith("images-")
    assert (count, unit) == ("30", "images")
    assert listed.out.splitlines()[-1].startswith("1 cache, 0.0 MB in")
    cleared = cli("cache", "clear", "--cache", cache)
    assert (cleared.code, list(cache.iterdir())) == (0, [])
    assert cleared.out.startswith("freed ")
    assert cleared.out.endswith(f" MB in {cache}\n")
    assert cli("cache", "list", "--cache", cache).out.startswith("0 caches")


@pytest.mark.tensorflow
@pytest.mark.slow
def test_interrupted_training_prints_the_command_that_continues(few: Path, cli: Command, tmp_path: Path) -> None:
    """Ctrl-C ends it with 130 and three lines, of which the last is the command that finishes the work."""
    run = Run(tmp_path / "my run")
    child = start(
        "train", few, "--out", run.path, "--network", "classic", "--image-size", 16, "--epochs", 200, "--patience", 0
    )
    while child.poll() is None and not run.history_file.exists():
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGINT)
    stopped = finish(child)
    assert (stopped.code, stopped.out) == (130, ""), stopped.err
    assert "Traceback" not in stopped.err
    position, saved, resume = stopped.err.splitlines()[-3:]
    assert re.fullmatch(r"stopped:  .*step \d+ of 200", position)
    assert saved.startswith("saved:    ")
    assert saved.endswith(f", in {run.path}")
    assert not run.is_finished
    steps = len(read_table(run.history_file))

    command, *arguments = shlex.split(resume.removeprefix("resume:   "))
    assert command == "convscope"
    finished = cli(*arguments)
    assert (finished.code, finished.out) == (0, f"{run.path}\n"), finished.err
    history = read_table(run.history_file)
    assert [int(row["epoch"]) for row in history] == list(range(1, 201))
    assert len(history) > steps
    assert run.is_finished


@pytest.mark.tensorflow
def test_existing_run_is_refused(few: Path, cli: Command, tmp_path: Path) -> None:
    """Nothing that exists is overwritten."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    result = cli("train", few, "--out", tmp_path / "run", *SMALL)
    check_error(result, f"{tmp_path / 'run'} exists already", "a new run folder", "choose another --out")
    assert os.listdir(tmp_path / "run") == ["notes.txt"]


@pytest.mark.tensorflow
def test_recipe_file_with_flags_over_it(few: Path, cli: Command, tmp_path: Path) -> None:
    """A flag overrides the file, the file the defaults; the run saves the result."""
    (tmp_path / "my.toml").write_text(
        "network = 'classic'\nimage_size = 16\nfilters = [2]\ndense_units = 4\nepochs = 3\nseed = 5\n"
    )
    arguments = ("--recipe", tmp_path / "my.toml", "--steps", 2, "--dense-units", 6, "--validation", "20%")
    assert cli("train", few, "--out", tmp_path / "run", *arguments).code == 0
    saved = tomllib.loads(Run(tmp_path / "run").recipe_file.read_text(encoding="utf-8"))
    choices = {"network": "classic", "image_size": 16, "filters": [2], "dense_units": 6, "seed": 5, "validation": 0.2}
    assert {name: saved[name] for name in choices} == choices
    assert (saved["steps"], "epochs" in saved) == (2, False)


@pytest.mark.tensorflow
def test_unknown_key_of_a_recipe_is_an_error(few: Path, cli: Command, tmp_path: Path) -> None:
    """Before anything starts, and with the nearest key."""
    (tmp_path / "my.toml").write_text("learning_rat = 0.1\n")
    result = cli("train", few, "--recipe", tmp_path / "my.toml", "--out", tmp_path / "run")
    check_error(result, "learning_rat", "a key of the recipe", "did you mean")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["train", "photos", "--netwrok", "classic"], "--network"),
        (["train", "photos", "--step", "3"], "--steps"),
        (["trian", "photos"], "'train'"),
        (["evaluate", "run", "--jason"], "--json"),
        (["train", "photos", "--fit", "squash"], "'stretch', 'pad', 'crop'"),
        (["train", "photos", "--filters", "8,x"], "32,32,64"),
        (["train", "photos", "--steps", "many"], "--steps"),
        (["predict", "run"], "Missing argument"),
    ],
)
def test_wrong_usage_is_an_error(cli: Command, arguments: list[str], text: str) -> None:
    """For an unknown flag or command the nearest is named, for a wrong value the valid ones; exit code 2."""
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert text in result.err.splitlines()[-1].replace("'stretch' or 'pad' or 'crop'", "'stretch', 'pad', 'crop'")
    assert "Traceback" not in result.err


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--steps", 3, "--epochs", 3], ("--epochs and --steps", "one of them", "leave one out")),
        (["--image-size", 2], ("2", "16 to 4096", "--image-size")),
        (["--learning-rate", 0], ("0.0", "above 0", "--learning-rate")),
        (["--recipe", "no.toml"], ("no.toml cannot be read", "a TOML file", "check the path")),
    ],
)
def test_invalid_choice_is_an_error(
    few: Path, cli: Command, tmp_path: Path, arguments: list[object], texts: tuple[str, str, str]
) -> None:
    """Before anything starts; the error names the flag."""
    check_error(cli("train", few, "--out", tmp_path / "run", *arguments), *texts)
    assert not (tmp_path / "run").exists()


@pytest.mark.tensorflow
@pytest.mark.parametrize("arguments", [["--strict"], ["--max-refused", "10%"], []])
def test_too_many_bad_images_stop_before_training(
    few: Path, cli: Command, tmp_path: Path, arguments: list[str]
) -> None:
    """Above the allowed share nothing starts; the table above the error has every file with its reason."""
    bad = refused_files()
    data = _with_bad_files(few, tmp_path, len(bad))
    result = cli("train", data, "--out", tmp_path / "run", *arguments)
    share = {"--strict": "0.0%", "--max-refused": "10.0%"}.get(arguments[0] if arguments else "", "5.0%")
    check_error(result, f"{len(bad)} of {30 + len(bad)} images refused", f"at most {share}", "--max-refused")
    assert all(name in result.err for name in bad)
    assert not (tmp_path / "run").exists()


@pytest.mark.tensorflow
def test_allowed_bad_images_are_left_out_and_listed(few: Path, cli: Command, tmp_path: Path) -> None:
    """Within the share, training starts without them, and data.csv has the reason; `--strict` allows none."""
    data = _with_bad_files(few, tmp_path, 1)
    check_error(cli("train", data, "--out", tmp_path / "strict", "--strict"), "1 of 31 images", "0.0%", "remove")
    run = Run(tmp_path / "run")
    assert cli("train", data, "--out", run.path, *SMALL).code == 0
    (row,) = [row for row in read_table(run.data_file) if row["status"] == "refused"]
    assert (row["path"], row["reason"], row["split"]) == ("disc/truncated.jpg", "truncated", "")


def _with_bad_files(few: Path, folder: Path, count: int) -> Path:
    """Links to the images of `few`, and `count` unreadable files beside its discs."""
    data = folder / "photos"
    for name in CLASSES:
        (data / name).mkdir(parents=True)
        for file in (few / name).iterdir():
            (data / name / file.name).symlink_to(file)
    for name, (content, _) in list(refused_files().items())[:count]:
        (data / "disc" / name).write_bytes(content)
    return data


@pytest.mark.tensorflow
def test_classes_are_taken_from_names(few: Path, cli: Command, tmp_path: Path) -> None:
    """The error for a flat folder of `disc.0.png` and `ring.0.png` names the flag with which it trains."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for folder in CLASSES:
        for number, file in enumerate(sorted((few / folder).iterdir())):
            (flat / f"{folder}.{number}.png").symlink_to(file)
    check_error(cli("train", flat, "--out", tmp_path / "run"), "30 images", "one sub-folder per", "--label-from-name")
    run = Run(tmp_path / "run")
    assert cli("train", flat, "--out", run.path, "--label-from-name", *SMALL).code == 0
    assert {row["class"] for row in read_table(run.data_file)} == set(CLASSES)
    assert cli("evaluate", run.path, flat).code == 0


@pytest.mark.parametrize(
    ("arguments", "code"), [([], 3), (["--max-unreadable", 0.5], 0), (["--max-unreadable", 0.4], 3)]
)
def test_too_many_unreadable_inputs_end_with_3(
    few: Path, cli: Command, tmp_path: Path, arguments: list[object], code: int
) -> None:
    """The table is complete either way; the exit code shows a script that more are unreadable than allowed."""
    from tiny_model import colour_model

    model = colour_model().write(tmp_path / "m.onnx")
    (tmp_path / "bad.png").write_bytes(b"")
    images = [few / "disc" / "disc000.png", tmp_path / "bad.png"]
    result = cli("predict", model, *images, "--out", tmp_path / "out.csv", *arguments)
    assert result.code == code
    assert [row["status"] for row in read_table(tmp_path / "out.csv")] == ["ok", "unreadable"]
    assert "1 of 2 images unreadable; the column `error` has the reason" in result.err


@pytest.mark.slow
def test_table_goes_to_standard_output_and_messages_do_not(few: Path, cli: Command, tmp_path: Path) -> None:
    """`convscope predict ... > table.csv` is the table and nothing else."""
    from tiny_model import colour_model

    result = cli("predict", colour_model().write(tmp_path / "m.onnx"), few / "ring", "--format", "reference")
    header, *rows = csv.reader(result.out.splitlines())
    assert header == ["red", "green", "blue", "id"]
    assert [row[-1] for row in rows] == sorted(file.stem for file in (few / "ring").iterdir())


@pytest.mark.tensorflow
@pytest.mark.slow
def test_demo_leaves_a_complete_run(tmp_path: Path) -> None:
    """`convscope demo`: at least 97 % accuracy on held-out digits, all files of a run, and where they are."""
    result = finish(start("demo", cwd=tmp_path))
    assert result.code == 0, result.err
    assert "Traceback" not in result.err
    run = Run(tmp_path / "runs" / "1")
    facts = json.loads((run.path / "metrics.json").read_text())
    assert facts["split"] == "test"
    assert facts["count"] > 200
    assert facts["accuracy"]["value"] >= 0.97
    assert set(read_table(run.path / "predictions.csv")[0]) >= set(map(str, range(10)))
    assert len(read_table(run.path / "predictions.csv")) == 1797
    files = {str(file.relative_to(run.path)) for file in run.path.rglob("*") if file.is_file()}
    own = ("recipe.toml", "environment.json", "data.csv", "history.csv", "log.jsonl", "metrics.json", "mistakes.csv")
    assert files >= {*own, "report.html", "predictions.csv"}
    assert files >= {f"model/{name}" for name in ("model.onnx", "model.json", "labels.txt", "weights.safetensors")}
    assert {"figures/confusion.png", "figures/history.png", "figures/image2_heatmap.png"} <= files
    checkpoints = sorted(run.checkpoints.iterdir())
    assert len(checkpoints) == 2
    for checkpoint in checkpoints:
        assert {file.name for file in checkpoint.iterdir()} == {"arrays.safetensors", "facts.json", "manifest.json"}
    printed = dict(line.split(None, 1) for line in result.out.splitlines() if line.startswith(("images ", "model ")))
    printed |= dict(line.split(None, 1) for line in result.out.splitlines() if line.startswith(("metrics ", "report ")))
    assert set(printed) == {"images", "model", "metrics", "report"}
    assert all((tmp_path / path).exists() for path in printed.values())
    assert [line.split()[1] for line in result.out.splitlines() if line.startswith("  convscope ")] == [
        *("train", "evaluate", "explain", "predict")
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="measures processes as Linux does")
@pytest.mark.slow
def test_one_image_from_a_cold_start_is_quick(few: Path, tmp_path: Path) -> None:
    """Predicting one image in a new process takes under a second of CPU time.

    The best of three counts: other work on the machine makes a process slower, and nothing makes it faster.
    """
    import resource

    from tiny_model import colour_model

    model = colour_model().write(tmp_path / "m.onnx")
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = finish(start("predict", model, few / "disc" / "disc000.png"))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert result.code == 0
        seconds.append((after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime))
    assert min(seconds) < 1.0
