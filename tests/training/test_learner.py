"""training/learner.py: a few steps at a time, it continues where it was, to the bit."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learners import bits, make_learner
from numpy_network import cross_entropies, logits_of, softmax
from sample_images import write_folder

from convscope.datasets.dataset import Dataset
from convscope.datasets.splits import Sample
from convscope.errors import FolderError, RecipeError, RunError
from convscope.networks import efficientnet
from convscope.networks.catalog import read_weights, set_weights
from convscope.progress import Progress, report_progress
from convscope.recipe.defaults import EFFICIENTNET
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import Length, resolve
from convscope.training import learner as module
from convscope.training.checkpoint import Checkpoint
from convscope.training.learner import Learner

pytestmark = pytest.mark.tensorflow

RECIPE = Recipe(
    network="classic",
    image_size=8,
    channels=1,
    filters=(4,),
    dense_units=8,
    batch_size=8,
    learning_rate=0.003,
    precision="float32",  # so that losses agree with NumPy's on every processor
    seed=3,
)

PRETRAINED = Recipe(
    network=EFFICIENTNET, image_size=32, batch_size=16, epochs=2, validation=0.25, precision="float32", seed=3
)


def make_dataset(train: int = 30, validation: int = 9, *, num_classes: int = 2, seed: int = 0) -> Dataset:
    """Noise in memory, brighter for each class than for the one before: 8 x 8, grey."""
    draw = np.random.default_rng(seed)
    count = train + validation
    labels = (np.arange(count) % num_classes).astype(np.int32)
    images = draw.integers(0, 160, (count, 8, 8, 1), np.uint8) + (labels * 40).astype(np.uint8)[:, None, None, None]
    splits = ["train"] * train + ["validation"] * validation
    classes = tuple("abcdef"[:num_classes])
    samples = [
        Sample(f"{row}.png", classes[label], split, str(row), "")
        for row, (label, split) in enumerate(zip(labels, splits, strict=True))
    ]
    return Dataset(Path("noise"), classes, tuple(samples), images, labels, {}, ())


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """30 images to train on, in batches of 8: 3 steps make an epoch; 9 to validate with."""
    return make_dataset()


def test_fit_continues(dataset: Dataset) -> None:
    """fit(steps=1), an evaluation, and fit(steps=99) end in the bits of fit(steps=100), history and state included."""
    parts, uninterrupted = make_learner(dataset, RECIPE), make_learner(dataset, RECIPE)
    parts.fit(steps=1)
    parts.evaluate()
    parts.fit(steps=99)
    uninterrupted.fit(steps=100)
    assert parts.step == 100
    assert len(parts.history) == 33
    assert bits(parts.snapshot()) == bits(uninterrupted.snapshot())


@pytest.mark.parametrize("step", [2, 3, 10])
def test_a_snapshot_continues_to_the_same_bits(dataset: Dataset, step: int) -> None:
    """Restored in another learner, in the middle of an epoch or at its end, training continues as if never stopped."""
    uninterrupted, before, after = (make_learner(dataset, RECIPE) for _ in range(3))
    uninterrupted.fit(steps=20)
    before.fit(steps=step)
    after.restore(before.snapshot())
    assert bits(after.snapshot()) == bits(before.snapshot())
    after.fit(steps=20 - step)
    assert bits(after.snapshot()) == bits(uninterrupted.snapshot())


def test_a_snapshot_is_a_copy(dataset: Dataset) -> None:
    """It does not change while training continues; restoring it undoes the steps."""
    learner = make_learner(dataset, RECIPE)
    learner.fit(steps=4)
    taken = learner.snapshot()
    before = bits(taken)
    learner.fit(steps=8)
    assert bits(taken) == before
    assert bits(learner.snapshot()) != before
    learner.restore(taken)
    assert bits(learner.snapshot()) == before


@pytest.mark.parametrize("changes", [{"optimizer": "sgd"}, {"filters": (4, 4, 4)}])
def test_a_snapshot_of_another_recipe_is_refused(dataset: Dataset, changes: dict[str, Any]) -> None:
    """Of another optimiser, or of a network with more layers: the missing array is named, and nothing is changed."""
    learner = make_learner(dataset, RECIPE.with_changes(changes))
    before = bits(learner.snapshot())
    with pytest.raises(RunError, match=r"a checkpoint without (adam|sgd)/"):
        learner.restore(make_learner(dataset, RECIPE).snapshot())
    assert bits(learner.snapshot()) == before


def test_same_seed_same_weights(dataset: Dataset) -> None:
    """Two learners of one recipe end with the same bits; another seed starts and ends with others."""
    one, same, other = (make_learner(dataset, replace(RECIPE, seed=seed)) for seed in (3, 3, 4))
    first = {learner: bits(learner.snapshot()) for learner in (one, same, other)}
    assert first[one] == first[same] != first[other]
    for learner in (one, same, other):
        learner.fit(steps=7)
    assert bits(one.snapshot()) == bits(same.snapshot()) != bits(other.snapshot())


def test_another_seed_is_another_order(dataset: Dataset) -> None:
    """The order of the images follows from the seed: from equal weights, another seed still ends with others."""
    one, other = make_learner(dataset, RECIPE), make_learner(dataset, replace(RECIPE, seed=4))
    set_weights(other.model, read_weights(one.model))
    one.fit(steps=2)
    other.fit(steps=2)
    assert bits(one.snapshot()) != bits(other.snapshot())


@pytest.mark.parametrize("count", [1, 7, 256, 257, 300])
def test_last_validation_batch_may_have_any_size(count: int) -> None:
    """Every validation image is evaluated once: loss and accuracy are NumPy's, and the same bits each time."""
    dataset = make_dataset(10, count, num_classes=3)
    learner = make_learner(dataset, RECIPE)
    learner.fit(steps=5)
    metrics = learner.evaluate()
    rows = dataset.rows("validation")
    logits, labels = logits_of(read_weights(learner.model), dataset.images[rows]), dataset.labels[rows]
    assert metrics["loss"] == pytest.approx(cross_entropies(logits, labels).mean(), rel=1e-5)
    assert metrics["accuracy"] == (logits.argmax(axis=1) == labels).mean()
    assert learner.evaluate() == metrics
    again = make_learner(dataset, RECIPE)
    again.restore(learner.snapshot())
    assert again.evaluate() == metrics


