"""training/training.py: `train` learns, leaves a run folder that is whole, and goes on only with what it knows."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_images import write_folder

from convscope.bundle.bundle import open_bundle
from convscope.datasets.dataset import open_dataset, read_samples
from convscope.errors import FolderError, Interrupted, RecipeError, RunError
from convscope.networks import efficientnet
from convscope.networks.frameworks import tf
from convscope.recipe.defaults import EFFICIENTNET
from convscope.recipe.recipe import Recipe
from convscope.run import Run, base_recipe
from convscope.training import training
from convscope.training.learner import Learner
from convscope.training.training import train

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

RECIPE = Recipe(
    network="classic",
    precision="float32",
    image_size=24,
    filters=(32, 32),
    batch_size=8,
    learning_rate=0.002,
    epochs=15,
    patience=0,
    seed=1,
)
SHORT = replace(RECIPE, image_size=16, filters=(4, 4), dense_units=8, batch_size=16, epochs=2, patience=9)
HASTY = replace(SHORT, filters=(8, 8), dense_units=32, learning_rate=0.01, epochs=100, patience=4)
PRETRAINED = Recipe(network=EFFICIENTNET, image_size=32, batch_size=8, epochs=1, seed=1, precision="float32")
COLUMNS = ["epoch", "step", "seconds", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]
WEIGHTS = Path("model") / "weights.safetensors"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 80 drawings of each of three shapes."""
    return write_folder(tmp_path_factory.mktemp("shapes"), per_class=80)


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A folder with 12 drawings of each of two shapes, which a test may change."""
    return write_folder(tmp_path / "few", ("disc", "ring"), per_class=12, size=20)


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shapes, 40 each, of which every third is in the other's folder: what is learned by heart judges badly."""
    folder = write_folder(tmp_path_factory.mktemp("mislabelled"), ("disc", "ring"), per_class=40, size=20)
    for one, other in list(zip(sorted((folder / "disc").iterdir()), sorted((folder / "ring").iterdir()), strict=True))[
        ::3
    ]:
        one.rename(folder / "ring" / f"swapped-{one.name}")
        other.rename(folder / "disc" / f"swapped-{other.name}")
    return folder


@pytest.fixture(scope="module")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that came to its end."""
    return train(shapes, RECIPE, out=tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="module")
def short(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two epochs that came to its end; tests work on copies."""
    return train(shapes, SHORT, out=tmp_path_factory.mktemp("runs") / "short")


@pytest.fixture
def copy(short: Run, tmp_path: Path) -> Run:
    """A copy of the short run."""
    return Run(Path(shutil.copytree(short.path, tmp_path / "copy")))


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Send this process SIGINT, as Ctrl-C does, when history.csv is about to be written for the n-th time."""

    def plan(renames: int) -> None:
        left = [renames]
        rename = Path.replace

        def counted(self: Path, target: Path) -> Path:
            if target.name == "history.csv":
                left[0] -= 1
                if left[0] == 0:
                    signal.raise_signal(signal.SIGINT)
            return rename(self, target)

        monkeypatch.setattr(Path, "replace", counted)

    yield plan
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def history(run: Run) -> list[dict[str, str]]:
    """The rows of history.csv."""
    with run.history_file.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def events(run: Run) -> list[dict[str, Any]]:
    """The lines of log.jsonl."""
    return [json.loads(line) for line in run.log_file.read_text(encoding="utf-8").splitlines()]


def without_seconds(run: Run) -> list[dict[str, str]]:
    """The rows of history.csv but for the time that they took."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history(run)]


def judge_bundle(run: Run, shapes: Path, recipe: Recipe) -> tuple[float, float]:
    """Loss and accuracy of the model that a run left, on its validation images, without TensorFlow."""
    dataset = open_dataset(shapes, recipe)
    rows = dataset.rows("validation")
    answers = open_bundle(run.path).predict(dataset.images[rows]).astype(np.float64)
    right = answers[np.arange(len(rows)), dataset.labels[rows]]
    return float(-np.log(right).mean()), float((answers.argmax(axis=1) == dataset.labels[rows]).mean())


