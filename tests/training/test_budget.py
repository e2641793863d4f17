"""training/budget.py: probing leaves no trace in the learner, and what it plans fits into the time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sample_images import write_folder

from convscope.errors import RecipeError
from convscope.networks.catalog import build_network, count_operations
from convscope.recipe.defaults import EFFICIENTNET
from convscope.recipe.recipe import Recipe
from convscope.training import budget
from convscope.training.budget import fit_into, probe, shrink_into, time_steps
from convscope.training.checkpoint import Checkpoint
from convscope.training.learner import Learner
from convscope.training.training import train

pytestmark = pytest.mark.tensorflow

RECIPE = Recipe(network="compact", image_size=32, filters=(4, 8, 8), batch_size=8, validation=0.25, seed=2)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 drawings of three shapes."""
    return write_folder(tmp_path_factory.mktemp("shapes"), per_class=16)


def bits(checkpoint: Checkpoint) -> object:
    """Everything in a state."""
    arrays = {name: (each.dtype, each.shape, each.tobytes()) for name, each in checkpoint.arrays.items()}
    return checkpoint.step, arrays, dict(checkpoint.facts)


@pytest.mark.parametrize("steps", [0, 3])
def test_probing_leaves_no_trace(shapes: Path, steps: int) -> None:
    """Before the first step or after some, all is as it was, and learning on ends in the same bits."""
    learner, other = (Learner(shapes, RECIPE.with_changes({"steps": 8})) for _ in range(2))
    learner.fit(steps=steps)
    other.fit(steps=steps)
    before = bits(learner.snapshot())
    step_seconds, judge_seconds = probe(learner)
    assert bits(learner.snapshot()) == before
    assert step_seconds.keys() == {16, 24, 32}
    assert min(step_seconds.values()) > 0
    assert judge_seconds > 0
    learner.fit(steps=8 - steps)
    other.fit(steps=8 - steps)
    after, expected = learner.snapshot(), other.snapshot()
    assert all((after.arrays[name] == array).all() for name, array in expected.arrays.items())


def test_timed_steps_are_counted_nowhere(shapes: Path) -> None:
    """Each has its own time, and none is one of the training's."""
    learner = Learner(shapes, RECIPE)
    seconds = time_steps(learner, size=16, count=3)
    assert len(seconds) == 3
    assert min(seconds) > 0
    assert (learner.step, learner.seconds, learner.history) == (0, 0.0, [])