def test_other_splits_can_be_evaluated(dataset: Dataset) -> None:
    """evaluate("train") is over the training images."""
    learner = make_learner(dataset, RECIPE)
    rows = dataset.rows("train")
    logits = logits_of(read_weights(learner.model), dataset.images[rows])
    expected = cross_entropies(logits, dataset.labels[rows]).mean()
    assert learner.evaluate("train")["loss"] == pytest.approx(expected, rel=1e-5)


def test_split_without_images_is_an_error(dataset: Dataset) -> None:
    """The loss of no images is an error, not zero."""
    with pytest.raises(FolderError):
        make_learner(dataset, RECIPE).evaluate("test")


def test_fewer_images_than_a_batch() -> None:
    """Five images are one batch of five: each epoch is one step on all of them."""
    learner = make_learner(make_dataset(5, 2), replace(RECIPE, batch_size=32))
    assert learner.steps_per_epoch == 1
    before = learner.evaluate("train")["loss"]
    rows = learner.fit(steps=60)
    assert len(rows) == 60
    assert rows[0].loss == pytest.approx(before, rel=1e-5)  # the mean over all five
    assert learner.evaluate("train")["loss"] < 0.9 * before


def test_images_that_do_not_fill_a_batch_wait() -> None:
    """30 images in batches of 8 are 3 full steps, whose training loss is that of 24 images."""
    assert make_learner(make_dataset(30, 2), RECIPE).steps_per_epoch == 3
    assert make_learner(make_dataset(32, 2), RECIPE).steps_per_epoch == 4


