"""training/learner.py: a few steps at a time, it goes on where it stood, to the bit."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy_network import cross_entropies, logits_of, softmax
from sample_images import write_folder

from convscope.bundle.bundle import open_bundle
from convscope.datasets.dataset import Dataset
from convscope.datasets.splits import Sample
from convscope.errors import BundleError, FolderError, RecipeError, RunError
from convscope.networks import efficientnet
from convscope.networks.catalog import read_weights, set_weights
from convscope.recipe.defaults import EFFICIENTNET
from convscope.recipe.recipe import Recipe
from convscope.training import learner as module
from convscope.training.checkpoint import Checkpoint
from convscope.training.history import Epoch
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
    precision="float32",  # so that figures agree with NumPy's on every processor
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
    """30 images to learn from, in batches of 8: 3 steps make an epoch; 9 to validate with."""
    return make_dataset()


def without_seconds(rows: list[Epoch]) -> list[Epoch]:
    """Rows of a history that can be compared: all but the time that they took."""
    return [replace(row, seconds=0.0) for row in rows]


def bits(checkpoint: Checkpoint) -> object:
    """Everything in a checkpoint that may not differ between two equal trainings."""
    history = [{**row, "seconds": 0} for row in checkpoint.facts["history"]]
    best = checkpoint.facts["best"]
    arrays = {name: (each.dtype, each.shape, each.tobytes()) for name, each in checkpoint.arrays.items()}
    return checkpoint.step, arrays, history, best and {**best, "seconds": 0}


def test_few_steps_and_more_steps_are_all_steps(dataset: Dataset) -> None:
    """fit(steps=1), an evaluation, and fit(steps=99) end in the bits of fit(steps=100), history and state included."""
    parts, whole = Learner(dataset, RECIPE), Learner(dataset, RECIPE)
    parts.fit(steps=1)
    parts.evaluate()
    parts.fit(steps=99)
    whole.fit(steps=100)
    assert parts.step == 100
    assert len(parts.history) == 33
    assert bits(parts.snapshot()) == bits(whole.snapshot())


@pytest.mark.parametrize("step", [2, 3, 10])
def test_snapshot_goes_on_to_the_same_bits(dataset: Dataset, step: int) -> None:
    """Put back into another learner, in the middle of an epoch or at its end, a state goes on as if never stopped."""
    whole, before, after = (Learner(dataset, RECIPE) for _ in range(3))
    whole.fit(steps=20)
    before.fit(steps=step)
    after.go_back_to(before.snapshot())
    assert bits(after.snapshot()) == bits(before.snapshot())
    after.fit(steps=20 - step)
    assert bits(after.snapshot()) == bits(whole.snapshot())


def test_snapshot_stays_as_it_is(dataset: Dataset) -> None:
    """A state that was taken does not change while the learner learns on; going back to it takes the steps back."""
    learner = Learner(dataset, RECIPE)
    learner.fit(steps=4)
    taken = learner.snapshot()
    before = bits(taken)
    learner.fit(steps=8)
    assert bits(taken) == before
    assert bits(learner.snapshot()) != before
    learner.go_back_to(taken)
    assert bits(learner.snapshot()) == before


@pytest.mark.parametrize("changes", [{"optimizer": "sgd"}, {"filters": (4, 4, 4)}])
def test_state_of_another_recipe_is_told(dataset: Dataset, changes: dict[str, Any]) -> None:
    """Of another optimiser, or of a network with more layers: what is missing is named, and nothing was taken on."""
    learner = Learner(dataset, RECIPE.with_changes(changes))
    before = bits(learner.snapshot())
    with pytest.raises(RunError, match=r"a checkpoint without (adam|sgd)/"):
        learner.go_back_to(Learner(dataset, RECIPE).snapshot())
    assert bits(learner.snapshot()) == before


def test_same_seed_same_weights(dataset: Dataset) -> None:
    """Two learners of one recipe end alike to the bit; another seed begins and ends otherwise."""
    one, same, other = (Learner(dataset, replace(RECIPE, seed=seed)) for seed in (3, 3, 4))
    first = {learner: bits(learner.snapshot()) for learner in (one, same, other)}
    assert first[one] == first[same] != first[other]
    for learner in (one, same, other):
        learner.fit(steps=7)
    assert bits(one.snapshot()) == bits(same.snapshot()) != bits(other.snapshot())


def test_another_seed_is_another_order(dataset: Dataset) -> None:
    """The order of the images follows from the seed: from equal weights, another seed still ends otherwise."""
    one, other = Learner(dataset, RECIPE), Learner(dataset, replace(RECIPE, seed=4))
    set_weights(other.model, read_weights(one.model))
    one.fit(steps=2)
    other.fit(steps=2)
    assert bits(one.snapshot()) != bits(other.snapshot())


@pytest.mark.parametrize("count", [1, 7, 256, 257, 300])
def test_last_validation_batch_may_have_any_size(count: int) -> None:
    """The whole validation set is judged, each image once: loss and accuracy are NumPy's, and come again to the bit."""
    dataset = make_dataset(10, count, num_classes=3)
    learner = Learner(dataset, RECIPE)
    learner.fit(steps=5)
    judged = learner.evaluate()
    rows = dataset.rows("validation")
    logits, labels = logits_of(read_weights(learner.model), dataset.images[rows]), dataset.labels[rows]
    assert judged["loss"] == pytest.approx(cross_entropies(logits, labels).mean(), rel=1e-5)
    assert judged["accuracy"] == (logits.argmax(axis=1) == labels).mean()
    assert learner.evaluate() == judged
    again = Learner(dataset, RECIPE)
    again.go_back_to(learner.snapshot())
    assert again.evaluate() == judged


