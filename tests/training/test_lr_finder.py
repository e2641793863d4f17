"""training/lr_finder.py: steps at rising learning rates suggest one, and leave a table and a figure."""

from __future__ import annotations

import csv
import os
import shlex
import signal
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learners import bits, make_learner
from numpy.typing import NDArray
from processes import Command

from convscope.datasets.dataset import Dataset, open_dataset
from convscope.datasets.digits import write_digits
from convscope.errors import FolderError, RecipeError
from convscope.plotting.style import to_png
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import ResolvedRecipe, resolve
from convscope.run import new_run, open_run
from convscope.training.learner import Learner
from convscope.training.lr_finder import (
    DIVERGED,
    RangeTest,
    describe_range_test,
    find_rate,
    plot_range_test,
    run_range_test,
    smooth,
    suggest,
)
from convscope.training.plan import make_plan

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

RECIPE = Recipe(network="classic", image_size=16, channels=1, filters=(8, 16), dense_units=32, patience=0, seed=1)
FILES = ["learning-rate.csv", "learning-rate.png"]
COMPACT = Recipe(network="compact", image_size=32, filters=(4, 8, 8), batch_size=8, validation=0.25, seed=2)
TINY = Recipe(network="classic", image_size=32, filters=(2,), dense_units=2, batch_size=32)
GRID = np.geomspace(1e-5, 1.0, 100)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,797 handwritten digits."""
    return write_digits(tmp_path_factory.mktemp("digits") / "digits")


@pytest.fixture(scope="module")
def digit_data(digits: Path) -> Dataset:
    """The same, decoded."""
    return open_dataset(digits, resolve(RECIPE))


@pytest.fixture(scope="module")
def photo_data(photos: Path) -> Dataset:
    """60 drawings at 32 pixels."""
    return open_dataset(photos, resolve(COMPACT))


@pytest.fixture(scope="module")
def rates(digit_data: Dataset) -> RangeTest:
    """The range test of the digits. Only to be read."""
    return run_range_test(make_learner(digit_data, RECIPE))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, where `runs` would be made."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(file: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def valley(*, noise: float = 0.0, depth: float = 1.5) -> NDArray[np.float64]:
    """Losses that fall from 2.3 by `depth` around the rate 0.001, are lowest at 0.01, and diverge above, (100,)."""
    exponent = np.log10(GRID)
    losses = 2.3 - depth / (1 + np.exp(-6 * (exponent + 3))) + 0.3 * np.maximum(exponent + 2, 0) ** 2
    return losses + noise * np.random.default_rng(0).normal(size=len(GRID))


def test_suggested_rate_trains_best(rates: RangeTest, digit_data: Dataset) -> None:
    """It is of the right size, and two epochs at it beat those at a hundredth of it, and those at thirty times it."""
    assert rates.suggestion is not None
    assert 3e-4 < rates.suggestion < 2e-2
    losses = {}
    for factor in (0.01, 1, 30):
        learner = make_learner(digit_data, RECIPE.with_changes({"learning_rate": factor * rates.suggestion}))
        learner.fit(epochs=2)
        losses[factor] = learner.evaluate()["loss"]
    assert losses[1] < 0.6 * losses[0.01]
    assert losses[1] < 0.6 * losses[30]


def test_rates_rise_exponentially(rates: RangeTest) -> None:
    """Each is the same multiple of the one before, from 1e-5; there is one for each loss, and one smoothed for each."""
    ratios = rates.learning_rates[1:] / rates.learning_rates[:-1]
    assert rates.learning_rates[0] == pytest.approx(1e-5)
    assert ratios == pytest.approx(np.full(len(ratios), 1e5 ** (1 / 99)))
    assert rates.learning_rates.shape == rates.losses.shape == rates.smoothed.shape
    assert rates.losses[0] == pytest.approx(np.log(10), abs=0.2)  # ten classes, untrained
    assert np.isfinite(rates.losses).all()


class Scripted(Learner):
    """A learner whose losses are given, and which remembers the image size of its steps."""

    losses: tuple[float, ...] = ()

    def trial_steps(self, learning_rates: Any, *, size: int) -> Any:
        """The given losses."""
        self.size = size
        for _, loss in zip(learning_rates, self.losses, strict=False):
            yield loss


def scripted(dataset: Dataset, recipe: Recipe, losses: tuple[float, ...] = ()) -> Scripted:
    """A learner with these losses."""
    complete = resolve(recipe)
    learner = Scripted(dataset, complete, make_plan(complete, dataset))
    learner.losses = losses
    return learner


def test_divergence_ends_the_test(photo_data: Dataset) -> None:
    """The last smoothed loss is the first that is more than four times the lowest."""
    rates = run_range_test(scripted(photo_data, TINY, tuple(2.0**number for number in range(-20, 80))))
    limits = DIVERGED * np.minimum.accumulate(rates.smoothed)
    assert 1 < len(rates.losses) < 20
    assert (rates.smoothed[:-1] <= limits[:-1]).all()
    assert rates.smoothed[-1] > limits[-1]


@pytest.mark.parametrize("losses", [(2.0, 1.9, float("nan"), 1.0), (2.0, 1.9, float("inf"), 1.0)])
def test_a_loss_that_is_not_finite_ends_the_test(photo_data: Dataset, losses: tuple[float, ...]) -> None:
    """It is dropped; those before are kept, and from two losses nothing is suggested."""
    learner = scripted(photo_data, TINY, losses)
    rates = run_range_test(learner)
    assert rates.losses.tolist() == [2.0, 1.9]
    assert rates.suggestion is None
    assert to_png(plot_range_test(rates, chosen=1e-4))
    learner.losses = losses[2:]
    nothing = run_range_test(learner)
    assert nothing.suggestion is None
    assert to_png(plot_range_test(nothing, chosen=1e-4))


def test_the_state_is_restored(photo_data: Dataset) -> None:
    """Training continues from it as if nothing had been, with the statistics of `compact` too."""
    learner, other = (make_learner(photo_data, COMPACT.with_changes({"steps": 6})) for _ in range(2))
    before = bits(learner.snapshot())
    assert len(run_range_test(learner).losses) > 20  # of 45 images in batches of 8: they are repeated
    assert bits(learner.snapshot()) == before
    assert (learner.step, learner.seconds, learner.history) == (0, 0.0, [])
    learner.fit(steps=3)
    other.fit(steps=3)
    assert bits(learner.snapshot()) == bits(other.snapshot())


@pytest.mark.parametrize(("shares", "size"), [((0.52, 0.26), 16), ((0.2, 0.5), 24), ((0.1, 0.2), 32)])
def test_image_size_is_that_of_most_steps(photo_data: Dataset, shares: tuple[float, float], size: int) -> None:
    """With progressive resizing the test is at the size that most of the steps have."""
    learner = scripted(photo_data, COMPACT.with_changes({"size_shares": shares}))
    run_range_test(learner)
    assert learner.size == size


def test_smoothing_is_corrected_for_its_start() -> None:
    """Equal losses stay as they are from the first on; after a jump a tenth of it is added, then less."""
    assert smooth(np.full(5, 2.0)) == pytest.approx(np.full(5, 2.0))
    after = smooth(np.array([1.0] * 50 + [2.0] * 2))[-2:]
    assert after == pytest.approx([1.1, 1.19], abs=0.002)
    assert smooth(np.empty(0)).shape == (0,)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_suggestion_is_a_share_of_the_rate_with_the_lowest_loss(noise: float) -> None:
    """A tenth for a constant rate, a third for a peak; noise changes it by less than half."""
    constant = suggest(GRID, valley(noise=noise), schedule="constant")
    peak = suggest(GRID, valley(noise=noise), schedule="one-cycle")
    assert constant is not None
    assert peak is not None
    lowest = GRID[np.argmin(smooth(valley()))]
    assert lowest / 20 < constant < lowest / 5
    assert peak == pytest.approx(constant * 10 / 3)


@pytest.mark.parametrize(
    "losses",
    [valley(noise=0.2, depth=0.1), np.full(100, 2.3), np.linspace(1, 3, 100), np.ones(1), np.empty(0)],
    ids=["noise", "flat", "rising", "one step", "no step"],
)
def test_noisy_losses_suggest_nothing(losses: NDArray[np.float64]) -> None:
    """Where the loss fell by no more than batches differ by, there is no rate to read off."""
    if len(losses) == 100 and losses[0] == losses[-1]:
        losses = losses + 0.01 * np.random.default_rng(0).normal(size=100)
    assert suggest(GRID[: len(losses)], losses, schedule="constant") is None


def test_figure_is_labelled(rates: RangeTest) -> None:
    """Both curves over a log axis with plain numbers, the suggestion by name, the recipe's rate, all in the legend."""
    figure = plot_range_test(rates, chosen=0.002)
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_xlabel(), axes.get_ylabel()) == ("log", "learning rate", "loss")
    suggested = f"suggested: {rates.suggestion:.2g}"
    assert [text.get_text() for text in axes.texts] == [suggested]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "loss of the batch",
        "smoothed",
        "the recipe's: 0.002",
        suggested,
    ]
    assert "0.001" in {label.get_text() for label in axes.get_xticklabels()}
    thin, thick = axes.lines[:2]
    assert thin.get_linewidth() < thick.get_linewidth()
    assert thick.get_ydata() == pytest.approx(rates.smoothed)
    assert to_png(figure) == to_png(plot_range_test(rates, chosen=0.002))


