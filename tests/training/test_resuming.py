"""training/resuming.py: what would change the result of a run is refused, by both its values; the rest may change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convscope.datasets.dataset import write_samples
from convscope.datasets.splits import Sample
from convscope.errors import RunError
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import Length, resolve
from convscope.run import Run, new_run
from convscope.training.checkpoint import Checkpoint, save_checkpoint
from convscope.training.resuming import check_length, check_samples, load_last_checkpoint, resume_recipe

pytestmark = pytest.mark.tensorflow  # as all of the training room

CHOICES = Recipe(network="classic", image_size=16, filters=(4, 4), epochs=2, patience=9, seed=1)
RECIPE = resolve(CHOICES, precision="bfloat16")
SAMPLES = (
    Sample("disc/0.png", "disc", "train", "a", "a0", ""),
    Sample("ring/0.png", "ring", "validation", "b", "b0", ""),
    Sample("ring/1.png", "ring", "", "", "", "truncated"),
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has just been started."""
    run = new_run(tmp_path / "run", recipe=RECIPE, data=tmp_path)
    write_samples(run.data_file, SAMPLES)
    return run


@pytest.mark.parametrize("choices", [Recipe(), CHOICES, Recipe(network="auto", precision="auto"), Recipe(seed=1)])
def test_equal_or_open_choices_change_nothing(run: Run, choices: Recipe) -> None:
    """What is left open is as the run has it, and `auto` is what it was resolved to."""
    assert resume_recipe(run, choices) == RECIPE


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 9},
        {"batch_size": 8},
        {"learning_rate": 0.1},
        {"validation": 0.3},
        {"network": "compact"},
        {"image_size": 24},
        {"precision": "float32"},
        {"schedule": "one-cycle"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_choices_are_refused(run: Run, change: dict[str, Any]) -> None:
    """A choice that would change the result is named with both its values."""
    with pytest.raises(RunError) as caught:
        resume_recipe(run, Recipe(**change))
    ((name, value),) = change.items()
    assert caught.value.found == f"{name} = {value!r}, but {run.path} was started with {getattr(RECIPE, name)!r}"


def test_length_patience_and_licence_may_change(run: Run) -> None:
    """With a constant learning rate and one image size a training may be prolonged; the length in any unit."""
    changes = Recipe(epochs=5, patience=3, license="MIT")
    expected = replace(RECIPE, length=Length("epochs", 5), patience=3, license="MIT")
    assert resume_recipe(run, changes) == expected
    assert resume_recipe(run, Recipe(steps=7)).length == Length("steps", 7)


@pytest.mark.parametrize(
    "choices", [{"schedule": "one-cycle"}, {"network": "compact", "image_size": 64, "filters": (2, 2, 2)}]
)
def test_a_planned_length_stays(tmp_path: Path, choices: dict[str, Any]) -> None:
    """Where the learning rate or the image size follows the length, another length is refused; patience may change."""
    recipe = resolve(CHOICES.with_changes(choices))
    run = new_run(tmp_path / "run", recipe=recipe, data=tmp_path)
    for length in ({"epochs": 3}, {"steps": 2}):
        with pytest.raises(RunError, match="planned"):
            resume_recipe(run, Recipe(**length))
    assert resume_recipe(run, Recipe(epochs=2, patience=3)) == replace(recipe, patience=3)


def test_a_budget_is_spent_only_once(tmp_path: Path) -> None:
    """It became steps and an image size when the run started: given again, with the first size too, it is ignored."""
    recipe = replace(resolve(Recipe(network="compact", budget=600)).with_steps(123), image_size=64)
    run = new_run(tmp_path / "run", recipe=recipe, data=tmp_path)
    assert resume_recipe(run, Recipe(network="compact", budget=99, image_size=128)) == recipe
    with pytest.raises(RunError, match="image_size = 128"):
        resume_recipe(run, Recipe(image_size=128))


def test_a_run_cannot_end_before_where_it_is() -> None:
    """A length that it has passed is refused, with the one that it has; where it is, it may end."""
    checkpoint = Checkpoint(3, {}, {})
    check_length(checkpoint, num_steps=3)
    check_length(None, num_steps=1)
    with pytest.raises(RunError) as caught:
        check_length(checkpoint, num_steps=2)
    assert caught.value.found == "2 steps in all, where the run is at step 3 already"
    assert "`steps=3`" in caught.value.fix


@pytest.mark.parametrize(
    ("samples", "count"),
    [
        ((*SAMPLES, Sample("disc/added.png", "disc", "train", "c", "c0", "")), 1),
        (SAMPLES[1:], 1),
        ((replace(SAMPLES[0], sha256="a1"), *SAMPLES[1:]), 1),
        ((replace(SAMPLES[0], split="validation"), *SAMPLES[1:]), 1),
        ((replace(SAMPLES[0], path="ring/moved.png", label="ring"), *SAMPLES[1:]), 2),
    ],
    ids=["added", "removed", "repainted", "split", "moved"],
)
def test_other_images_are_refused(run: Run, samples: tuple[Sample, ...], count: int) -> None:
    """An image that was added, removed or changed, or its class or split, is counted and named."""
    check_samples(run, SAMPLES[::-1])
    with pytest.raises(RunError) as caught:
        check_samples(run, samples)
    assert caught.value.found.startswith(f"{count} images were changed, added or removed since the run started")
    assert "disc/" in caught.value.found


def test_a_run_that_was_killed_before_data_csv_has_no_images_to_compare(run: Run) -> None:
    """It gets those that there are now."""
    run.data_file.unlink()
    check_samples(run, SAMPLES[:1])


def test_damaged_checkpoints_are_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """In log.jsonl and as a message; the checkpoint before is used, and none is no error."""
    caplog.set_level("INFO", logger="convscope")
    assert load_last_checkpoint(run) is None
    save_checkpoint(run.checkpoints, Checkpoint(1, {"values": np.ones(3)}, {}))
    damaged = save_checkpoint(run.checkpoints, Checkpoint(2, {}, {}))
    (damaged / "facts.json").write_bytes(b"")
    checkpoint = load_last_checkpoint(run)
    assert checkpoint is not None
    assert checkpoint.step == 1
    assert f"checkpoint {damaged} is damaged" in caplog.messages[0]
    assert '"event": "damaged"' in run.log_file.read_text(encoding="utf-8")