def test_other_splits_can_be_judged(dataset: Dataset) -> None:
    """evaluate("train") judges the images that were learned from."""
    learner = Learner(dataset, RECIPE)
    rows = dataset.rows("train")
    logits = logits_of(read_weights(learner.model), dataset.images[rows])
    expected = cross_entropies(logits, dataset.labels[rows]).mean()
    assert learner.evaluate("train")["loss"] == pytest.approx(expected, rel=1e-5)


def test_split_without_images_is_an_error(dataset: Dataset) -> None:
    """A figure of no images is refused, not told as zero."""
    with pytest.raises(FolderError):
        Learner(dataset, RECIPE).evaluate("test")


def test_fewer_images_than_a_batch() -> None:
    """Five images are one batch of five: each epoch is one step, and it learns from all of them."""
    learner = Learner(make_dataset(5, 2), replace(RECIPE, batch_size=32))
    assert learner.steps_per_epoch == 1
    before = learner.evaluate("train")["loss"]
    rows = learner.fit(steps=60)
    assert len(rows) == 60
    assert rows[0].loss == pytest.approx(before, rel=1e-5)  # the mean over all five
    assert learner.evaluate("train")["loss"] < 0.9 * before


def test_images_that_do_not_fill_a_batch_wait() -> None:
    """30 images in batches of 8 are 3 full steps, whose training loss is that of 24 images."""
    assert Learner(make_dataset(30, 2), RECIPE).steps_per_epoch == 3
    assert Learner(make_dataset(32, 2), RECIPE).steps_per_epoch == 4


def test_history_has_a_row_for_each_epoch(dataset: Dataset) -> None:
    """fit returns the epochs that it completed; their rows say what was measured, and when."""
    learner = Learner(dataset, RECIPE)
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
    learner = Learner(dataset, RECIPE)
    assert len(learner.fit()) == 1
    assert learner.step == 3
    assert learner.fit(steps=0) == []
    assert learner.step == 3


def test_training_loss_is_the_mean_of_the_epoch() -> None:
    """An epoch's loss and accuracy are over the images that it saw, each with the weights of its step."""
    dataset = make_dataset(8, 2)
    learner = Learner(dataset, RECIPE)
    rows = dataset.rows("train")
    for _ in range(3):
        logits = logits_of(read_weights(learner.model), dataset.images[rows])
        expected = cross_entropies(logits, dataset.labels[rows]).mean()
        (row,) = learner.fit(epochs=1)
        assert row.loss == pytest.approx(expected, rel=1e-5)


def overfit(patience: int) -> Learner:
    """A learner after 40 epochs, some of its labels wrong: its validation loss has fallen, and risen again."""
    dataset = make_dataset(16, 60)
    wrong = np.random.default_rng(5).random(len(dataset.labels)) < 0.2
    flipped = replace(dataset, labels=np.where(wrong, 1 - dataset.labels, dataset.labels))
    learner = Learner(flipped, replace(RECIPE, learning_rate=0.01, patience=patience))
    learner.fit(epochs=40)
    return learner


def test_best_weights_come_back() -> None:
    """restore_best gives back the weights that the lowest validation loss was measured with, to the bit."""
    learner = overfit(patience=3)
    losses = [row.val_loss for row in learner.history]
    assert losses[-1] > min(losses)
    assert learner.best == learner.history[int(np.argmin(losses))]
    assert learner.evaluate()["loss"] == losses[-1]
    learner.restore_best()
    assert learner.evaluate()["loss"] == min(losses)


def test_best_weights_are_part_of_the_state() -> None:
    """Another learner that took on the state gives back the same best weights."""
    learner = overfit(patience=3)
    other = Learner(learner.dataset, learner.recipe)
    other.go_back_to(learner.snapshot())
    other.restore_best()
    assert other.best == learner.best
    assert other.evaluate()["loss"] == min(row.val_loss for row in learner.history)