def test_shapes_are_learned(trained: Run, shapes: Path) -> None:
    """Of three shapes, where chance is a third, more than four fifths of the unseen drawings are recognised."""
    loss, accuracy = judge_bundle(trained, shapes, RECIPE)
    assert accuracy > 0.8
    last = history(trained)[-1]
    assert accuracy == pytest.approx(float(last["val_accuracy"]))
    assert loss == pytest.approx(float(last["val_loss"]), abs=1e-4)


def test_run_folder_is_whole(trained: Run) -> None:
    """Everything that using the model needs is there, and no unfinished file beside it."""
    found = {str(each.relative_to(trained.path)) for each in trained.path.rglob("*") if each.is_file()}
    steps = sorted(each.name for each in trained.checkpoints.iterdir())
    assert len(steps) == 2
    checkpoints = {f"checkpoints/{s}/{n}" for s in steps for n in ("arrays.safetensors", "facts.json", "manifest.json")}
    model = {
        f"model/{name}"
        for name in (
            "model.onnx",
            "inside.onnx",
            "model.json",
            "labels.txt",
            "weights.safetensors",
            "neighbours.safetensors",
        )
    }
    assert found == {"recipe.toml", "environment.json", "log.jsonl", "data.csv", "history.csv"} | checkpoints | model
    assert trained.is_finished
    assert trained.recipe == RECIPE
    assert (trained.model / "labels.txt").read_text() == "bar\ndisc\nring\n"


def test_history_has_the_columns_of_keras(trained: Run) -> None:
    """history.csv has one row for each epoch, numbered from 1, and its losses fall."""
    rows = history(trained)
    assert list(rows[0]) == COLUMNS
    assert [int(row["epoch"]) for row in rows] == list(range(1, 16))
    per_epoch = int(rows[0]["step"])
    assert [int(row["step"]) for row in rows] == [per_epoch * number for number in range(1, 16)]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert {row["learning_rate"] for row in rows} == {"0.002"}
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)


def test_log_tells_the_story(trained: Run) -> None:
    """log.jsonl has the start, each epoch and the end, each with its time."""
    told = events(trained)
    assert [each["event"] for each in told] == ["start", "first_step", *["epoch"] * 15, "compared", "done"]
    times = [each["time"] for each in told]
    assert times == sorted(times)


def test_images_are_left_alone(few: Path, tmp_path: Path) -> None:
    """Training writes nothing into the folder of images, and nothing to standard output."""
    before = {each: each.stat().st_mtime_ns for each in (few, *few.rglob("*"))}
    train(few, replace(SHORT, epochs=1), out=tmp_path / "run")
    assert {each: each.stat().st_mtime_ns for each in (few, *few.rglob("*"))} == before