def test_history_has_a_row_for_each_epoch(dataset: Dataset) -> None:
    """fit returns the epochs that it completed; their rows have what was measured, and at which step."""
    learner = make_learner(dataset, RECIPE)
    assert learner.fit(steps=2) == []
    rows = learner.fit(epochs=2)
    assert [(row.epoch, row.step) for row in rows] == [(1, 3), (2, 6)]
    assert learner.step == 8
    learner.fit(steps=1)
    assert learner.history[:2] == rows
    assert len(learner.history) == 3
    last = learner.history[-1]
    assert {"loss": last.val_loss, "accuracy": last.val_accuracy} == learner.evaluate()
    assert last.learning_rate == RECIPE.learning_rate
    assert 0 < last.loss < 5
    assert 0 <= last.accuracy <= 1
    assert [row.seconds for row in learner.history] == sorted(row.seconds for row in learner.history)


def test_fit_is_one_epoch_by_default(dataset: Dataset) -> None:
    """Without a count, fit completes one epoch's number of steps; with 0 it does nothing."""
    learner = make_learner(dataset, RECIPE)
    assert len(learner.fit()) == 1
    assert learner.step == 3
    assert learner.fit(steps=0) == []
    assert learner.step == 3


def test_training_loss_is_the_mean_of_the_epoch() -> None:
    """An epoch's loss and accuracy are over its images, each with the weights of its step."""
    dataset = make_dataset(8, 2)
    learner = make_learner(dataset, RECIPE)
    rows = dataset.rows("train")
    for _ in range(3):
        logits = logits_of(read_weights(learner.model), dataset.images[rows])
        expected = cross_entropies(logits, dataset.labels[rows]).mean()
        (row,) = learner.fit(epochs=1)
        assert row.loss == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def overfit() -> Learner:
    """A learner after 40 epochs, some of its labels wrong: its validation loss has fallen, and risen again."""
    dataset = make_dataset(16, 60)
    wrong = np.random.default_rng(5).random(len(dataset.labels)) < 0.2
    mislabelled = replace(dataset, labels=np.where(wrong, 1 - dataset.labels, dataset.labels))
    learner = make_learner(mislabelled, replace(RECIPE, learning_rate=0.01, patience=0))
    learner.fit(epochs=40)
    return learner


def test_best_weights_are_restored(overfit: Learner) -> None:
    """Those that the lowest validation loss was measured with, to the bit; another learner gets them with the state."""
    losses = [row.val_loss for row in overfit.history]
    assert losses[-1] > min(losses)
    assert overfit.best == overfit.history[int(np.argmin(losses))]
    learner = make_learner(overfit.dataset, overfit.recipe, checkpoint=overfit.snapshot())
    assert learner.evaluate()["loss"] == losses[-1]
    learner.restore_best_weights()
    assert learner.best == overfit.best
    assert learner.evaluate()["loss"] == min(losses)


def test_patience_decides_when_training_has_converged(overfit: Learner) -> None:
    """With patience 0 it never has; with three epochs of it this one has, and gets its best weights back."""
    assert not overfit.has_converged
    assert not overfit.restores_best_weights
    learner = make_learner(overfit.dataset, replace(overfit.recipe, patience=3), checkpoint=overfit.snapshot())
    assert learner.has_converged
    assert learner.restores_best_weights


