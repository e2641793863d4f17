"""training/progress.py: the data as a table and each epoch as a line; no name can disturb a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from convscope.datasets.dataset import Dataset
from convscope.datasets.splits import Sample
from convscope.training.progress import Display, Epoch, tell_dataset

Told = Callable[[Dataset], str]
HOSTILE = (
    "\x1b[2J\x1b[31mred",  # clears the screen, changes the colour
    "[bold]bold[/bold]",  # markup of Rich
    "[/]",  # markup that closes nothing: an error, were it read as markup
    "a\nclass  9,999",  # forges a row
    "back\rspace\b",
    "\u202egnp.tac",  # turns the direction of writing
    "\udcff",  # no text at all
    ":smile:",
)
ROW = Epoch(
    epoch=2,
    step=1234,
    seconds=5.0,
    loss=0.61234,
    accuracy=0.6789,
    val_loss=0.54321,
    val_accuracy=0.7123,
    learning_rate=1e-4,
)


def make_dataset(
    samples: Sequence[Sample], *, empty: tuple[str, ...] = (), ignored: dict[str, int] | None = None
) -> Dataset:
    """A data set of these samples; its pixels do not matter."""
    classes = tuple(sorted({sample.label for sample in samples}))
    blank = np.zeros((len(samples), 1, 1, 3), np.uint8)
    labels = np.zeros(len(samples), np.int32)
    return Dataset(Path("photos"), classes, tuple(samples), blank, labels, ignored or {}, empty)


def sample(label: str, split: str = "train", reason: str = "", path: str = "a.png") -> Sample:
    """One image."""
    return Sample(path, label, split, "group", "0" * 64, reason)


def be_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Rich take standard error for a wide terminal with colours."""
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm-256color"), ("COLUMNS", "160")):
        monkeypatch.setenv(name, value)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """What is printed of a data set; nothing of it goes to standard output."""

    def tell(dataset: Dataset) -> str:
        tell_dataset(dataset)
        out, err = capsys.readouterr()
        assert out == ""
        return err

    return tell


def rows_of(text: str) -> list[list[str]]:
    """The words of each line of a table, without its frame."""
    return [[word for word in line.replace("│", " ").replace("┃", " ").split() if word] for line in text.splitlines()]


def test_classes_and_counts_are_told(told: Told) -> None:
    """One row for each class with its images in each split, and their sums; splits that nobody has take no column."""
    samples = (
        [sample("cat")] * 1200 + [sample("cat", "validation")] * 3 + [sample("dog")] * 5 + [sample("dog", "validation")]
    )
    rows = rows_of(told(make_dataset(samples)))
    assert ["class", "train", "validation"] in rows
    assert ["cat", "1,200", "3"] in rows
    assert ["dog", "5", "1"] in rows
    assert ["all", "1,205", "4"] in rows


def test_refusals_are_told_with_reasons(told: Told) -> None:
    """What was refused is counted by class and listed with its reason; a long list says how much is left out."""
    samples = [sample("cat"), sample("cat", "validation"), sample("dog"), sample("dog", "validation")]
    samples += [sample("dog", "", "truncated", f"dog/{number}.jpg") for number in range(12)]
    text = told(make_dataset(samples))
    rows = rows_of(text)
    assert ["dog", "1", "1", "12"] in rows
    assert ["dog/0.jpg", "truncated"] in rows
    assert ["dog/9.jpg", "truncated"] in rows
    assert "dog/10.jpg" not in text
    assert "2 more, all in data.csv" in text


def test_what_was_passed_over_is_told(told: Told) -> None:
    """Empty folders, other files and classes that nothing can be validated with are named."""
    samples = [sample("cat"), sample("cat", "validation"), sample("dog")]
    text = told(make_dataset(samples, empty=("bird",), ignored={".txt": 3, "file without a suffix": 1}))
    assert "no images in folder bird: it is no class" in text
    assert "passed over: 3 .txt, 1 file without a suffix" in text
    assert "class dog has no image to validate with" in text
    assert "class cat has" not in text


def test_near_duplicates_are_counted_in_one_line(told: Told) -> None:
    """How many images in how many groups; copies of one file, and refused ones, are no near duplicates."""

    def like(group: str, sha256: str, split: str = "train", reason: str = "") -> Sample:
        return Sample("a.png", "cat", split, group, sha256, reason)

    copies = [like("a", "a1"), like("a", "a1"), like("b", "b1"), like("b", "b2", "", "nearly equal to b in test")]
    assert "near" not in told(make_dataset([*copies[:3], sample("dog")]))
    assert "near duplicates" not in told(make_dataset([*copies, sample("dog")]))
    pair = [like("c", "c1"), like("c", "c2")]
    assert "near duplicates: 2 images in 1 group, each in one split\n" in told(make_dataset([*copies, *pair]))
    three = [like("d", f"d{n}", "validation") for n in range(3)]
    assert "near duplicates: 5 images in 2 groups, each in one split\n" in told(make_dataset([*pair, *three]))
    crowd = [like("e", f"e{n}", "train" if n else "validation") for n in range(30)]
    text = told(make_dataset([*pair, *crowd]))
    assert (
        "near duplicates: 2 images in 1 group, each in one split; 30 images that fill a class: dealt one by one\n"
        in text
    )