def test_find_rate_writes_a_table_and_a_figure(
    digits: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, cache: Path
) -> None:
    """And nothing else, into the folder that it returns, with the choices that train with the suggestion."""
    caplog.set_level("INFO", logger="convscope")
    found = find_rate(digits, RECIPE, out=tmp_path / "rate", cache=cache)
    folder = found.folder
    assert folder == tmp_path / "rate"
    assert sorted(os.listdir(folder)) == FILES
    rows = read(folder / "learning-rate.csv")
    assert list(rows[0]) == ["step", "learning_rate", "loss", "smoothed"]
    assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1))
    smoothed = smooth(np.array([float(row["loss"]) for row in rows]))
    assert [float(row["smoothed"]) for row in rows] == pytest.approx(smoothed.tolist())
    suggestion = float(caplog.messages[-1].partition("suggested learning rate ")[2].partition(";")[0])
    assert caplog.messages[-1].endswith("; the recipe has 0.0001")
    assert found.choices == RECIPE.with_changes({"learning_rate": suggestion})
    assert suggestion > 1e-4


def test_command_line_prints_the_command_that_trains(
    cli: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder on standard output; the printed command has every choice, the network and the suggested rate."""

    class Valley(Scripted):
        losses = tuple(valley())

    monkeypatch.setattr("convscope.training.lr_finder.Learner", Valley)
    flags = ["--network", "compact", "--filters", "4,8,8", "--image-size", 32, "--sizes", "", "--size-shares", ""]
    flags += ["--no-flip", "--batch-size", 8, "--validation", 0.25, "--cache", tmp_path / "a cache"]
    ended = cli("train", photos, *flags, "--find-rate", "--out", tmp_path / "rate")
    assert (ended.code, ended.out) == (0, f"{tmp_path / 'rate'}\n")
    words = shlex.split(ended.err.splitlines()[-1].partition("to train with it: convscope ")[2])
    assert words[:2] == ["train", str(photos)]
    rate = words[words.index("--learning-rate") + 1]
    assert f"suggested learning rate {float(rate):.2g};" in ended.err
    again = cli(*words, "--steps", 3, "--out", tmp_path / "run")
    assert again.code == 0
    recipe = open_run(tmp_path / "run").recipe
    assert (recipe.learning_rate, recipe.network, recipe.filters, recipe.sizes) == (
        float(rate),
        "compact",
        (4, 8, 8),
        (),
    )
    assert (recipe.flip, recipe.batch_size, recipe.validation) == (False, 8, 0.25)


def test_a_message_without_a_suggestion(rates: RangeTest) -> None:
    """Losses that are too noisy are named as such, with what may help."""
    assert describe_range_test(replace(rates, suggestion=None), chosen=0.01) == (
        "the losses are too noisy to suggest a rate; the recipe has 0.01. A larger `batch_size` may show more"
    )


def test_a_short_budget_is_tested_at_the_size_that_it_trains_at(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train` would halve the images for so little time, and so does the test."""
    sizes = []

    class Observed(Scripted):
        losses = tuple(valley())

        def __init__(self, dataset: Dataset, recipe: ResolvedRecipe, *arguments: Any) -> None:
            sizes.append((dataset.images.shape[1], recipe.image_size))
            super().__init__(dataset, recipe, *arguments)

    monkeypatch.setattr("convscope.training.lr_finder.Learner", Observed)
    recipe = COMPACT.with_changes({"image_size": 128, "budget": 1e-4})
    find_rate(photos, recipe, out=tmp_path / "short")
    find_rate(photos, recipe.with_changes({"shrink": False}), out=tmp_path / "kept")
    assert sizes == [(64, 64), (128, 128)]


def test_a_wrong_file_of_weights_is_an_error_first(photos: Path, tmp_path: Path) -> None:
    """Before images are decoded, as by `train`."""
    recipe = Recipe(network="keras:MobileNet", weights=str(tmp_path / "gone.weights.h5"), image_size=32)
    with pytest.raises(RecipeError, match="no such file"):
        find_rate(photos, recipe, out=tmp_path / "rate", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_no_folder_is_used_twice(photos: Path, here: Path) -> None:
    """Without `out` it is the next number after all runs, and the next training gets the one after."""
    first = new_run(None, recipe=resolve(TINY), data=photos)
    second = find_rate(photos, TINY).folder
    assert (first.path, second) == (Path("runs/1"), Path("runs/2"))
    assert new_run(None, recipe=resolve(TINY), data=photos).path == Path("runs/3")
    assert sorted(os.listdir(here / "runs" / "2")) == FILES
    assert sorted(os.listdir(here / "runs" / "1")) == ["environment.json", "recipe.toml"]


@pytest.mark.parametrize(
    ("arguments", "description"),
    [
        (["--resume", "--out", "run"], "--find-rate with --resume"),
        (["--resume"], "--find-rate with --resume"),
        (["--tensorboard"], "--find-rate with --tensorboard"),
        (["--out", "run"], "run exists already"),
        (["--out", "run/recipe.toml"], "run/recipe.toml exists already"),
        (["--out", "run/recipe.toml/below"], "Not a directory"),
        (["--image-size", "0"], "image_size = 0"),
    ],
)
def test_errors_have_three_parts(
    cli: Command, photos: Path, here: Path, arguments: list[str], description: str
) -> None:
    """Exit code 2, found, expected and fix, nothing on standard output, and the run that is there stays as it was."""
    new_run(Path("run"), recipe=resolve(RECIPE), data=photos)
    before = {file.name: file.read_bytes() for file in Path("run").iterdir()}
    small = ["--network", "classic", "--image-size", 8, "--filters", "2", "--dense-units", 2]
    result = cli("train", photos, "--find-rate", *small, *arguments)
    assert (result.code, result.out) == (2, ""), result.err
    lines = result.err.splitlines()[-3:]
    assert [line.partition(":")[0] for line in lines] == ["found", "expected", "fix"]
    assert description in lines[0]
    assert {file.name: file.read_bytes() for file in Path("run").iterdir()} == before
    assert sorted(os.listdir(here)) == ["run"]


@pytest.mark.parametrize("data", ["nothing", "empty"])
def test_data_that_cannot_be_trained_on_is_an_error(here: Path, data: str) -> None:
    """A path where nothing is, or a folder without images; nothing is written."""
    (here / "empty").mkdir()
    with pytest.raises(FolderError):
        find_rate(here / data)
    assert sorted(os.listdir(here)) == ["empty"]


class Stopped(Learner):
    """A learner whose user presses Ctrl-C in the fifth step."""

    def trial_steps(self, learning_rates: Any, *, size: int) -> Generator[float, None, None]:
        """The losses of the steps."""
        for number, loss in enumerate(super().trial_steps(learning_rates, size=size), start=1):
            if number == 5:
                signal.raise_signal(signal.SIGINT)
            yield loss


def test_ctrl_c_writes_nothing(photo_data: Dataset, photos: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test ends between two steps, no file or folder is made, and the state of the learner is restored."""
    recipe = resolve(TINY)
    learner = Stopped(photo_data, recipe, make_plan(recipe, photo_data))
    before = bits(learner.snapshot())
    with pytest.raises(KeyboardInterrupt):
        run_range_test(learner)
    assert bits(learner.snapshot()) == before
    monkeypatch.setattr("convscope.training.lr_finder.Learner", Stopped)
    with pytest.raises(KeyboardInterrupt):
        find_rate(photos, TINY, out=here / "rate")
    assert os.listdir(here) == []