def test_steps_and_judging_share_the_time(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: at 16 px a step takes 0.1 s and a fifth of its epoch's judging, 0.5 s, a quarter of that at 32 px;
    there it is 0.4 s and a fifth of 2.0 s. Of 100 s 97 are planned, with 2 of them for the judging at the end.
    """
    monkeypatch.setattr(budget, "probe", lambda _: ({16: 0.1, 32: 0.4}, 2.0))
    recipe = RECIPE.with_changes({"sizes": (0.5,), "size_shares": (0.75,)})
    learner = Learner(shapes, recipe)
    assert (learner.steps_per_epoch, learner.schedule.sizes) == (5, (16, 32))
    per_step = 0.75 * (0.1 + 0.5 / 5) + 0.25 * (0.4 + 2.0 / 5)
    assert fit_into(learner, 100) == int((0.97 * 100 - 2.0) / per_step) == 271


def test_more_time_holds_more_steps(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten times the time is about ten times the steps, on this machine at this hour; what was chosen is said."""
    learner = Learner(shapes, RECIPE)
    few, many = fit_into(learner, 20), fit_into(learner, 200)
    assert 3 * few < many < 30 * few
    said = capsys.readouterr().err
    assert f"{few:,} steps" in said
    assert all(f"at {size} px" in said for size in (16, 24, 32))


def test_too_little_time_is_an_error_in_three_parts(shapes: Path) -> None:
    """It says what fits, how much is needed, and what to do; with so much it works."""
    learner = Learner(shapes, RECIPE)
    with pytest.raises(RecipeError) as caught:
        fit_into(learner, 0.001)
    assert "a budget of" in caught.value.found
    assert "at least" in caught.value.expected
    assert "--budget" in caught.value.fix


@pytest.mark.slow
def test_training_ends_in_its_time(shapes: Path, tmp_path: Path) -> None:
    """`budget` becomes a number of steps that is saved, resumed with, and done in about that time."""
    started = time.monotonic()
    run = train(shapes, RECIPE.with_changes({"budget": 6}), out=tmp_path / "run")
    seconds = time.monotonic() - started
    recipe = run.recipe
    assert recipe.budget is None
    assert recipe.steps is not None
    assert recipe.steps > 3
    assert seconds < 60  # with probing and exporting; a busy machine may take its time
    rows = run.history_file.read_text(encoding="utf-8").splitlines()
    assert int(rows[-1].split(",")[1]) == recipe.steps
    assert 2 < float(rows[-1].split(",")[2]) < 18  # of training
    again = train(shapes, RECIPE.with_changes({"budget": 99}), out=tmp_path / "run", resume=True)
    assert again.recipe == recipe


def test_short_budgets_take_smaller_images(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the time holds hardly an epoch the size is halved, and said so; where it holds many, it stays."""
    short, long = (Recipe(network="compact", image_size=256, budget=seconds) for seconds in (1e-4, 1e9))
    small = shrink_into(short, 10_000)
    assert (small.image_size, small.sizes, small.budget) == (64, short.sizes, 1e-4)
    assert "taking 64 px (--no-shrink keeps it)" in " ".join(capsys.readouterr().err.split())
    assert shrink_into(long, 10_000).image_size == 256
    assert capsys.readouterr().err == ""
    kept = Recipe(network="compact", image_size=256, budget=1e-4, shrink=False)
    assert shrink_into(kept, 10_000).image_size == 256
    least = Recipe(network="compact", image_size=100, budget=1e-4)
    assert shrink_into(least, 10_000).image_size == 100  # half would be too small


@pytest.mark.parametrize(
    ("seconds", "size", "expected"), [(1e-4, 224, 96), (1e9, 224, 224), (1e-4, 96, 96), (1e-4, 64, 64), (1e-4, 130, 98)]
)
def test_short_budgets_shrink_what_is_pretrained_by_steps(
    capsys: pytest.CaptureFixture[str], seconds: float, size: int, expected: int
) -> None:
    """32 pixels at a time until the features leave time to learn from them, never below 96; what is done is said."""
    recipe = Recipe(network=EFFICIENTNET, image_size=size, budget=seconds)
    small = shrink_into(recipe, 10_000)
    assert (small.image_size, small.budget) == (expected, seconds)
    told = f"at {size} px: taking {expected} px (--no-shrink keeps it)"
    assert (told in " ".join(capsys.readouterr().err.split())) == (expected < size)
    assert shrink_into(recipe.with_changes({"shrink": False}), 10_000).image_size == size


def test_short_budgets_shrink_networks_that_take_one_size(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of Keras are built for the size that they get."""
    recipe = Recipe(network="keras:MobileNet", image_size=160, budget=1e-4)
    assert shrink_into(recipe, 10_000).image_size == 96
    assert "at 160 px: taking 96 px" in " ".join(capsys.readouterr().err.split())
    assert shrink_into(recipe.with_changes({"weights": "none"}), 10_000).image_size == 160  # it has no features


@pytest.mark.parametrize("size", [128, 192, 224])
def test_features_may_take_half_of_a_budget(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """The largest size is taken whose features fit into half of the time, at the pace that was measured."""
    monkeypatch.setattr(budget, "measure_operations", lambda _: 1e11)
    recipe = Recipe(network=EFFICIENTNET, precision="float32")
    operations = count_operations(build_network(recipe, 2, is_blank=True), size)
    seconds = 1000 * operations / (budget.DEPTHWISE_PACE * 1e11) / budget.FEATURES_SHARE
    for factor, expected in ((1.01, size), (0.99, size - 32)):
        assert shrink_into(recipe.with_changes({"budget": factor * seconds}), 1000).image_size == expected


@pytest.mark.slow
def test_budget_that_the_features_use_up_leaves_the_head(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No step is taken, the person hears why, and the run is a finished one that can be asked to go on."""
    recipe = Recipe(network=EFFICIENTNET, image_size=48, budget=0.01)
    run = train(shapes, recipe, out=tmp_path / "run")
    assert "no time left to fine-tune: the solved head is the model" in " ".join(capsys.readouterr().err.split())
    assert run.is_finished
    assert (run.recipe.steps, run.recipe.budget) == (0, None)
    rows = run.history_file.read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0"]
    assert train(shapes, recipe, out=tmp_path / "run", resume=True).recipe == run.recipe


@pytest.mark.slow
def test_what_the_features_leave_goes_into_fine_tuning(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Seconds that are left hold steps; none, or too few for one, leave the head as it is. Probing leaves no trace."""
    learner = Learner(shapes, Recipe(network=EFFICIENTNET, image_size=32, batch_size=8, validation=0.25))
    assert learner.seconds > 0
    before = bits(learner.snapshot())
    assert fit_into(learner, 600) > fit_into(learner, 60) > 0
    capsys.readouterr()
    for seconds in (0.001, 0.0, -5.0):
        assert fit_into(learner, seconds) == 0
        assert "no time left to fine-tune: the solved head is the model" in " ".join(capsys.readouterr().err.split())
    assert bits(learner.snapshot()) == before