@pytest.mark.parametrize("count", [0, 1, 256, 300])
def test_predict_takes_any_number_of_images(dataset: Dataset, count: int) -> None:
    """The probabilities of each image, in order, as NumPy has them."""
    learner = make_learner(dataset, RECIPE)
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), np.uint8)
    probabilities = learner.predict(images)
    assert probabilities.dtype == np.float32
    expected = softmax(logits_of(read_weights(learner.model), images))
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_ctrl_c_stops_between_two_steps(dataset: Dataset) -> None:
    """A signal ends fit after a complete step, and the state is that of so many steps."""
    learner, other = make_learner(dataset, RECIPE), make_learner(dataset, RECIPE)
    learner.fit(steps=1)  # compiled: what follows is steps
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        learner.fit(steps=1_000_000)
    assert 1 < learner.step < 1_000_000
    other.fit(steps=learner.step)
    assert bits(learner.snapshot()) == bits(other.snapshot())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_threads_end_with_fit(dataset: Dataset) -> None:
    """Neither a fit nor an evaluation leaves a thread behind."""
    learner = make_learner(dataset, RECIPE)
    learner.fit(steps=2)
    before = threading.active_count()
    learner.fit(steps=3)
    learner.evaluate()
    assert threading.active_count() == before


def test_folder_is_read_as_train_reads_it(tmp_path: Path) -> None:
    """A path, also as a string, is listed, decoded and split; classes are sorted by name."""
    learner = Learner.open(str(write_folder(tmp_path / "photos", ("ring", "disc"), per_class=8)), RECIPE)
    assert learner.dataset.classes == ("disc", "ring")
    assert learner.model.output.shape == (None, 2)
    assert len(learner.fit()) == 1


def test_unfit_data_is_refused(tmp_path: Path) -> None:
    """As by `train`: too many refused images, or a class without any left."""
    folder = write_folder(tmp_path / "photos", ("disc", "ring"), per_class=8)
    for file in (folder / "disc").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(FolderError, match="8 of 16 images refused"):
        Learner.open(folder, RECIPE)
    with pytest.raises(FolderError, match="disc"):
        Learner.open(folder, replace(RECIPE, max_refused=1.0))


def test_budget_is_for_train_alone() -> None:
    """A learner cannot measure it: such a recipe is refused before anything is listed."""
    with pytest.raises(RecipeError, match="a budget of 60 s"):
        Learner.open("nothing is here", RECIPE.with_changes({"budget": 60}))


def test_the_plan_is_final_with_the_first_step(dataset: Dataset) -> None:
    """Before it another length is a new plan, and the recipe has it; after it, that is an error."""
    learner = make_learner(dataset, RECIPE.with_changes({"schedule": "one-cycle", "budget": 60}))
    learner.set_num_steps(6)
    assert (learner.plan.num_steps, learner.recipe.length) == (6, Length("steps", 6))
    planned = make_learner(dataset, RECIPE.with_changes({"schedule": "one-cycle", "steps": 6}))
    for either in (learner, planned):
        either.fit(steps=6)
    assert bits(learner.snapshot()) == bits(planned.snapshot())
    with pytest.raises(RuntimeError, match="the learner is at step 6"):
        learner.set_num_steps(12)
    assert learner.plan == planned.plan


def test_steps_beyond_the_plan_are_refused(dataset: Dataset) -> None:
    """Where the learning rate has fallen to 0 further steps are an error, and none is taken."""
    learner = make_learner(dataset, RECIPE.with_changes({"schedule": "one-cycle", "steps": 4}))
    learner.fit(steps=3)
    with pytest.raises(RecipeError, match="5 steps in all, where the learning rate is planned to end after 4"):
        learner.fit(steps=2)
    assert learner.step == 3
    learner.fit(steps=1)
    constant = make_learner(dataset, RECIPE.with_changes({"schedule": "constant", "steps": 4}))
    constant.fit(steps=5)
    assert constant.step == 5


@pytest.fixture(scope="module")
def fine_tuned(photos: Path) -> tuple[Learner, Checkpoint, Checkpoint]:
    """A pretrained network after both of its epochs; its state before the first step, and in the second epoch."""
    learner = Learner.open(photos, PRETRAINED)
    start = learner.snapshot()
    learner.fit(steps=learner.steps_per_epoch + 1)
    between = learner.snapshot()
    learner.fit(steps=2 * learner.steps_per_epoch - learner.step)
    return learner, start, between


