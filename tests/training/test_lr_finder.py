"""training/lr_finder.py: a short training at rising rates finds one that learns, and leaves a table and a figure."""

from __future__ import annotations

import csv
import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Command
from numpy.typing import NDArray

from convscope.datasets.digits import write_digits
from convscope.errors import RecipeError
from convscope.plotting.figures import to_png
from convscope.recipe.recipe import Recipe
from convscope.run import Run, new_run
from convscope.training.learner import Learner
from convscope.training.lr_finder import DIVERGED, Rates, find_rate, plot_rates, smooth, suggest, try_rates

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

RECIPE = Recipe(network="classic", image_size=16, channels=1, filters=(8, 16), dense_units=32, patience=0, seed=1)
FLAGS = (
    "--network",
    "classic",
    "--image-size",
    16,
    "--channels",
    1,
    "--filters",
    "8,16",
    "--dense-units",
    32,
    "--seed",
    1,
)
FILES = ["learning-rate.csv", "learning-rate.png"]
COMPACT = Recipe(network="compact", image_size=32, filters=(4, 8, 8), batch_size=8, validation=0.25, seed=2)
TINY = Recipe(network="classic", image_size=8, filters=(2,), dense_units=2, batch_size=32)
GRID = np.geomspace(1e-5, 1.0, 100)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,797 handwritten digits."""
    return write_digits(tmp_path_factory.mktemp("digits") / "digits")


@pytest.fixture(scope="module")
def rates(digits: Path) -> Rates:
    """The range test of the digits. Only to be read."""
    return try_rates(Learner(digits, RECIPE))


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
    """Losses that fall from 2.3 by `depth` around the rate 0.001, lie low at 0.01, and run away above, (100,)."""
    place = np.log10(GRID)
    losses = 2.3 - depth / (1 + np.exp(-6 * (place + 3))) + 0.3 * np.maximum(place + 2, 0) ** 2
    return losses + noise * np.random.default_rng(0).normal(size=len(GRID))


def bits(learner: Learner) -> dict[str, bytes]:
    """All arrays of a learner's state."""
    return {name: array.tobytes() for name, array in learner.snapshot().arrays.items()}


def test_suggested_rate_learns(rates: Rates, digits: Path) -> None:
    """It is of the right size, and two epochs at it beat those at a hundredth of it, and those at thirty times it."""
    assert rates.suggestion is not None
    assert 3e-4 < rates.suggestion < 2e-2
    losses = {}
    for factor in (0.01, 1, 30):
        learner = Learner(digits, RECIPE.with_changes({"learning_rate": factor * rates.suggestion}))
        learner.fit(epochs=2)
        losses[factor] = learner.evaluate()["loss"]
    assert losses[1] < 0.6 * losses[0.01]
    assert losses[1] < 0.6 * losses[30]


def test_rates_rise_evenly_from_next_to_nothing(rates: Rates) -> None:
    """Each is the same multiple of the one before, from 1e-5; there is one for each loss, and one smoothed for each."""
    ratios = rates.learning_rates[1:] / rates.learning_rates[:-1]
    assert rates.learning_rates[0] == pytest.approx(1e-5)
    assert ratios == pytest.approx(np.full(len(ratios), 1e5 ** (1 / 99)))
    assert rates.learning_rates.shape == rates.losses.shape == rates.smoothed.shape
    assert rates.losses[0] == pytest.approx(np.log(10), abs=0.2)  # ten classes, nothing learned
    assert np.isfinite(rates.losses).all()


class Scripted(Learner):
    """A learner whose losses are given; it keeps the image sizes that it is asked for."""

    losses: tuple[float, ...] = ()

    def steps_at(self, learning_rates: Any, *, size: int) -> Any:
        """The losses that are given."""
        self.size = size
        for _, loss in zip(learning_rates, self.losses, strict=False):
            yield loss


def test_divergence_ends_the_test(photos: Path) -> None:
    """The last smoothed loss is the first that is more than four times the lowest."""
    learner = Scripted(photos, TINY)
    learner.losses = tuple(2.0**number for number in range(-20, 80))
    rates = try_rates(learner)
    limits = DIVERGED * np.minimum.accumulate(rates.smoothed)
    assert 1 < len(rates.losses) < 20
    assert (rates.smoothed[:-1] <= limits[:-1]).all()
    assert rates.smoothed[-1] > limits[-1]


@pytest.mark.parametrize("losses", [(2.0, 1.9, float("nan"), 1.0), (2.0, 1.9, float("inf"), 1.0)])
def test_loss_that_is_no_number_ends_the_test(photos: Path, losses: tuple[float, ...]) -> None:
    """It is not kept; what came before is, and from two losses nothing is suggested."""
    learner = Scripted(photos, TINY)
    learner.losses = losses
    rates = try_rates(learner)
    assert rates.losses.tolist() == [2.0, 1.9]
    assert rates.suggestion is None
    assert to_png(plot_rates(rates, chosen=1e-4))
    learner.losses = losses[2:]
    nothing = try_rates(learner)
    assert nothing.suggestion is None
    assert to_png(plot_rates(nothing, chosen=1e-4))


