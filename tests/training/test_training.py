"""training/training.py: `train` leaves a run folder that is complete, and a stopped run continues."""

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
from learners import make_learner
from sample_images import write_folder

from convscope.bundle.bundle import open_bundle
from convscope.datasets.dataset import open_dataset
from convscope.errors import BundleError, FolderError, Interrupted, RecipeError, RunError
from convscope.recipe.defaults import EFFICIENTNET
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import Length, resolve
from convscope.run import Run, new_run
from convscope.training import training
from convscope.training.learner import Learner
from convscope.training.training import learn, train

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
    """A folder with 80 drawings of each of three shapes. Only to be read."""
    return write_folder(tmp_path_factory.mktemp("shapes"), per_class=80)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 12 drawings of each of two shapes. Only to be read."""
    return write_folder(tmp_path_factory.mktemp("few") / "few", ("disc", "ring"), per_class=12, size=20)


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shapes, 40 each, a third of them in the wrong folder: who memorises them has a high validation loss."""
    folder = write_folder(tmp_path_factory.mktemp("mislabelled"), ("disc", "ring"), per_class=40, size=20)
    pairs = list(zip(sorted((folder / "disc").iterdir()), sorted((folder / "ring").iterdir()), strict=True))
    for disc, ring in pairs[::3]:
        disc.rename(folder / "ring" / f"swapped-{disc.name}")
        ring.rename(folder / "disc" / f"swapped-{ring.name}")
    return folder


@pytest.fixture(scope="module")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run. Only to be read."""
    return train(shapes, RECIPE, out=tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="module")
def short(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of two epochs. Only to be read."""
    return train(shapes, SHORT, out=tmp_path_factory.mktemp("runs") / "short")


@pytest.fixture
def copy(short: Run, tmp_path: Path) -> Run:
    """A copy of the short run."""
    return Run(Path(shutil.copytree(short.path, tmp_path / "copy")))