def test_converged_means_patience_epochs_without_a_better_one() -> None:
    """After as many epochs as patience says since the best one, not one earlier; patience 0 never converges."""
    learner = overfit(patience=3)
    whole = learner.history
    best = int(np.argmin([row.val_loss for row in whole]))
    assert 0 < best < 36
    for seen, expected in ((best + 1, False), (best + 3, False), (best + 4, True), (len(whole), True)):
        learner.history = whole[:seen]
        assert learner.has_converged is expected
    assert not overfit(patience=0).has_converged


def test_without_patience_the_best_weights_are_remembered() -> None:
    """With patience 0 learning never stops early, and the best weights can be asked for all the same."""
    learner = overfit(patience=0)
    assert not learner.has_converged
    assert learner.best is not None
    assert learner.best.val_loss < learner.history[-1].val_loss
    learner.restore_best()
    assert learner.evaluate()["loss"] == learner.best.val_loss


@pytest.mark.parametrize("count", [0, 1, 256, 300])
def test_predict_answers_any_number_of_images(dataset: Dataset, count: int) -> None:
    """The probabilities of each image, in order, as NumPy has them."""
    learner = Learner(dataset, RECIPE)
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), np.uint8)
    answers = learner.predict(images)
    assert answers.dtype == np.float32
    expected = softmax(logits_of(read_weights(learner.model), images))
    np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_ctrl_c_stops_between_two_steps(dataset: Dataset) -> None:
    """A signal ends fit with a whole step, the learner can go on, and its state is that of so many steps."""
    learner, other = Learner(dataset, RECIPE), Learner(dataset, RECIPE)
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
    learner = Learner(dataset, RECIPE)
    learner.fit(steps=2)
    before = threading.active_count()
    learner.fit(steps=3)
    learner.evaluate()
    assert threading.active_count() == before


def test_folder_is_read_as_train_reads_it(tmp_path: Path) -> None:
    """A path, also one that is a string, is listed, decoded and dealt; classes are sorted by name."""
    learner = Learner(str(write_folder(tmp_path / "photos", ("ring", "disc"), per_class=8)), RECIPE)
    assert learner.dataset.classes == ("disc", "ring")
    assert learner.model.output.shape == (None, 2)
    assert len(learner.fit()) == 1


def test_unfit_data_is_refused(tmp_path: Path) -> None:
    """What train refuses, Learner refuses: too many unusable images, a class that nothing is left of."""
    folder = write_folder(tmp_path / "photos", ("disc", "ring"), per_class=8)
    for file in (folder / "disc").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(FolderError, match="8 of 16 images refused"):
        Learner(folder, RECIPE)
    with pytest.raises(FolderError, match="disc"):
        Learner(folder, replace(RECIPE, max_refused=1.0))


def test_save_writes_a_bundle(dataset: Dataset, tmp_path: Path) -> None:
    """A saved network answers without Keras as it does here; saving again replaces it."""
    learner = Learner(dataset, RECIPE)
    images: Any = dataset.images[:20]
    for steps in (2, 30):
        learner.fit(steps=steps)
        place = learner.save(tmp_path / "model")
        np.testing.assert_allclose(open_bundle(place).predict(images), learner.predict(images), atol=1e-5)
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def test_save_replaces_nothing_but_a_model(dataset: Dataset, tmp_path: Path) -> None:
    """A folder that holds anything else is refused, and stays as it was."""
    kept = tmp_path / "thesis" / "chapter.txt"
    kept.parent.mkdir()
    kept.write_text("years of work")
    with pytest.raises(BundleError, match="no part of a model"):
        Learner(dataset, RECIPE).save(kept.parent)
    with pytest.raises(BundleError, match="no part of a model"):
        Learner(dataset, RECIPE).save(kept)
    assert kept.read_text() == "years of work"
    assert [each.name for each in tmp_path.iterdir()] == ["thesis"]


def test_diverged_network_is_not_saved(dataset: Dataset, tmp_path: Path) -> None:
    """A network that answers with NaN is no model: the error names the learning rate, and nothing is written."""
    learner = Learner(dataset, RECIPE)
    set_weights(learner.model, {name: array * np.nan for name, array in read_weights(learner.model).items()})
    with pytest.raises(BundleError, match="learning rate"):
        learner.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_epochs_survive_json(dataset: Dataset) -> None:
    """A row of the history comes back from its dictionary equal, which is how a checkpoint keeps it."""
    learner = Learner(dataset, RECIPE)
    (row,) = learner.fit()
    assert Epoch(**asdict(row)) == row


