"""cli/options.py: arguments become values; an invalid one is refused, with examples."""

from __future__ import annotations

import dataclasses
import re

import pytest
import typer
from processes import Command

from convscope.cli.options import duration, number, numbers, shard_numbers, share
from convscope.recipe.recipe import Recipe


@pytest.mark.parametrize(
    ("text", "seconds"), [("25s", 25), ("10m", 600), ("1h", 3600), ("90", 90), ("1.5m", 90), ("0.5h", 1800)]
)
def test_times_have_units(text: str, seconds: float) -> None:
    """Seconds, minutes, hours; a plain number is seconds."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10mm", "1h30m", "ten minutes", "10 d", "s10"])
def test_other_texts_are_no_times(text: str) -> None:
    """The error has examples."""
    with pytest.raises(typer.BadParameter, match="10m, 25s or 1h"):
        duration(text)


def test_lists_of_numbers() -> None:
    """Separated by commas, of the type of the field; an empty word is an empty list."""
    assert numbers("32,32,64", kind=int) == (32, 32, 64)
    assert numbers("0.5,0.75", kind=float) == (0.5, 0.75)
    assert numbers("", kind=float) == ()
    assert number("5%") == 0.05
    with pytest.raises(typer.BadParameter):
        numbers("32,x", kind=int)
    with pytest.raises(typer.BadParameter):
        numbers("0.5", kind=int)


@pytest.mark.parametrize(("text", "value"), [("5%", 0.05), ("0", 0.0), ("1", 1.0), ("100%", 1.0), ("1e-3", 0.001)])
def test_shares_are_numbers_or_percentages(text: str, value: float) -> None:
    """From 0 to 1."""
    assert share(text) == value


@pytest.mark.parametrize("text", ["-1", "inf", "nan", "1e400", "2", "101%", "٠", "0_1", "", "%"])
def test_other_texts_are_no_shares(text: str) -> None:
    """Below 0, above 1, not finite, or not ASCII digits."""
    with pytest.raises(typer.BadParameter, match=r"such as 0\.05 or 5%"):
        share(text)


def test_shards_are_plain_numbers() -> None:
    """`3/16`, counted from 1."""
    assert shard_numbers("3/16") == (3, 16)


@pytest.mark.parametrize(
    "text", ["01/3", "1/03", "٣/٣", "0/3", "-1/3", "+1/3", " 1/3", "1/3\n", "1_0/20", "1", "1/" + "9" * 5000]
)
def test_other_texts_are_no_shards(text: str) -> None:
    """The error has an example."""
    with pytest.raises(typer.BadParameter, match="such as 3/16"):
        shard_numbers(text)


def test_share_of_unreadable_images_is_checked(cli: Command) -> None:
    """Before the model is opened."""
    assert "not a share" in cli("predict", "no model", "no.jpg", "--max-unreadable", "nan").err


def test_every_field_of_the_recipe_is_a_flag_with_its_defaults(cli: Command) -> None:
    """`train --help` has a flag for each field, with the default of each kind of network if they differ."""
    text = " ".join(cli("train", "--help").out.split())
    for field in dataclasses.fields(Recipe):
        assert f"--{field.name.replace('_', '-')}" in text
    assert re.search(r"\[default: classic, compact, \w+ none; pretrained imagenet\]", text)
    assert re.search(r"\[default: classic, pretrained, \w+ none; compact 0.5, 0.75\]", text)
    assert "[default: auto]" in text


@pytest.mark.parametrize(
    ("arguments", "description"),
    [
        (["--epochs", "3", "--budget", "10m"], "--epochs and --budget"),
        (["--network", "compact", "--filters", "8,8"], "filters = (8, 8)"),
        (["--network", "classic", "--sizes", "0.5", "--size-shares", "0.5"], "sizes = (0.5,)"),
        (["--budget", "inf"], "budget = inf"),
        (["--budget", "0"], "budget = 0.0"),
    ],
)
@pytest.mark.tensorflow
def test_invalid_choices_are_errors_in_three_lines(cli: Command, arguments: list[str], description: str) -> None:
    """Before any image is read."""
    result = cli("train", "no such folder", *arguments)
    assert (result.code, result.out) == (2, "")
    assert description in result.err.splitlines()[0]
    assert len(result.err.splitlines()) == 3