def test_near_duplicates_with_different_labels_are_named(told: Told) -> None:
    """Both paths of a pair, one of which is in the wrong folder; of many pairs the first three."""

    def like(place: int, label: str, name: str) -> Sample:
        return Sample(f"{label}/{name}{place}.png", label, "train", f"group {place}", f"{label}{name}{place}", "")

    alike = [like(1, "cat", "a"), like(1, "cat", "b")]
    assert "different labels" not in told(make_dataset(alike))
    wrong = [each for place in range(2, 7) for each in (like(place, "cat", "a"), like(place, "dog", "a"))]
    text = told(make_dataset([*alike, *wrong[:2]]))
    assert "nearly equal, with different labels: cat/a2.png and dog/a2.png\n" in text
    assert "more pair" not in text
    text = told(make_dataset([*alike, *wrong]))
    assert text.count("with different labels: ") == 3
    assert "... and 2 more pairs: in data.csv the same group, another class\n" in text


def test_many_classes_are_shortened(told: Told) -> None:
    """Of a thousand classes the first forty have a row, the rest are counted, and the sums hold for all."""
    samples = [sample(f"class{number:04d}") for number in range(1000)]
    rows = rows_of(told(make_dataset(samples)).partition("class class0000 has no")[0])
    assert ["class0039", "1"] in rows
    assert ["class0040", "1"] not in rows
    assert ["...", "and", "960", "more", "classes"] in rows
    assert ["all", "1,000"] in rows


def test_long_names_are_whole(told: Told) -> None:
    """Two names that differ in their last letter only are still told apart, on as many lines as it takes."""
    names = ["n" * 150 + last for last in "ab"]
    text = told(make_dataset([sample(name) for name in names])).partition("has no image")[0]
    table = "".join(word for row in rows_of(text) for word in row)
    assert all(name in table.replace("1", "") for name in names)


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_spelled_out(
    told: Told, monkeypatch: pytest.MonkeyPatch, name: str, is_terminal: bool
) -> None:
    """In class names, file names, folders and suffixes nothing acts: not on a terminal, not on Rich, not on a log."""
    samples = [sample(name), sample(name, "", f"because {name}", f"{name}.png"), sample("dog")]
    if is_terminal:
        be_a_terminal(monkeypatch)
    text = told(make_dataset(samples, empty=(name,), ignored={name: 2}))
    text.encode("utf-8")
    assert "\x1b[2J" not in text
    assert "\x1b[31m" not in text
    assert not any(character in text for character in "\r\b\u202e")
    spelled = name if name.isprintable() else name.encode("unicode_escape", "surrogatepass").decode("ascii")
    assert text.count(spelled) >= 4  # the class, the empty folder, the suffix, and what cannot be validated with
    assert ["class", "9,999"] not in rows_of(text)


def test_history_has_the_columns_of_keras() -> None:
    """An epoch's fields are the columns of history.csv, under the names that Keras uses."""
    assert [field.name for field in fields(Epoch)] == [
        "epoch",
        "step",
        "seconds",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "learning_rate",
    ]


def test_epoch_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no terminal, an epoch is one line with what the reference prints and the time left."""
    with Display(total_steps=2468, steps_per_epoch=617, batch_size=32, done=0) as display:
        display.show(3, 0.7, 0.5)
        display.keep(ROW)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert "\r" not in err
    assert err.startswith("epoch 2/4: training loss 0.6123, accuracy 67.9%; validation loss 0.5432, accuracy 71.2%; ")
    assert err.endswith(" left\n")


def test_long_epochs_have_a_plain_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no terminal, a step is shown half a minute after the last one, not before."""
    display = Display(total_steps=200, steps_per_epoch=100, batch_size=10, done=50)
    with display:
        display.show(60, 0.7, 0.5)
        assert not display.is_due()
        assert capsys.readouterr().err == ""
        display.started -= 50
        display.shown -= 50
        assert display.is_due()
        display.show(100, 0.25, 0.5)
    line = capsys.readouterr().err
    # 50 steps of 10 images in 50 seconds, and 100 steps to go
    assert line == "step 100 of 200  loss 0.250  accuracy 50.0%  10 images/s  1 min 40 s left\n"


def test_time_left_knows_that_larger_images_take_longer(capsys: pytest.CaptureFixture[str]) -> None:
    """Half of the steps done in 50 seconds, the other half four times as much work: 200 seconds left, not 50."""
    display = Display(
        total_steps=100, steps_per_epoch=50, batch_size=10, done=0, work=lambda step: step + 3 * max(step - 50, 0)
    )
    with display:
        display.started -= 50
        display.shown -= 50
        display.show(50, 0.25, 0.5)
    assert capsys.readouterr().err.endswith("3 min 20 s left\n")


def test_terminal_shows_a_live_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the current step is shown in place, and the epochs' lines stay."""
    be_a_terminal(monkeypatch)
    with Display(total_steps=2468, steps_per_epoch=617, batch_size=32, done=0) as display:
        display.show(700, 0.654, 0.5)
        assert display.live is not None
        display.live.refresh()
        display.keep(ROW)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 2, step 700/2,468" in err
    assert "loss 0.654" in err
    assert "training loss 0.6123" in err
    assert "\x1b[?25h" in err  # the cursor is given back