def test_pretrained_network_starts_with_a_fitted_head(fine_tuned: tuple[Learner, Checkpoint, Checkpoint]) -> None:
    """Before its first step it is a model already: the history starts with epoch 0 and the metrics of that."""
    learner, start, _ = fine_tuned
    assert [(row.epoch, row.step) for row in learner.history] == [(0, 0), (1, 2), (2, 4)]
    first = learner.history[0]
    assert (first.learning_rate, start.step) == (0.0, 0)
    assert start.facts["best"] == start.facts["history"][0] == asdict(first)
    other = make_learner(learner.dataset, PRETRAINED, checkpoint=start)
    metrics = other.evaluate()
    assert metrics["accuracy"] == pytest.approx(first.val_accuracy, abs=1 / 15)
    assert metrics["loss"] == pytest.approx(first.val_loss, abs=0.02)
    assert other.evaluate("train")["loss"] == pytest.approx(first.loss, abs=0.02)
    assert first.loss < np.log(3) / 2  # of three classes
    assert learner.has_fitted_head
    assert learner.restores_best_weights


def test_resuming_needs_neither_weights_nor_features(
    fine_tuned: tuple[Learner, Checkpoint, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its state alone, at the start or in the middle, a pretrained network is trained to the same bits."""
    learner, *states = fine_tuned
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    monkeypatch.setattr(module, "fit_linear_probe", None)
    other = make_learner(learner.dataset, PRETRAINED, checkpoint=states[0])
    for state in states:
        other.restore(state)
        assert bits(other.snapshot()) == bits(state)
        other.fit(steps=learner.step - other.step)
        assert bits(other.snapshot()) == bits(learner.snapshot())


def test_fine_tuning_that_is_worse_is_undone(fine_tuned: tuple[Learner, Checkpoint, Checkpoint]) -> None:
    """At a rate that destroys the network the best weights stay those of the fitted head, to the bit."""
    learner, start, _ = fine_tuned
    worse = make_learner(learner.dataset, PRETRAINED.with_changes({"learning_rate": 3.0}), checkpoint=start)
    worse.fit(epochs=1)
    assert not worse.history[-1].val_loss < worse.history[0].val_loss
    assert worse.best == worse.history[0]
    worse.restore_best_weights()
    weights = {f"weights/{name}": array for name, array in read_weights(worse.model).items()}
    assert all(np.array_equal(array, start.arrays[name]) for name, array in weights.items())


def test_random_weights_have_no_fitted_head(photos: Path) -> None:
    """With weights `none` there are no features to fit it on: the history is empty, and the last weights count."""
    learner = Learner.open(photos, PRETRAINED.with_changes({"weights": "none"}))
    assert (learner.history, learner.best) == ([], None)
    assert not learner.has_fitted_head
    assert not learner.restores_best_weights
    assert learner.evaluate()["loss"] == pytest.approx(np.log(3))


def test_open_resolves_the_recipe(photos: Path) -> None:
    """`auto` becomes a network; the recipe is complete, with the defaults of that network and what was chosen."""
    learner = Learner.open(photos, Recipe(image_size=32, steps=4))
    expected = resolve(Recipe(network="compact", image_size=32, steps=4), precision=learner.recipe.precision)
    assert learner.recipe == expected
    assert learner.plan.num_steps == 4


def test_progress_has_the_loss_of_the_epoch(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also at the last step of an epoch, when its loss is about to be reset."""
    reports: list[Progress] = []
    monkeypatch.setattr("convscope.progress.UPDATE_SECONDS", 0.0)
    learner = make_learner(dataset, RECIPE)
    with report_progress(reports.append):
        learner.fit(steps=6)
    notes = [report.note for report in reports if report.note]
    assert [report.done for report in reports if report.state == "done"] == [6]
    assert {note.partition(",")[0] for note in notes} == {"epoch 1", "epoch 2"}
    assert not any("loss 0.000" in note for note in notes)
