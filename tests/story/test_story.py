"""The command line, from a folder of images to predictions.csv, and every way in which a command may end."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Command, Ended, finish, start
from halves import CLASSES, write_halves
from sample_images import refused_files

from convscope.files import read_table
from convscope.recipe.recipe import Recipe
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


def check_error(ended: Ended, *says: str) -> None:
    """It ended with 2 and its last three lines say what they should; no traceback, nothing on standard output."""
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err
    lines = ended.err.splitlines()[-3:]
    for line, name, text in zip(lines, ("found:    ", "expected: ", "fix:      "), says, strict=True):
        assert line.startswith(name)
        assert text in line


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty images of two classes. Only to be read."""
    return write_halves(tmp_path_factory.mktemp("few") / "photos", per_class=15)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_from_folder_to_predictions(halves: Path, cli: Command, tmp_path: Path) -> None:
    """train, evaluate, explain, predict: each ends well, says where its result is, and leaves it there."""
    run = Run(tmp_path / "run")
    trained = cli("train", halves, "--out", run.path, "--test", 0.15, *LEARNING)
    assert (trained.code, trained.out) == (0, f"{run.path}\n")
    assert "300 images in" in trained.err
    assert trained.err.count("validation loss") >= 20
    assert run.is_finished

    judged = cli("evaluate", run.path, "--json")
    assert judged.code == 0
    assert json.loads(judged.out)["accuracy"]["value"] > 0.8
    assert json.loads(judged.out)["split"] == "test"

    explained = cli("explain", run.path)
    assert (explained.code, explained.out) == (0, f"{run.path / 'report.html'}\n")
    assert (run.path / "report.html").is_file()

    table = tmp_path / "predictions.csv"
    predicted = cli("predict", run.path, halves, "--out", table)
    assert (predicted.code, predicted.out) == (0, "")
    assert f"300 rows in {table}" in predicted.err
    rows = read_table(table)
    assert len(rows) == 300
    right = sum(Path(row["path"]).name.startswith(row["label"]) for row in rows)  # names say what is drawn
    assert right > 0.95 * len(rows)


@pytest.mark.tensorflow
def test_cache_is_listed_and_cleared(few: Path, cli: Command, tmp_path: Path) -> None:
    """Training keeps its decoded images where it is told to; they are listed with their size, and can be removed."""
    place = tmp_path / "decoded"
    assert cli("train", few, "--out", tmp_path / "run", "--cache", place, *SMALL).code == 0
    listed = cli("cache", "list", "--cache", place)
    assert listed.code == 0
    name, count, unit, *_ = listed.out.split()
    assert name.startswith("images-")
    assert (count, unit) == ("30", "images")
    assert listed.out.splitlines()[-1].startswith("1 cache, 0.0 MB in")
    cleared = cli("cache", "clear", "--cache", place)
    assert (cleared.code, list(place.iterdir())) == (0, [])
    assert cleared.out.endswith(f"MB set free in {place}\n")
    assert cli("cache", "list", "--cache", place).out.startswith("0 caches")


@pytest.mark.tensorflow
@pytest.mark.slow
def test_interrupted_training_says_how_to_go_on(few: Path, cli: Command, tmp_path: Path) -> None:
    """Ctrl-C ends it with 130 and three lines, of which the last is a command that finishes the work."""
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
    done, saved, resume = stopped.err.splitlines()[-3:]
    assert re.fullmatch(r"stopped:  at step \d+ of 200", done)
    assert saved == f"saved:    everything, in {run.path}"
    assert not run.is_finished
    steps = len(read_table(run.history_file))

    command, *words = shlex.split(resume.removeprefix("resume:   "))
    assert command == "convscope"
    finished = cli(*words)
    assert (finished.code, finished.out) == (0, f"{run.path}\n"), finished.err
    assert "going on at step" in finished.err
    history = read_table(run.history_file)
    assert [int(row["epoch"]) for row in history] == list(range(1, 201))
    assert len(history) > steps
    assert run.is_finished


