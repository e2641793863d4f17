"""training/dataset_summary.py: a data set as a table; no name in it can disturb a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from convscope.datasets.dataset import Dataset
from convscope.datasets.splits import Sample
from convscope.training.dataset_summary import describe_dataset

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


def make_dataset(
    samples: Sequence[Sample], *, empty: tuple[str, ...] = (), ignored: dict[str, int] | None = None
) -> Dataset:
    """A data set of these samples; its pixels do not matter."""
    classes = tuple(sorted({sample.label for sample in samples}))
    pixels = np.zeros((len(samples), 1, 1, 3), np.uint8)
    labels = np.zeros(len(samples), np.int32)
    return Dataset(Path("photos"), classes, tuple(samples), pixels, labels, ignored or {}, empty)


def sample(label: str, split: str = "train", reason: str = "", path: str = "a.png") -> Sample:
    """One image."""
    return Sample(path, label, split, "group", "0" * 64, reason)


def pretend_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Rich take standard error for a wide terminal with colours."""
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm-256color"), ("COLUMNS", "160")):
        monkeypatch.setenv(name, value)


def describe(dataset: Dataset) -> str:
    """The description of a data set, as lines."""
    return describe_dataset(dataset) + "\n"


def rows_of(text: str) -> list[list[str]]:
    """The words of each line of a table, without its frame."""
    return [[word for word in line.replace("│", " ").replace("┃", " ").split() if word] for line in text.splitlines()]


def test_table_has_classes_and_counts() -> None:
    """One row for each class with its images in each split, and their sums; empty splits have no column."""
    samples = (
        [sample("cat")] * 1200 + [sample("cat", "validation")] * 3 + [sample("dog")] * 5 + [sample("dog", "validation")]
    )
    rows = rows_of(describe(make_dataset(samples)))
    assert ["class", "train", "validation"] in rows
    assert ["cat", "1,200", "3"] in rows
    assert ["dog", "5", "1"] in rows
    assert ["all", "1,205", "4"] in rows


def test_refused_images_have_reasons() -> None:
    """They are counted by class and listed with their reasons; a long list ends with how many are left out."""
    samples = [sample("cat"), sample("cat", "validation"), sample("dog"), sample("dog", "validation")]
    samples += [sample("dog", "", "truncated", f"dog/{number}.jpg") for number in range(12)]
    text = describe(make_dataset(samples))
    rows = rows_of(text)
    assert ["dog", "1", "1", "12"] in rows
    assert ["dog/0.jpg", "truncated"] in rows
    assert ["dog/9.jpg", "truncated"] in rows
    assert "dog/10.jpg" not in text
    assert "2 more, all in data.csv" in text


def test_skipped_files_are_counted() -> None:
    """Empty folders, other files and classes without a validation image are named."""
    samples = [sample("cat"), sample("cat", "validation"), sample("dog")]
    text = describe(make_dataset(samples, empty=("bird",), ignored={".txt": 3, "file without a suffix": 1}))
    assert "no images in folder bird: not a class" in text
    assert "skipped 3 .txt, 1 file without a suffix" in text
    assert "class dog has no validation image" in text
    assert "class cat has" not in text


def test_near_duplicates_are_counted_in_one_line() -> None:
    """How many images in how many groups; copies of one file, and refused ones, are no near duplicates."""

    def like(group: str, sha256: str, split: str = "train", reason: str = "") -> Sample:
        return Sample("a.png", "cat", split, group, sha256, reason)

    copies = [like("a", "a1"), like("a", "a1"), like("b", "b1"), like("b", "b2", "", "nearly equal to b in test")]
    assert "near" not in describe(make_dataset([*copies[:3], sample("dog")]))
    assert "near duplicates" not in describe(make_dataset([*copies, sample("dog")]))
    pair = [like("c", "c1"), like("c", "c2")]
    assert "near duplicates: 2 images in 1 group, each in one split\n" in describe(make_dataset([*copies, *pair]))
    three = [like("d", f"d{n}", "validation") for n in range(3)]
    assert "near duplicates: 5 images in 2 groups, each in one split\n" in describe(make_dataset([*pair, *three]))
    crowd = [like("e", f"e{n}", "train" if n else "validation") for n in range(30)]
    text = describe(make_dataset([*pair, *crowd]))
    assert (
        "near duplicates: 2 images in 1 group, each in one split; 30 images that fill a class: split one by one\n"
        in text
    )


def test_near_duplicates_with_different_labels_are_named() -> None:
    """Both paths of a pair, one of which is in the wrong folder; of many pairs the first three."""

    def like(group: int, label: str, name: str) -> Sample:
        return Sample(f"{label}/{name}{group}.png", label, "train", f"group {group}", f"{label}{name}{group}", "")

    similar = [like(1, "cat", "a"), like(1, "cat", "b")]
    assert "different labels" not in describe(make_dataset(similar))
    wrong = [duplicate for group in range(2, 7) for duplicate in (like(group, "cat", "a"), like(group, "dog", "a"))]
    text = describe(make_dataset([*similar, *wrong[:2]]))
    assert "near duplicates with different labels: cat/a2.png and dog/a2.png\n" in text
    assert "more pair" not in text
    text = describe(make_dataset([*similar, *wrong]))
    assert text.count("with different labels: ") == 3
    assert "... and 2 more pairs: in data.csv the same group, another class\n" in text


def test_many_classes_are_shortened() -> None:
    """Of a thousand classes the first forty have a row, the rest are counted, and the sums hold for all."""
    samples = [sample(f"class{number:04d}") for number in range(1000)]
    rows = rows_of(describe(make_dataset(samples)).partition("class class0000 has no")[0])
    assert ["class0039", "1"] in rows
    assert ["class0040", "1"] not in rows
    assert ["...", "and", "960", "more", "classes"] in rows
    assert ["all", "1,000"] in rows


def test_long_names_are_complete() -> None:
    """Two names that differ in their last letter only can still be distinguished, on as many lines as it takes."""
    names = ["n" * 150 + last for last in "ab"]
    text = describe(make_dataset([sample(name) for name in names])).partition("has no validation image")[0]
    table = "".join(word for row in rows_of(text) for word in row)
    assert all(name in table.replace("1", "") for name in names)


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_spelled_out(monkeypatch: pytest.MonkeyPatch, name: str, is_terminal: bool) -> None:
    """Class names, file names, folders and suffixes have no effect on a terminal, on Rich or on a log."""
    samples = [sample(name), sample(name, "", f"because {name}", f"{name}.png"), sample("dog")]
    if is_terminal:
        pretend_terminal(monkeypatch)
    text = describe(make_dataset(samples, empty=(name,), ignored={name: 2}))
    text.encode("utf-8")
    assert "\x1b[2J" not in text
    assert "\x1b[31m" not in text
    assert not any(character in text for character in "\r\b\u202e")
    spelled = name if name.isprintable() else name.encode("unicode_escape", "surrogatepass").decode("ascii")
    assert text.count(spelled) >= 4  # the class, the empty folder, the suffix, and the class without a validation image
    assert ["class", "9,999"] not in rows_of(text)