def test_learner_is_put_back(photos: Path) -> None:
    """A learner stands where it stood, and learns on as if nothing had been, `compact` with its statistics too."""
    learner, other = (Learner(photos, COMPACT.with_changes({"steps": 6})) for _ in range(2))
    before = bits(learner)
    assert len(try_rates(learner).losses) > 20  # of 45 images in batches of 8: they are repeated
    assert bits(learner) == before
    assert (learner.step, learner.seconds, learner.history) == (0, 0.0, [])
    learner.fit(steps=3)
    other.fit(steps=3)
    assert bits(learner) == bits(other)


@pytest.mark.parametrize(("shares", "size"), [((0.52, 0.26), 16), ((0.2, 0.5), 24), ((0.1, 0.2), 32)])
def test_image_size_is_that_of_most_steps(photos: Path, shares: tuple[float, float], size: int) -> None:
    """`compact` grows its images: it is tested at the size that most of its steps have."""
    learner = Scripted(photos, COMPACT.with_changes({"size_shares": shares}))
    try_rates(learner)
    assert learner.size == size


def test_smoothing_is_corrected_for_its_start() -> None:
    """Equal losses stay what they are from the first on; a jump is taken up by a tenth, then less."""
    assert smooth(np.full(5, 2.0)) == pytest.approx(np.full(5, 2.0))
    after = smooth(np.array([1.0] * 50 + [2.0] * 2))[-2:]
    assert after == pytest.approx([1.1, 1.19], abs=0.002)
    assert smooth(np.empty(0)).shape == (0,)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_suggestion_is_a_share_of_the_rate_with_the_lowest_loss(noise: float) -> None:
    """A tenth to go on at, a third to peak at; noise moves it by less than half."""
    constant = suggest(GRID, valley(noise=noise), shape="constant")
    peak = suggest(GRID, valley(noise=noise), shape="one-cycle")
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
def test_nothing_learned_suggests_nothing(losses: NDArray[np.float64]) -> None:
    """Where the loss fell by no more than batches differ by, there is no rate to read off, and none is made up."""
    if len(losses) == 100 and losses[0] == losses[-1]:
        losses = losses + 0.01 * np.random.default_rng(0).normal(size=100)
    assert suggest(GRID[: len(losses)], losses, shape="constant") is None


def test_figure_says_what_it_shows(rates: Rates) -> None:
    """Both curves over a log axis with plain numbers, the suggestion by name, the recipe's rate, all in the legend."""
    figure = plot_rates(rates, chosen=0.002)
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
    assert to_png(figure) == to_png(plot_rates(rates, chosen=0.002))


@pytest.mark.usefixtures("here")
def test_command_line_finds_a_rate_and_says_how_to_use_it(cli: Command, digits: Path, tmp_path: Path) -> None:
    """The folder on standard output, with a table and a figure and nothing else; the command that is told, trains."""
    ended = cli("train", digits, *FLAGS, "--find-rate", "--out", tmp_path / "rate")
    assert (ended.code, ended.out) == (0, f"{tmp_path / 'rate'}\n")
    assert sorted(os.listdir(tmp_path / "rate")) == FILES
    rows = read(tmp_path / "rate" / "learning-rate.csv")
    assert list(rows[0]) == ["step", "learning_rate", "loss", "smoothed"]
    assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1))
    smoothed = smooth(np.array([float(row["loss"]) for row in rows]))
    assert [float(row["smoothed"]) for row in rows] == pytest.approx(smoothed.tolist())
    remark = ended.err.splitlines()[-1]
    assert "the recipe has 0.0001" in remark
    words = shlex.split(remark.partition("convscope ")[2])
    assert words[:2] == ["train", str(digits)]
    again = cli(*words, "--steps", 3, "--out", tmp_path / "run")
    assert again.code == 0
    recipe = Run(tmp_path / "run").recipe
    told = float(remark.partition("suggested learning rate ")[2].partition(",")[0])
    assert (recipe.learning_rate, recipe.steps, recipe.seed) == (told, 3, 1)
    assert (recipe.image_size, recipe.channels, recipe.filters, recipe.dense_units) == (16, 1, (8, 16), 32)