@pytest.mark.tensorflow
def test_existing_run_is_refused(few: Path, cli: Command, tmp_path: Path) -> None:
    """What is there is never overwritten."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    ended = cli("train", few, "--out", tmp_path / "run", *SMALL)
    check_error(ended, f"{tmp_path / 'run'} exists already", "a new run folder", "--resume")
    assert os.listdir(tmp_path / "run") == ["notes.txt"]


@pytest.mark.tensorflow
def test_recipe_file_with_flags_over_it(few: Path, cli: Command, tmp_path: Path) -> None:
    """A flag goes over the file, the file over the defaults; the run keeps what came out of it."""
    (tmp_path / "my.toml").write_text(
        "network = 'classic'\nimage_size = 16\nfilters = [2]\ndense_units = 4\nepochs = 3\nseed = 5\n"
    )
    words = ("--recipe", tmp_path / "my.toml", "--steps", 2, "--dense-units", 6, "--validation", "20%")
    assert cli("train", few, "--out", tmp_path / "run", *words).code == 0
    expected = Recipe(network="classic", image_size=16, filters=(2,), dense_units=6, steps=2, seed=5, validation=0.2)
    assert replace(Run(tmp_path / "run").recipe, precision="auto") == expected


@pytest.mark.tensorflow
def test_unknown_key_of_a_recipe_names_the_nearest(few: Path, cli: Command, tmp_path: Path) -> None:
    """A slip in a recipe is told before anything starts."""
    (tmp_path / "my.toml").write_text("learning_rat = 0.1\n")
    ended = cli("train", few, "--recipe", tmp_path / "my.toml", "--out", tmp_path / "run")
    check_error(ended, "an unknown key `learning_rat`", "a key of the recipe", "did you mean `learning_rate`?")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "says"),
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
def test_slip_of_the_pen_is_told(cli: Command, words: list[str], says: str) -> None:
    """An unknown flag or command names the nearest, a value that cannot be says what can; exit code 2."""
    ended = cli(*words)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err.splitlines()[-1].replace("'stretch' or 'pad' or 'crop'", "'stretch', 'pad', 'crop'")
    assert "Traceback" not in ended.err


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--steps", 3, "--epochs", 3], ("`epochs` and `steps`", "one of them", "leave one out")),
        (["--image-size", 2], ("image_size = 2", "16 to 4096", "--image-size")),
        (["--learning-rate", 0], ("learning_rate = 0.0", "above 0", "--learning-rate")),
        (["--recipe", "no.toml"], ("no.toml cannot be read", "a TOML file", "check the path")),
    ],
)
def test_choice_that_cannot_be_is_told(
    few: Path, cli: Command, tmp_path: Path, words: list[object], says: tuple[str, str, str]
) -> None:
    """Choices are checked before anything starts; the error names the flag."""
    check_error(cli("train", few, "--out", tmp_path / "run", *words), *says)
    assert not (tmp_path / "run").exists()


@pytest.mark.tensorflow
@pytest.mark.parametrize("words", [["--strict"], ["--max-refused", "10%"], []])
def test_too_many_bad_images_stop_before_training(few: Path, cli: Command, tmp_path: Path, words: list[str]) -> None:
    """Over the share that is allowed nothing starts; the table above the error has each file and its reason."""
    bad = refused_files()
    data = _with_bad_files(few, tmp_path, len(bad))
    ended = cli("train", data, "--out", tmp_path / "run", *words)
    share = {"--strict": "0.0%", "--max-refused": "10.0%"}.get(words[0] if words else "", "5.0%")
    check_error(ended, f"{len(bad)} of {30 + len(bad)} images refused", f"at most {share}", "--max-refused")
    assert all(name in ended.err for name in bad)
    assert not (tmp_path / "run").exists()


@pytest.mark.tensorflow
def test_allowed_bad_images_are_left_out_and_listed(few: Path, cli: Command, tmp_path: Path) -> None:
    """Within the share, training starts without them, and data.csv says why; `--strict` allows not even one."""
    data = _with_bad_files(few, tmp_path, 1)
    check_error(cli("train", data, "--out", tmp_path / "strict", "--strict"), "1 of 31 images", "0.0%", "remove")
    run = Run(tmp_path / "run")
    assert cli("train", data, "--out", run.path, *SMALL).code == 0
    (row,) = [row for row in read_table(run.data_file) if row["status"] == "refused"]
    assert (row["path"], row["reason"], row["split"]) == ("disc/truncated.jpg", "truncated", "")


def _with_bad_files(few: Path, place: Path, count: int) -> Path:
    """`few`, linked, with so many unreadable files beside its discs."""
    data = place / "photos"
    for folder in CLASSES:
        (data / folder).mkdir(parents=True)
        for file in (few / folder).iterdir():
            (data / folder / file.name).symlink_to(file)
    for name, (content, _) in list(refused_files().items())[:count]:
        (data / "disc" / name).write_bytes(content)
    return data


@pytest.mark.tensorflow
def test_classes_are_taken_from_names(few: Path, cli: Command, tmp_path: Path) -> None:
    """A flat folder of `disc.0.png` and `ring.0.png` is told how to be used, and then trains as folders do."""
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


@pytest.mark.parametrize(("words", "code"), [([], 3), (["--max-unreadable", 0.5], 0), (["--max-unreadable", 0.4], 3)])
def test_too_many_unreadable_inputs_end_with_3(
    few: Path, cli: Command, tmp_path: Path, words: list[object], code: int
) -> None:
    """The table is whole either way; the exit code tells a script that more was unreadable than it allows."""
    from tiny_model import colour_model

    model = colour_model().write(tmp_path / "m.onnx")
    (tmp_path / "bad.png").write_bytes(b"")
    images = [few / "disc" / "disc000.png", tmp_path / "bad.png"]
    ended = cli("predict", model, *images, "--out", tmp_path / "out.csv", *words)
    assert ended.code == code
    assert [row["status"] for row in read_table(tmp_path / "out.csv")] == ["ok", "unreadable"]
    assert "1 of 2 images unreadable: their rows say why" in ended.err


def test_table_goes_to_standard_output_and_remarks_do_not(few: Path, cli: Command, tmp_path: Path) -> None:
    """`convscope predict ... > table.csv` is the table and nothing else."""
    from tiny_model import colour_model

    ended = cli("predict", colour_model().write(tmp_path / "m.onnx"), few / "ring", "--format", "reference")
    header, *rows = csv.reader(ended.out.splitlines())
    assert header == ["red", "green", "blue", "id"]
    assert [row[-1] for row in rows] == sorted(file.stem for file in (few / "ring").iterdir())


def test_version_and_help(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--version` says it; help is plain, names every command and fits 80 columns."""
    import convscope

    assert cli("--version") == Ended(0, f"convscope {convscope.__version__}\n", "")
    monkeypatch.setenv("COLUMNS", "80")
    for words in ((), ("train",), ("evaluate",), ("explain",), ("predict",), ("demo",), ("cache",)):
        ended = cli(*words, "--help")
        assert ended.code == 0
        assert max(map(len, ended.out.splitlines())) <= 80
        assert "\x1b" not in ended.out
    assert all(f"\n  {verb} " in cli("-h").out for verb in ("train", "evaluate", "explain", "predict", "demo", "cache"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.slow
def test_output_that_cannot_be_written_is_told() -> None:
    """A full disk under standard output is an error in three lines, not a traceback."""
    with open("/dev/full", "w") as full:
        ended = finish(start("cache", "list", stdout=full))
    assert ended.code == 2
    assert [line.split(":")[0] for line in ended.err.splitlines()] == ["found", "expected", "fix"]


@pytest.mark.tensorflow
@pytest.mark.slow
def test_demo_keeps_its_word(tmp_path: Path) -> None:
    """`convscope demo`: at least 97 % on held-out digits, all files of a run, and where they are."""
    ended = finish(start("demo", cwd=tmp_path))
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
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
    for place in checkpoints:
        assert {file.name for file in place.iterdir()} == {"arrays.safetensors", "facts.json", "manifest.json"}
    told = dict(line.split(None, 1) for line in ended.out.splitlines() if line.startswith(("images ", "model ")))
    told |= dict(line.split(None, 1) for line in ended.out.splitlines() if line.startswith(("metrics ", "report ")))
    assert set(told) == {"images", "model", "metrics", "report"}
    assert all((tmp_path / place).exists() for place in told.values())
    assert [line.split()[1] for line in ended.out.splitlines() if line.startswith("  convscope ")] == [
        *("train", "evaluate", "explain", "predict")
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="measures processes as Linux does")
@pytest.mark.slow
def test_one_image_from_a_cold_start_is_quick(few: Path, tmp_path: Path) -> None:
    """Nobody waits to predict one image: a process of its own needs under a second of the processor.

    The best of three counts: other work beside it makes a process slower, and nothing makes it faster.
    """
    import resource

    from tiny_model import colour_model

    model = colour_model().write(tmp_path / "m.onnx")
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = finish(start("predict", model, few / "disc" / "disc000.png"))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert ended.code == 0
        seconds.append((after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime))
    assert min(seconds) < 1.0