def test_progress_goes_to_standard_error(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table of classes, a line for each epoch and the end are remarks, no results."""
    train(few, SHORT, out=tmp_path / "run")
    out, err = capsys.readouterr()
    assert out == ""
    assert "24 images in " in err
    assert "epoch 1/2: training loss" in err
    assert "epoch 2/2: training loss" in err
    assert f"the model is in {tmp_path / 'run' / 'model'}" in err
    judged = open_bundle(tmp_path / "run").facts["metrics"]
    low, high = (f"{judged['accuracy'][name]:.2%}" for name in ("low", "high"))
    assert f"points; of {judged['images']} images, 95 % interval {low} to {high}" in " ".join(err.split())


def test_stop_while_the_model_is_written_says_how_to_go_on(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step is saved then: the command that goes on writes the model alone."""

    def press_ctrl_c(_learner: Learner, _folder: Path) -> None:
        raise KeyboardInterrupt

    run = Run(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "save", press_ctrl_c)
        with pytest.raises(Interrupted, match="while the model was being written") as stopped:
            train(few, SHORT, out=run.path)
    assert "--resume" in stopped.value.fix
    assert not run.is_finished
    steps = history(run)
    train(few, out=run.path, resume=True)
    assert run.is_finished
    assert history(run) == steps


def test_wrong_file_of_weights_is_told_before_images_are_decoded(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many images that would be a minute later."""
    monkeypatch.setattr(training, "open_dataset", None)
    recipe = Recipe(network="keras:MobileNet", weights=str(tmp_path / "gone.weights.h5"), image_size=32)
    with pytest.raises(RecipeError, match="no such file"):
        train(few, recipe, out=tmp_path / "run")


def test_runs_are_counted_up(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name a run is runs/1, then runs/2."""
    monkeypatch.chdir(tmp_path)
    paths = [train(few, replace(SHORT, epochs=None, steps=1)).path for _ in range(2)]
    assert paths == [Path("runs/1"), Path("runs/2")]


def test_existing_run_is_never_overwritten(copy: Run, shapes: Path) -> None:
    """A run folder that is there is refused, with the word that goes on with it, and not touched."""
    before = {each: each.stat().st_mtime_ns for each in (copy.path, *copy.path.rglob("*"))}
    with pytest.raises(RunError, match="--resume"):
        train(shapes, SHORT, out=copy.path)
    assert {each: each.stat().st_mtime_ns for each in (copy.path, *copy.path.rglob("*"))} == before


def test_steps_need_not_fill_an_epoch(few: Path, tmp_path: Path) -> None:
    """The last epoch is judged although it is not whole: the history ends with the step that was asked for."""
    run = train(few, replace(SHORT, batch_size=4, epochs=None, steps=7), out=tmp_path / "run")
    rows = history(run)
    assert int(rows[-1]["step"]) == 7
    assert int(rows[-2]["step"]) == int(rows[-1]["step"]) - 7 % int(rows[0]["step"])


def test_same_seed_same_run(short: Run, shapes: Path, tmp_path: Path) -> None:
    """The same recipe gives the same bytes of weights and the same history; another seed does not."""
    again = train(shapes, SHORT, out=tmp_path / "again")
    assert (again.path / WEIGHTS).read_bytes() == (short.path / WEIGHTS).read_bytes()
    assert without_seconds(again) == without_seconds(short)
    other = train(shapes, replace(SHORT, seed=2), out=tmp_path / "other")
    assert (other.path / WEIGHTS).read_bytes() != (short.path / WEIGHTS).read_bytes()


def test_resume_after_the_end_changes_nothing(copy: Run, short: Run, shapes: Path) -> None:
    """A run that is finished stays the same model, and no step is taken."""
    train(shapes, out=copy.path, resume=True)
    assert (copy.path / WEIGHTS).read_bytes() == (short.path / WEIGHTS).read_bytes()
    assert without_seconds(copy) == without_seconds(short)
    assert [each["event"] for each in events(copy)].count("epoch") == 2


def test_resume_begins_what_is_not_there(few: Path, tmp_path: Path) -> None:
    """Where there is no run yet, or one that was killed before it had begun, resume starts it."""
    begun = tmp_path / "run"
    begun.mkdir()
    (begun / ".recipe.toml.123.part").write_text("image_si")
    assert train(few, replace(SHORT, epochs=1), out=begun, resume=True).is_finished


def test_resume_needs_to_know_which_run(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going on without saying with what is an error, not a new run from nothing."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError):
        train(few, replace(SHORT, epochs=None, steps=1), resume=True)


@pytest.mark.parametrize(
    "change",
    [{"seed": 9}, {"batch_size": 8}, {"learning_rate": 0.1}, {"validation": 0.3}],
    ids=lambda change: next(iter(change)),
)
def test_resume_with_another_recipe_is_refused(copy: Run, shapes: Path, change: dict[str, Any]) -> None:
    """A choice that would change the result is named with both its values."""
    with pytest.raises(RunError) as caught:
        train(shapes, replace(SHORT, **change), out=copy.path, resume=True)
    ((name, value),) = change.items()
    assert caught.value.found.startswith(f"{name} = {value!r}, but ")
    assert repr(getattr(SHORT, name)) in caught.value.found


def test_run_can_be_made_longer(copy: Run, shapes: Path, tmp_path: Path) -> None:
    """Two epochs and then two more are the same bits as four at once, best weights included."""
    four = replace(SHORT, epochs=4)
    train(shapes, four, out=copy.path, resume=True)
    at_once = train(shapes, four, out=tmp_path / "at once")
    assert len(history(copy)) == 4
    assert without_seconds(copy) == without_seconds(at_once)
    assert (copy.path / WEIGHTS).read_bytes() == (at_once.path / WEIGHTS).read_bytes()


def test_flags_go_over_the_recipe_of_the_run(copy: Run, tmp_path: Path) -> None:
    """With resume, flags change the run's own recipe; a recipe file comes first; else it is the default one."""
    assert base_recipe(None, out=copy.path, resume=True) == SHORT
    assert base_recipe(None, out=copy.path, resume=False) == Recipe()
    assert base_recipe(None, out=tmp_path / "none", resume=True) == Recipe()
    (tmp_path / "mine.toml").write_text(RECIPE.to_toml())
    assert base_recipe(tmp_path / "mine.toml", out=copy.path, resume=True) == RECIPE


def test_budget_over_a_run_that_goes_on_changes_nothing(copy: Run, short: Run, shapes: Path) -> None:
    """A time was spent on a number of steps when the run began: with another one it keeps the length it has."""
    train(shapes, SHORT.with_changes({"budget": 600}), out=copy.path, resume=True)
    assert copy.recipe == short.recipe
    assert without_seconds(copy) == without_seconds(short)


@pytest.fixture
def stopped(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that was stopped after the third step of its first epoch."""
    steps = Learner.steps

    def until_third(self: Learner, *words: Any, **more: Any) -> Iterator[Any]:
        for row in steps(self, *words, **more):
            if self.step == 3:
                signal.raise_signal(signal.SIGINT)
            yield row

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "steps", until_third)
        with pytest.raises(Interrupted):
            train(shapes, SHORT, out=tmp_path / "run")
    return Run(tmp_path / "run")


def test_run_can_end_where_it_was_stopped(stopped: Run, shapes: Path) -> None:
    """No step is left, but it has not been judged there: that is done, and the model is that of this row."""
    assert not stopped.history_file.exists()
    train(shapes, replace(SHORT, epochs=None, steps=3), out=stopped.path, resume=True)
    assert stopped.is_finished
    assert [row["step"] for row in history(stopped)] == ["3"]
    told = [each["event"] for each in events(stopped)]
    assert told == ["start", "first_step", "interrupted", "resume", "epoch", "compared", "done"]
    assert float(history(stopped)[0]["seconds"]) <= events(stopped)[-1]["seconds"]
    assert judge_bundle(stopped, shapes, SHORT)[0] == pytest.approx(float(history(stopped)[0]["val_loss"]), abs=1e-4)


def test_run_cannot_end_before_where_it_is(stopped: Run, shapes: Path) -> None:
    """A length that it has passed is refused, with the one that it has, and nothing changes."""
    before = stopped.recipe_file.read_bytes()
    with pytest.raises(RunError) as caught:
        train(shapes, replace(SHORT, epochs=None, steps=2), out=stopped.path, resume=True)
    assert caught.value.found == "2 steps in all, where the run is at step 3 already"
    assert "--steps 3" in caught.value.fix
    assert stopped.recipe_file.read_bytes() == before


def test_seconds_of_a_row_end_with_its_judging(trained: Run) -> None:
    """The last row has all the time that training took."""
    done = events(trained)[-1]
    assert float(history(trained)[-1]["seconds"]) == pytest.approx(done["seconds"], abs=0.05)


def test_planned_length_stays(few: Path, tmp_path: Path) -> None:
    """Where the learning rate goes by the number of steps, another number is refused; patience may change."""
    recipe = SHORT.with_changes({"schedule": "one-cycle", "epochs": 1})
    train(few, recipe, out=tmp_path / "run")
    with pytest.raises(RunError, match="planned"):
        train(few, recipe.with_changes({"epochs": 2}), out=tmp_path / "run", resume=True)
    assert train(few, replace(recipe, patience=3), out=tmp_path / "run", resume=True).recipe.patience == 3


@pytest.mark.parametrize("change", ["added", "removed", "repainted", "moved"])
def test_resume_with_other_images_is_refused(few: Path, tmp_path: Path, change: str) -> None:
    """An image that came, went, changed or changed its class since the run began is counted and named."""
    run = train(few, replace(SHORT, epochs=None, steps=1), out=tmp_path / "run")
    images = sorted((few / "disc").iterdir())
    if change == "added":
        write_folder(tmp_path / "more", ("disc",), per_class=1, size=20, seed=99)
        (found,) = (tmp_path / "more" / "disc").iterdir()
        shutil.copy(found, few / "disc" / "added.png")
    elif change == "removed":
        images[0].unlink()
    elif change == "repainted":
        images[0].write_bytes(images[0].read_bytes() + b"\0")
    else:
        images[0].rename(few / "ring" / "moved.png")
    with pytest.raises(RunError) as caught:
        train(few, out=run.path, resume=True)
    count = 2 if change == "moved" else 1
    assert caught.value.found.startswith(f"{count} images changed, came or went since the run began, such as disc/")


def test_too_many_refused_images_stop_it_before_it_starts(few: Path, tmp_path: Path) -> None:
    """With more unusable images than the recipe allows there is no run folder; allowed, it trains on the others."""
    (few / "disc" / "broken.png").write_bytes(b"no image")
    with pytest.raises(FolderError, match="1 of 25 images refused"):
        train(few, replace(SHORT, max_refused=0.01), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run = train(few, replace(SHORT, max_refused=0.05, epochs=None, steps=1), out=tmp_path / "run")
    (refused,) = [sample for sample in read_samples(run.data_file) if sample.reason]
    assert (refused.path, refused.split, refused.reason) == ("disc/broken.png", "", "not an image")


def test_early_stopping_gives_back_the_best_weights(mislabelled: Path, tmp_path: Path) -> None:
    """Training ends after `patience` epochs without a better validation loss, with the weights of the best epoch."""
    run = train(mislabelled, HASTY, out=tmp_path / "run")
    losses = [float(row["val_loss"]) for row in history(run)]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + HASTY.patience < 100
    assert losses[-1] > losses[best] + 0.01
    assert judge_bundle(run, mislabelled, HASTY)[0] == pytest.approx(losses[best], abs=1e-4)
    assert "converged" in [each["event"] for each in events(run)]
    train(mislabelled, out=run.path, resume=True)
    assert len(history(run)) == len(losses)
    assert judge_bundle(run, mislabelled, HASTY)[0] == pytest.approx(losses[best], abs=1e-4)


def test_ctrl_c_saves_and_says_how_to_go_on(
    shapes: Path, tmp_path: Path, stop_at: Callable[[int], None], short: Run
) -> None:
    """A signal ends the step, saves, and raises an error whose `fix` is the command; resumed, it is the same run."""
    stop_at(1)
    with pytest.raises(Interrupted) as caught:
        train(shapes, SHORT, out=tmp_path / "a run")
    assert caught.value.fix == f"convscope train {shapes} --out '{tmp_path / 'a run'}' --resume"
    assert caught.value.exit_code == 130
    run = Run(tmp_path / "a run")
    assert not run.is_finished
    assert events(run)[-1]["event"] == "interrupted"
    train(shapes, out=run.path, resume=True)
    assert (run.path / WEIGHTS).read_bytes() == (short.path / WEIGHTS).read_bytes()
    assert without_seconds(run) == without_seconds(short)


def test_long_epochs_are_saved_in_between(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is written when the time for one has come, in the middle of an epoch too."""
    monkeypatch.setattr("convscope.training.training.CHECKPOINT_SECONDS", 0.0)
    run = train(few, replace(SHORT, batch_size=2, epochs=None, steps=5), out=tmp_path / "run")
    assert len(history(run)) == 1
    assert sorted(each.name for each in run.checkpoints.iterdir()) == ["step-0000000004", "step-0000000005"]


def test_longer_run_that_was_stopped_goes_on_to_its_new_end(
    copy: Run, shapes: Path, stop_at: Callable[[int], None]
) -> None:
    """A run made longer and then stopped goes on, by the command that it says, to the end that was asked for last."""
    stop_at(1)
    with pytest.raises(Interrupted):
        train(shapes, replace(SHORT, epochs=5), out=copy.path, resume=True)
    train(shapes, out=copy.path, resume=True)
    assert len(history(copy)) == 5


def test_patience_that_comes_later_gives_back_the_best_weights(mislabelled: Path, tmp_path: Path) -> None:
    """Patience set when a run goes on holds for the epochs before, too: the best epoch's weights are the model."""
    run = train(mislabelled, replace(HASTY, epochs=20, patience=0), out=tmp_path / "run")
    losses = [float(row["val_loss"]) for row in history(run)]
    assert losses[-1] > min(losses) + 0.01
    train(mislabelled, replace(HASTY, epochs=20, patience=1), out=run.path, resume=True)
    assert judge_bundle(run, mislabelled, HASTY)[0] == pytest.approx(min(losses), abs=1e-4)


def scalars(run: Run) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would show: by name, (step, value)."""
    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted((run.path / "tensorboard").iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, float(tf.make_ndarray(value.tensor))))
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_log_has_each_epoch(few: Path, tmp_path: Path) -> None:
    """With `tensorboard` every epoch's figures are in an event file; without, there is no such folder."""
    run = train(few, SHORT, out=tmp_path / "run", tensorboard=True)
    logged = scalars(run)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
        expected = [(int(row["step"]), pytest.approx(float(row[name]), rel=1e-6)) for row in history(run)]
        assert logged[name] == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_log_survives_a_stop(few: Path, tmp_path: Path, stop_at: Callable[[int], None]) -> None:
    """The epochs before Ctrl-C are in the log as soon as the training has stopped."""
    stop_at(2)
    with pytest.raises(Interrupted):
        train(few, replace(SHORT, epochs=5), out=tmp_path / "run", tensorboard=True)
    assert len(scalars(Run(tmp_path / "run"))["loss"]) == 2


def test_learning_works_in_a_thread(few: Path, tmp_path: Path) -> None:
    """Outside the main thread, where Python hears no signals, train works too."""
    threads = [threading.Thread(target=train, args=(few, replace(SHORT, epochs=1)), kwargs={"out": tmp_path / "run"})]
    for thread in threads:
        thread.start()
        thread.join()
    assert Run(tmp_path / "run").is_finished


def test_recipe_of_a_damaged_run_is_refused(copy: Run, shapes: Path) -> None:
    """A run whose recipe cannot be read is not guessed at."""
    copy.recipe_file.write_text("image_size = [")
    with pytest.raises(RecipeError, match="not TOML"):
        train(shapes, out=copy.path, resume=True)


def test_head_alone_is_a_model(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With no epochs the solved head is the model: one row, epoch 0, one checkpoint, and the bundle answers so."""
    recipe = replace(PRETRAINED, epochs=0)
    run = train(few, recipe, out=tmp_path / "run")
    said = " ".join(capsys.readouterr().err.split())
    assert "head solved on the features of" in said
    assert "trained 0 steps in" in said
    assert [(row["epoch"], row["step"], row["learning_rate"]) for row in history(run)] == [("0", "0", "0.0")]
    assert [each["event"] for each in events(run)] == ["start", "epoch", "compared", "done"]
    assert [each.name for each in run.checkpoints.iterdir()] == ["step-0000000000"]
    loss, accuracy = judge_bundle(run, few, recipe)
    (row,) = history(run)
    assert (loss, accuracy) == pytest.approx((float(row["val_loss"]), float(row["val_accuracy"])), abs=0.02)
    weights = (run.path / WEIGHTS).read_bytes()
    assert train(few, out=run.path, resume=True).is_finished
    assert (run.path / WEIGHTS).read_bytes() == weights
    assert len(history(run)) == 1


def test_fine_tuning_goes_on_from_the_head(few: Path, tmp_path: Path) -> None:
    """The history has the head and each epoch; the model that is written is the one that was judged best."""
    run = train(few, PRETRAINED, out=tmp_path / "run")
    losses = [float(row["val_loss"]) for row in history(run)]
    assert [row["epoch"] for row in history(run)] == ["0", "1"]
    assert judge_bundle(run, few, PRETRAINED)[0] == pytest.approx(min(losses), abs=0.02)


def test_fine_tuning_that_judges_worse_is_dropped_and_told(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a rate that tears the network apart, what is written is the solved head."""
    run = train(few, replace(PRETRAINED, optimizer="adam", learning_rate=0.3), out=tmp_path / "run")
    head, torn = (float(row["val_loss"]) for row in history(run))
    assert torn > head
    assert f"kept the solved head, which has the lowest validation loss, {head:.4f}" in capsys.readouterr().err
    assert judge_bundle(run, few, PRETRAINED)[0] == pytest.approx(head, abs=0.02)


@pytest.mark.parametrize("network", ["keras:ResNet5", "no_such_module:small"])
def test_wrong_network_is_told_before_images_are_decoded(shapes: Path, tmp_path: Path, network: str) -> None:
    """A slip in its name costs no minutes of decoding: no cache has been begun."""
    with pytest.raises(RecipeError, match=network):
        train(shapes, Recipe(network=network), out=tmp_path / "run", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_network_that_was_chosen_stays_chosen(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In Python the default recipe goes on with the network that the run began with, whatever it would be now."""
    small = Recipe(image_size=16, batch_size=8, steps=2)
    run = train(few, small, out=tmp_path / "small")
    assert run.recipe.network == "compact"
    assert "network: compact, since images of 16 px are too small" in capsys.readouterr().err
    assert train(few, small, out=run.path, resume=True).recipe == run.recipe
    assert "network: compact, since" not in capsys.readouterr().err

    large = Recipe(weights="imagenet", image_size=32, batch_size=8, epochs=1)
    run = train(few, large, out=tmp_path / "large")
    assert run.recipe.network == EFFICIENTNET
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    assert train(few, large, out=run.path, resume=True).recipe == run.recipe
    with pytest.raises(RunError, match="network = 'classic', but"):
        train(few, Recipe(network="classic", image_size=32), out=run.path, resume=True)


def test_other_images_are_told_before_features_are_missed(few: Path, tmp_path: Path) -> None:
    """A pretrained run whose images changed is refused in three parts, as every other is."""
    run = train(few, replace(PRETRAINED, epochs=0), out=tmp_path / "run")
    shutil.rmtree(few / "ring")
    write_folder(few, ("ring", "bar"), per_class=5, size=20)
    with pytest.raises(RunError, match="images changed, came or went"):
        train(few, out=run.path, resume=True)