@pytest.fixture(scope="module")
def head_alone(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of a pretrained network whose features used up its budget. Only to be read."""
    recipe = PRETRAINED.with_changes({"budget": 0.01})
    return train(few, recipe, out=tmp_path_factory.mktemp("runs") / "head")


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Send this process SIGINT, as Ctrl-C does, when history.csv is about to be written for the n-th time."""

    def plan(count: int) -> None:
        remaining = [count]
        rename = Path.replace

        def counted(self: Path, target: Path) -> Path:
            if target.name == "history.csv":
                remaining[0] -= 1
                if remaining[0] == 0:
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


def names_of_events(run: Run) -> list[str]:
    """The names of the events in log.jsonl."""
    return [event["event"] for event in events(run)]


def without_seconds(run: Run) -> list[dict[str, str]]:
    """The rows of history.csv but for the time that they took."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history(run)]


def modification_times(folder: Path) -> dict[Path, int]:
    """When each file and folder was changed last."""
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


def evaluate_bundle(run: Run, data: Path, recipe: Recipe) -> tuple[float, float]:
    """Loss and accuracy of the model of a run on its validation images, without TensorFlow."""
    dataset = open_dataset(data, resolve(recipe))
    rows = dataset.rows("validation")
    probabilities = open_bundle(run.path).predict(dataset.images[rows]).astype(np.float64)
    labels = dataset.labels[rows]
    loss = -np.log(probabilities[np.arange(len(rows)), labels]).mean()
    return float(loss), float((probabilities.argmax(axis=1) == labels).mean())


def test_shapes_are_recognised(trained: Run, shapes: Path) -> None:
    """Of three shapes, where chance is a third, more than four fifths of the validation images are recognised."""
    loss, accuracy = evaluate_bundle(trained, shapes, RECIPE)
    assert accuracy > 0.8
    last = history(trained)[-1]
    assert accuracy == pytest.approx(float(last["val_accuracy"]))
    assert loss == pytest.approx(float(last["val_loss"]), abs=1e-4)


def test_run_folder_is_complete(trained: Run) -> None:
    """Everything that using the model needs is there, and no unfinished file beside it."""
    files = {str(path.relative_to(trained.path)) for path in trained.path.rglob("*") if path.is_file()}
    steps = sorted(path.name for path in trained.checkpoints.iterdir())
    assert len(steps) == 2
    checkpoints = {f"checkpoints/{s}/{n}" for s in steps for n in ("arrays.safetensors", "facts.json", "manifest.json")}
    names = ("model.onnx", "inside.onnx", "model.json", "labels.txt", "weights.safetensors", "neighbours.safetensors")
    model = {f"model/{name}" for name in names}
    assert files == {"recipe.toml", "environment.json", "log.jsonl", "data.csv", "history.csv"} | checkpoints | model
    assert trained.is_finished
    assert trained.recipe == resolve(RECIPE)
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
    assert seconds[-1] == pytest.approx(events(trained)[-1]["seconds"], abs=0.05)  # of the last evaluation too


def test_log_has_every_event(trained: Run) -> None:
    """log.jsonl has the start, each epoch and the end, each with its time."""
    assert names_of_events(trained) == ["start", "first_step", *["epoch"] * 15, "compared", "done"]
    times = [event["time"] for event in events(trained)]
    assert times == sorted(times)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_training_in_a_thread_leaves_the_images_and_the_output_alone(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is written into the folder of images or to standard output; messages are logged, also for TensorBoard.

    It works outside the main thread, with a network that is chosen, and where a run was killed before it had started.
    """
    caplog.set_level("INFO", logger="convscope")
    before = modification_times(few)
    run = Run(tmp_path / "run")
    run.path.mkdir()
    (run.path / ".recipe.toml.123.part").write_text("image_si")
    recipe = Recipe(image_size=16, batch_size=8, epochs=2, precision="float32")
    options: dict[str, Any] = {"out": run.path, "resume": True, "tensorboard": True}
    thread = threading.Thread(target=train, args=(few, recipe), kwargs=options)
    thread.start()
    thread.join()
    assert run.is_finished
    assert run.recipe == resolve(replace(recipe, network="compact"))
    assert modification_times(few) == before
    assert capsys.readouterr().out == ""
    messages = "\n".join(caplog.messages)
    assert "24 images in " in messages
    assert "network: compact, since images of 16 px are too small" in messages
    assert "epoch 1/2: training loss" in messages
    assert "epoch 2/2: training loss" in messages
    assert f"the model is in {run.model}" in messages
    metrics = open_bundle(run.path).facts["metrics"]
    accuracy, low, high = (f"{metrics['accuracy'][name]:.2%}" for name in ("value", "low", "high"))
    expected = f"exported model {accuracy} (95 % interval {low} to {high}, {metrics['images']} images)"
    assert expected in messages
    assert list((run.path / "tensorboard").iterdir())


def test_runs_are_counted_up(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `out` a run is the next free number in `runs`; to resume one it has to be named."""
    monkeypatch.chdir(tmp_path)
    new_run(None, recipe=resolve(SHORT), data=few)
    assert train(few, replace(SHORT, epochs=None, steps=1)).path == Path("runs/2")
    with pytest.raises(RunError, match="`resume=True` without `out`"):
        train(few, SHORT, resume=True)


def test_an_existing_run_is_never_overwritten(short: Run, shapes: Path) -> None:
    """A run folder that is there is refused, with the argument that continues it, and not touched."""
    before = modification_times(short.path)
    with pytest.raises(RunError, match="`resume=True`"):
        train(shapes, SHORT, out=short.path)
    assert modification_times(short.path) == before


def test_same_seed_same_run(short: Run, shapes: Path, tmp_path: Path) -> None:
    """The same recipe gives the same bytes of weights and the same history."""
    again = train(shapes, SHORT, out=tmp_path / "again")
    assert (again.path / WEIGHTS).read_bytes() == (short.path / WEIGHTS).read_bytes()
    assert without_seconds(again) == without_seconds(short)


def test_resuming_a_finished_run_changes_nothing(copy: Run, short: Run, shapes: Path) -> None:
    """It stays the same model, and no step is taken; neither by another budget, which was spent when it started."""
    train(shapes, SHORT.with_changes({"budget": 600}), out=copy.path, resume=True)
    assert copy.recipe == short.recipe
    assert (copy.path / WEIGHTS).read_bytes() == (short.path / WEIGHTS).read_bytes()
    assert without_seconds(copy) == without_seconds(short)
    assert names_of_events(copy).count("epoch") == 2


def test_a_run_can_be_prolonged_and_stopped_on_the_way(
    copy: Run, shapes: Path, tmp_path: Path, stop_at: Callable[[int], None]
) -> None:
    """Two epochs, then two more with a stop between, are the same bits as four at once, best weights included."""
    four = replace(SHORT, epochs=4)
    stop_at(1)
    with pytest.raises(Interrupted):
        train(shapes, four, out=copy.path, resume=True)
    train(shapes, out=copy.path, resume=True)
    at_once = train(shapes, four, out=tmp_path / "at once")
    assert len(history(copy)) == 4
    assert without_seconds(copy) == without_seconds(at_once)
    assert (copy.path / WEIGHTS).read_bytes() == (at_once.path / WEIGHTS).read_bytes()


def test_a_run_can_end_where_it_was_stopped(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No step is left, but the last epoch was not evaluated: that is done, and the model is that of its row."""
    steps = Learner.steps

    def until_third(self: Learner, *arguments: Any, **options: Any) -> Iterator[Any]:
        for row in steps(self, *arguments, **options):
            if self.step == 3:
                signal.raise_signal(signal.SIGINT)
            yield row

    run = Run(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "steps", until_third)
        with pytest.raises(Interrupted, match="step 3 of "):
            train(shapes, SHORT, out=run.path)
    assert not run.history_file.exists()
    before = run.recipe_file.read_bytes()
    with pytest.raises(RunError, match="2 steps in all, where the run is at step 3 already"):
        train(shapes, Recipe(steps=2), out=run.path, resume=True)
    assert run.recipe_file.read_bytes() == before
    train(shapes, Recipe(steps=3), out=run.path, resume=True)
    assert run.is_finished
    assert [row["step"] for row in history(run)] == ["3"]
    assert names_of_events(run) == ["start", "first_step", "interrupted", "resume", "epoch", "compared", "done"]
    assert float(history(run)[0]["seconds"]) <= events(run)[-1]["seconds"]
    assert evaluate_bundle(run, shapes, SHORT)[0] == pytest.approx(float(history(run)[0]["val_loss"]), abs=1e-4)


def test_ctrl_c_saves_and_says_how_to_continue(
    shapes: Path, tmp_path: Path, stop_at: Callable[[int], None], short: Run, cache: Path
) -> None:
    """A signal ends after a step, saves it, and raises an error with the arguments that continue to the same run."""
    stop_at(1)
    run = Run(tmp_path / "a run")
    with pytest.raises(Interrupted) as caught:
        train(shapes, SHORT, out=run.path, cache=cache)
    assert caught.value.resume == {"data": shapes, "out": run.path, "resume": True, "cache": cache}
    per_epoch = int(history(short)[0]["step"])
    assert caught.value.position == f"step {per_epoch} of {2 * per_epoch}"
    assert str(run.path) in caught.value.saved
    assert not run.is_finished
    assert names_of_events(run)[-1] == "interrupted"
    assert train(**caught.value.resume) == run
    assert (run.path / WEIGHTS).read_bytes() == (short.path / WEIGHTS).read_bytes()
    assert without_seconds(run) == without_seconds(short)


def test_a_stop_while_the_model_is_written_is_resumed(copy: Run, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is saved then: resuming writes the model alone."""

    def press_ctrl_c(_learner: Learner, _folder: Path) -> None:
        raise KeyboardInterrupt

    steps = history(copy)
    shutil.rmtree(copy.model)
    with monkeypatch.context() as patch:
        patch.setattr(training, "save_bundle", press_ctrl_c)
        with pytest.raises(Interrupted, match="the export of the model") as stopped:
            train(shapes, out=copy.path, resume=True)
    assert stopped.value.resume == {"data": shapes, "out": copy.path, "resume": True}
    assert not copy.is_finished
    train(**stopped.value.resume)
    assert copy.is_finished
    assert history(copy) == steps


def test_a_full_disk_is_an_error_that_says_how_to_continue(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written is named, and the fix is to continue once there is space."""

    def fill_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training, "save_checkpoint", fill_disk)
    with pytest.raises(RunError, match=r"No space left on device.*continue with `resume=True`"):
        train(few, replace(SHORT, epochs=1), out=tmp_path / "run")


def test_refused_data_leaves_no_run(few: Path, tmp_path: Path) -> None:
    """With more unusable images than the recipe allows there is no run folder."""
    folder = Path(shutil.copytree(few, tmp_path / "data"))
    (folder / "disc" / "broken.png").write_bytes(b"no image")
    with pytest.raises(FolderError, match="1 of 25 images refused"):
        train(folder, replace(SHORT, max_refused=0.01), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_early_stopping_restores_the_best_weights(mislabelled: Path, tmp_path: Path) -> None:
    """Training ends after `patience` epochs without a lower validation loss, with the weights of the best epoch."""
    run = train(mislabelled, HASTY, out=tmp_path / "run")
    losses = [float(row["val_loss"]) for row in history(run)]
    best, patience = int(np.argmin(losses)), run.recipe.patience
    assert len(losses) == best + 1 + patience < 100
    assert losses[-1] > losses[best] + 0.01
    assert evaluate_bundle(run, mislabelled, HASTY)[0] == pytest.approx(losses[best], abs=1e-4)
    assert "converged" in names_of_events(run)
    train(mislabelled, out=run.path, resume=True)
    assert len(history(run)) == len(losses)
    assert evaluate_bundle(run, mislabelled, HASTY)[0] == pytest.approx(losses[best], abs=1e-4)


def test_patience_that_is_set_later_restores_the_best_weights(mislabelled: Path, tmp_path: Path) -> None:
    """Patience set when a run is resumed holds for the epochs before, too: the best epoch's weights are the model."""
    run = train(mislabelled, replace(HASTY, epochs=20, patience=0), out=tmp_path / "run")
    losses = [float(row["val_loss"]) for row in history(run)]
    assert losses[-1] > min(losses) + 0.01
    train(mislabelled, Recipe(patience=1), out=run.path, resume=True)
    assert evaluate_bundle(run, mislabelled, HASTY)[0] == pytest.approx(min(losses), abs=1e-4)


def test_long_epochs_are_saved_in_between(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is written when the time for one has come, in the middle of an epoch too."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    recipe = resolve(replace(SHORT, batch_size=2, epochs=None, steps=5))
    run = new_run(tmp_path / "run", recipe=recipe, data=few)
    assert learn(make_learner(open_dataset(few, recipe), recipe), run, log_scalars=lambda _: None)
    assert len(history(run)) == 1
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-0000000004", "step-0000000005"]


def test_a_run_with_a_damaged_recipe_is_refused(tmp_path: Path, few: Path) -> None:
    """A recipe that cannot be read is not guessed."""
    run = new_run(tmp_path / "run", recipe=resolve(SHORT), data=few)
    run.recipe_file.write_text("image_size = [")
    with pytest.raises(RecipeError, match="not TOML"):
        train(few, out=run.path, resume=True)


def test_the_fitted_head_is_a_model(head_alone: Run, few: Path, tmp_path: Path) -> None:
    """With no steps: one row, epoch 0, one checkpoint, a bundle with the metrics of that; resuming changes nothing.

    A budget that is used up before the first step is saved as no steps, and is spent only once.
    """
    run = Run(Path(shutil.copytree(head_alone.path, tmp_path / "run")))
    assert run.recipe.length == Length("steps", 0)
    (row,) = history(run)
    assert (row["epoch"], row["step"], row["learning_rate"]) == ("0", "0", "0.0")
    assert names_of_events(run) == ["start", "epoch", "compared", "done"]
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-0000000000"]
    loss, accuracy = evaluate_bundle(run, few, PRETRAINED)
    assert (loss, accuracy) == pytest.approx((float(row["val_loss"]), float(row["val_accuracy"])), abs=0.02)
    train(few, PRETRAINED.with_changes({"budget": 600}), out=run.path, resume=True)
    assert run.recipe == head_alone.recipe
    assert (run.path / WEIGHTS).read_bytes() == (head_alone.path / WEIGHTS).read_bytes()
    assert len(history(run)) == 1


def test_fine_tuning_that_is_worse_is_dropped(few: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The history has the head and each epoch; at a rate that destroys the network the fitted head is the model."""
    caplog.set_level("INFO", logger="convscope")
    run = train(few, replace(PRETRAINED, optimizer="adam", learning_rate=0.3), out=tmp_path / "run")
    assert [row["epoch"] for row in history(run)] == ["0", "1"]
    head, fine_tuned = (float(row["val_loss"]) for row in history(run))
    assert fine_tuned > head
    assert f"restored the fitted head, with the lowest validation loss, {head:.4f}" in caplog.messages
    assert evaluate_bundle(run, few, PRETRAINED)[0] == pytest.approx(head, abs=0.02)


def test_changed_images_are_an_error_before_features_are_missing(head_alone: Run, few: Path, tmp_path: Path) -> None:
    """A pretrained run whose images changed is refused in three parts, as every other is."""
    folder = Path(shutil.copytree(few, tmp_path / "data"))
    shutil.rmtree(folder / "ring")
    write_folder(folder, ("ring", "bar"), per_class=5, size=20)
    with pytest.raises(RunError, match="images were changed, added or removed"):
        train(folder, out=head_alone.path, resume=True)


@pytest.mark.parametrize("network", ["keras:ResNet5", "no_such_module:small"])
def test_a_wrong_network_is_an_error_before_images_are_decoded(shapes: Path, tmp_path: Path, network: str) -> None:
    """A slip in its name costs no minutes of decoding: no cache has been started."""
    with pytest.raises(RecipeError, match=network):
        train(shapes, Recipe(network=network), out=tmp_path / "run", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_model_that_cannot_be_written_leaves_the_steps(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the export is raised as it is; every checkpoint is there."""

    def fail(_learner: Learner, _folder: Path) -> None:
        raise BundleError(found="a difference", expected="none", fix="report it")

    monkeypatch.setattr(training, "save_bundle", fail)
    with pytest.raises(BundleError):
        train(few, replace(SHORT, epochs=1), out=tmp_path / "run")
    assert [path.name for path in Run(tmp_path / "run").checkpoints.iterdir()] == ["step-0000000001"]
