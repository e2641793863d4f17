"""training/budget.py: timing leaves the learner as it was, and the steps that it plans fit into the budget."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from learners import bits, make_learner
from sample_images import write_folder

from convscope.datasets.dataset import Dataset, open_dataset
from convscope.errors import RecipeError
from convscope.recipe.defaults import EFFICIENTNET
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.training import budget
from convscope.training.budget import count_affordable_steps, time_learner, time_steps
from convscope.training.learner import Learner
from convscope.training.resuming import resume_recipe
from convscope.training.training import train

pytestmark = pytest.mark.tensorflow

RECIPE = Recipe(
    network="compact", image_size=32, filters=(4, 8, 8), batch_size=8, validation=0.25, precision="float32", seed=2
)
NO_TIME_LEFT = "no time left for fine-tuning: the network with the fitted head is the model"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 drawings of three shapes."""
    return write_folder(tmp_path_factory.mktemp("shapes"), per_class=16)


@pytest.fixture(scope="module")
def dataset(shapes: Path) -> Dataset:
    """The same drawings, decoded."""
    return open_dataset(shapes, resolve(RECIPE))


@pytest.fixture(scope="module")
def learner(dataset: Dataset) -> Learner:
    """A learner before its first step; only to be timed."""
    return make_learner(dataset, RECIPE.with_changes({"budget": 60}))


@pytest.mark.parametrize("steps", [0, 3])
def test_timing_changes_no_state(dataset: Dataset, steps: int) -> None:
    """Before the first step or after some, all is as it was, and training continues to the same bits."""
    learner, other = (make_learner(dataset, RECIPE.with_changes({"steps": 8})) for _ in range(2))
    learner.fit(steps=steps)
    other.fit(steps=steps)
    before = learner.snapshot()
    step_seconds, evaluation_seconds = time_learner(learner)
    assert bits(learner.snapshot()) == bits(before)
    assert learner.seconds == before.facts["seconds"]
    assert step_seconds.keys() == {16, 24, 32}
    assert min(step_seconds.values()) > 0
    assert evaluation_seconds > 0
    learner.fit(steps=8 - steps)
    other.fit(steps=8 - steps)
    assert bits(learner.snapshot()) == bits(other.snapshot())


def test_timed_steps_are_not_counted(learner: Learner) -> None:
    """Each has its time, and none is a step of the training."""
    seconds = time_steps(learner, size=16, count=3)
    assert len(seconds) == 3
    assert min(seconds) > 0
    assert (learner.step, learner.seconds, learner.history) == (0, 0.0, [])


def test_steps_and_evaluations_share_the_time(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: at 16 px a step takes 0.1 s and a fifth of its epoch's evaluation, 0.5 s, a quarter of that at 32 px;
    there it is 0.4 s and a fifth of 2.0 s. Of 100 s 97 are planned, with 2 of them for the evaluation at the end.
    """
    monkeypatch.setattr(budget, "time_learner", lambda _: ({16: 0.1, 32: 0.4}, 2.0))
    learner = make_learner(dataset, RECIPE.with_changes({"sizes": (0.5,), "size_shares": (0.75,)}))
    assert (learner.steps_per_epoch, learner.plan.sizes) == (5, (16, 32))
    per_step = 0.75 * (0.1 + 0.5 / 5) + 0.25 * (0.4 + 2.0 / 5)
    assert count_affordable_steps(learner, 100) == int((0.97 * 100 - 2.0) / per_step) == 271


def test_more_time_is_more_steps(learner: Learner, caplog: pytest.LogCaptureFixture) -> None:
    """Ten times the time is about ten times the steps, on this machine at this moment; the message has the times."""
    caplog.set_level("INFO", logger="convscope")
    few, many = count_affordable_steps(learner, 20), count_affordable_steps(learner, 200)
    assert 3 * few < many < 30 * few
    message = next(record.getMessage() for record in caplog.records if record.name == budget.__name__)
    assert message.startswith(f"fits {few:,} steps ({few / 5:.1f} epochs) into 20 s: a step takes ")
    assert all(f"at {size} px" in message for size in (16, 24, 32))


def test_too_little_time_is_an_error_in_three_parts(learner: Learner) -> None:
    """It has the number of steps that fit, the time that is needed, and what to change."""
    with pytest.raises(RecipeError) as caught:
        count_affordable_steps(learner, 0.001)
    assert caught.value.found == "a budget of 0 s, in which 0 steps fit"
    assert "at least" in caught.value.expected
    assert "`budget`" in caught.value.fix


@pytest.mark.slow
def test_training_ends_in_its_time(shapes: Path, tmp_path: Path) -> None:
    """A budget becomes a number of steps that is saved, resumed with, and done in about that time."""
    started = time.monotonic()
    run = train(shapes, RECIPE.with_changes({"budget": 3}), out=tmp_path / "run")
    seconds = time.monotonic() - started
    recipe = run.recipe
    assert recipe.length.unit == "steps"
    assert recipe.length.amount > 3
    assert seconds < 60  # with timing and exporting; a busy machine may take its time
    last = run.history_file.read_text(encoding="utf-8").splitlines()[-1].split(",")
    assert int(last[1]) == recipe.length.amount
    assert 0.7 < float(last[2]) < 9  # of training
    assert resume_recipe(run, RECIPE.with_changes({"budget": 99})) == recipe


@pytest.mark.slow
def test_fine_tuning_gets_the_time_that_the_features_leave(dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    """Seconds that are left are steps; none, or too few for one, leave the head as it is. Timing changes no state."""
    learner = make_learner(
        dataset, Recipe(network=EFFICIENTNET, image_size=32, batch_size=8, validation=0.25, precision="float32")
    )
    assert learner.seconds > 0
    before = bits(learner.snapshot())
    assert count_affordable_steps(learner, 600) > count_affordable_steps(learner, 60) > 0
    caplog.set_level("INFO", logger="convscope")
    for seconds in (0.001, 0.0, -5.0):
        caplog.clear()
        assert count_affordable_steps(learner, seconds) == 0
        assert caplog.messages == [NO_TIME_LEFT]
    assert bits(learner.snapshot()) == before