def test_budget_is_for_train_alone(dataset: Dataset) -> None:
    """A learner has no clock: a recipe with a budget is refused, not trained for another length."""
    with pytest.raises(RecipeError, match="a budget of 60 s"):
        Learner(dataset, RECIPE.with_changes({"budget": 60}))


def test_steps_beyond_the_plan_are_refused(dataset: Dataset) -> None:
    """Where the learning rate has come down to nothing there is nothing to learn: that is said, and no step taken."""
    learner = Learner(dataset, RECIPE.with_changes({"schedule": "one-cycle", "steps": 4}))
    learner.fit(steps=3)
    with pytest.raises(RecipeError, match="5 steps in all, where the learning rate is planned to end after 4"):
        learner.fit(steps=2)
    assert learner.step == 3
    learner.fit(steps=1)
    constant = Learner(dataset, RECIPE.with_changes({"schedule": "constant", "steps": 4}))
    constant.fit(steps=5)
    assert constant.step == 5


@pytest.fixture(scope="module")
def fine_tuned(photos: Path) -> tuple[Learner, Checkpoint, Checkpoint]:
    """A pretrained network after both of its epochs; its state before the first step, and in the second epoch."""
    learner = Learner(photos, PRETRAINED)
    begun = learner.snapshot()
    learner.fit(steps=learner.steps_per_epoch + 1)
    between = learner.snapshot()
    learner.fit(steps=2 * learner.steps_per_epoch - learner.step)
    return learner, begun, between


def test_pretrained_network_begins_with_a_solved_head(fine_tuned: tuple[Learner, Checkpoint, Checkpoint]) -> None:
    """Before its first step it is a model already: the history begins with epoch 0, judged as the network answers."""
    learner, begun, _ = fine_tuned
    assert [(row.epoch, row.step) for row in learner.history] == [(0, 0), (1, 2), (2, 4)]
    first = learner.history[0]
    assert (first.learning_rate, begun.step) == (0.0, 0)
    assert begun.facts["best"] == begun.facts["history"][0] == asdict(first)
    other = Learner(learner.dataset, PRETRAINED, checkpoint=begun)
    judged = other.evaluate()
    assert judged["accuracy"] == pytest.approx(first.val_accuracy, abs=1 / 15)
    assert judged["loss"] == pytest.approx(first.val_loss, abs=0.02)
    assert other.evaluate("train")["loss"] == pytest.approx(first.loss, abs=0.02)
    assert first.loss < np.log(3) / 2  # of three classes
    assert learner.has_solved_head
    assert learner.keeps_best


def test_going_on_needs_neither_weights_nor_features(
    fine_tuned: tuple[Learner, Checkpoint, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its state alone, at the start or in the middle, a pretrained training goes on to the same bits."""
    learner, *states = fine_tuned
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    monkeypatch.setattr(module, "start_from_features", None)
    for state in states:
        other = Learner(learner.dataset, PRETRAINED, checkpoint=state)
        assert bits(other.snapshot()) == bits(state)
        other.fit(steps=learner.step - other.step)
        assert bits(other.snapshot()) == bits(learner.snapshot())


def test_fine_tuning_that_judges_worse_is_taken_back(fine_tuned: tuple[Learner, Checkpoint, Checkpoint]) -> None:
    """At a rate that tears the network apart the best weights stay those of the head, to the bit."""
    learner, begun, _ = fine_tuned
    torn = Learner(learner.dataset, PRETRAINED.with_changes({"learning_rate": 3.0}), checkpoint=begun)
    torn.fit(epochs=1)
    assert not torn.history[-1].val_loss < torn.history[0].val_loss
    assert torn.best == torn.history[0]
    torn.restore_best()
    weights = {f"weights/{name}": array for name, array in read_weights(torn.model).items()}
    assert all(np.array_equal(array, begun.arrays[name]) for name, array in weights.items())


def test_random_weights_begin_with_no_head(photos: Path) -> None:
    """With weights `none` there is nothing to solve a head on: the history is empty, and the last weights count."""
    learner = Learner(photos, PRETRAINED.with_changes({"weights": "none"}))
    assert (learner.history, learner.best) == ([], None)
    assert not learner.has_solved_head
    assert not learner.keeps_best
    assert learner.evaluate()["loss"] == pytest.approx(np.log(3))


def test_network_is_chosen_for_the_images(photos: Path, dataset: Dataset) -> None:
    """`auto` becomes a network, for a folder and for a data set that is open; its defaults are the recipe's."""
    learner = Learner(photos, Recipe(image_size=32, steps=4))
    assert learner.recipe == replace(Recipe(network="compact", image_size=32, steps=4), precision=learner.precision)
    assert Learner(dataset, Recipe(image_size=16, channels=1)).recipe.network == "compact"