def test_no_rate_is_told_too(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing was learned, that is what is said; the table and the figure are there."""
    monkeypatch.setattr(Scripted, "losses", tuple(valley(noise=0.2, depth=0.1)))
    monkeypatch.setattr("convscope.training.lr_finder.Learner", Scripted)
    folder = find_rate(photos, TINY, out=tmp_path / "rate")
    assert sorted(os.listdir(folder)) == FILES
    assert "no learning rate stands out" in capsys.readouterr().err


def test_command_keeps_every_choice(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fields that are not the network's own come as flags: lists, switches off, and the cache too; no others do."""
    monkeypatch.setattr(Scripted, "losses", tuple(valley()))
    monkeypatch.setattr("convscope.training.lr_finder.Learner", Scripted)
    recipe = COMPACT.with_changes({"sizes": (), "size_shares": (), "flip": False})
    find_rate(photos, recipe, out=tmp_path / "rate", cache=tmp_path / "a cache")
    words = shlex.split(capsys.readouterr().err.splitlines()[-1].partition("convscope ")[2])
    assert words[:2] == ["train", str(photos)]
    for flag, value in {
        "--image-size": "32",
        "--filters": "4,8,8",
        "--validation": "0.25",
        "--batch-size": "8",
    }.items():
        assert words[words.index(flag) + 1] == value
    assert "--learning-rate" in words
    assert "--flip" not in words
    end = ["--no-flip", "--sizes", "", "--size-shares", "", "--seed", "2", "--cache", str(tmp_path / "a cache")]
    assert words[-len(end) :] == end


def test_short_budget_is_tried_at_the_size_that_it_trains_at(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train` would halve the images for so little time: so they are halved here."""
    sizes = []

    class Looked(Scripted):
        def __init__(self, data: Any, *words: Any, **more: Any) -> None:
            sizes.append(data.images.shape[1])
            super().__init__(data, *words, **more)

    monkeypatch.setattr(Scripted, "losses", tuple(valley()))
    monkeypatch.setattr("convscope.training.lr_finder.Learner", Looked)
    recipe = COMPACT.with_changes({"image_size": 128, "budget": 1e-4})
    find_rate(photos, recipe, out=tmp_path / "short")
    find_rate(photos, recipe.with_changes({"shrink": False}), out=tmp_path / "kept")
    assert sizes == [64, 128]
    assert "--precision" not in capsys.readouterr().err  # it was not said


def test_wrong_file_of_weights_is_told_first(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before images are decoded, as `train` does."""
    monkeypatch.setattr("convscope.training.lr_finder.open_dataset", None)
    recipe = Recipe(network="keras:MobileNet", weights=str(tmp_path / "gone.weights.h5"), image_size=32)
    with pytest.raises(RecipeError, match="no such file"):
        find_rate(photos, recipe, out=tmp_path / "rate")


def test_no_folder_is_taken_twice(photos: Path, here: Path) -> None:
    """Without --out it is the next number after all runs, and the next training takes the one after."""
    first = new_run(None, recipe=TINY, data=photos)
    second = find_rate(photos, TINY)
    assert (first.path, second) == (Path("runs/1"), Path("runs/2"))
    assert new_run(None, recipe=TINY, data=photos).path == Path("runs/3")
    assert sorted(os.listdir(here / "runs" / "2")) == FILES
    assert sorted(os.listdir(here / "runs" / "1")) == ["environment.json", "recipe.toml"]


@pytest.mark.parametrize(
    ("words", "found"),
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
def test_errors_have_three_parts(cli: Command, photos: Path, here: Path, words: list[str], found: str) -> None:
    """Exit code 2, found, expected and fix, nothing on standard output, and the run that is there stays as it was."""
    new_run(Path("run"), recipe=RECIPE, data=photos)
    before = {file.name: file.read_bytes() for file in Path("run").iterdir()}
    small = ["--network", "classic", "--image-size", 8, "--filters", "2", "--dense-units", 2]
    ended = cli("train", photos, "--find-rate", *small, *words)
    assert (ended.code, ended.out) == (2, ""), ended.err
    lines = ended.err.splitlines()[-3:]
    assert [line.partition(":")[0] for line in lines] == ["found", "expected", "fix"]
    assert found in lines[0]
    assert {file.name: file.read_bytes() for file in Path("run").iterdir()} == before
    assert sorted(os.listdir(here)) == ["run"]


@pytest.mark.parametrize("data", ["nothing", "empty"])
def test_data_that_cannot_be_learned_from_is_told(cli: Command, here: Path, data: str) -> None:
    """A path where nothing is, or a folder without images, ends in three lines."""
    (here / "empty").mkdir()
    ended = cli("train", here / data, "--find-rate")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines()[-3].startswith("found:")
    assert sorted(os.listdir(here)) == ["empty"]


class Stopped(Learner):
    """A learner whose person presses Ctrl-C in the fifth step."""

    def steps_at(self, learning_rates: Any, *, size: int) -> Iterator[float]:
        """The losses of the steps."""
        for number, loss in enumerate(super().steps_at(learning_rates, size=size), start=1):
            if number == 5:
                signal.raise_signal(signal.SIGINT)
            yield loss


def test_ctrl_c_leaves_nothing(cli: Command, photos: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test ends between two steps with exit code 130, and no file or folder is made; a learner is put back."""
    learner = Stopped(photos, TINY)
    before = bits(learner)
    with pytest.raises(KeyboardInterrupt):
        try_rates(learner)
    assert bits(learner) == before
    monkeypatch.setattr("convscope.training.lr_finder.Learner", Stopped)
    ended = cli("train", photos, "--find-rate", *FLAGS, "--out", here / "rate")
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.splitlines()[-1] == "stopped"
    assert os.listdir(here) == []
