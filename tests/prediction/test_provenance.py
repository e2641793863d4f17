"""prediction/provenance.py: what a table is made of, and which inputs a shard has."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from convscope.errors import RecipeError
from convscope.prediction.provenance import Origin, Shard
from convscope.prediction.rows import Table

ORIGIN = Origin(model="a" * 64, classes=("cat", "狗"), inputs="b" * 64, total=10, shard=Shard(2, 3), table=Table(top=1))


@pytest.mark.parametrize(("total", "count"), [(10, 3), (0, 2), (3, 16), (16, 16), (10_000_001, 7), (5, 1)])
def test_shards_cover_every_input_once(total: int, count: int) -> None:
    """One after the other, without a gap, from the first to the last; sizes differ by at most one."""
    stretches = [Shard(number, count).stretch(total) for number in range(1, count + 1)]
    assert stretches[0][0] == 0
    assert stretches[-1][1] == total
    assert all(one[1] == other[0] for one, other in itertools.pairwise(stretches))
    sizes = {last - first for first, last in stretches}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("number", "count"), [(0, 3), (4, 3), (-1, 3), (1, 0), (1, 100_001)])
def test_shard_that_cannot_be_is_refused(number: int, count: int) -> None:
    """They are counted from 1; and so many machines are not there."""
    with pytest.raises(RecipeError, match="as in 3/16"):
        Shard(number, count)


def test_origin_comes_back_from_json() -> None:
    """As it was."""
    assert Origin.from_json(json.loads(json.dumps(ORIGIN.to_json()))) == ORIGIN


@pytest.mark.parametrize("change", [{"format": 2}, {"classes": None}, {"shard": {"number": 9, "count": 3}}])
def test_other_json_is_refused(change: dict[str, object]) -> None:
    """Of another format, or damaged."""
    with pytest.raises((TypeError, ValueError, RecipeError)):
        Origin.from_json(ORIGIN.to_json() | change)


def test_table_that_was_begun_before_there_were_neighbours_goes_on() -> None:
    """What is not said is not asked for."""
    facts = ORIGIN.to_json()
    del facts["table"]["neighbours"]
    assert Origin.from_json(facts) == ORIGIN


def test_differences_are_named() -> None:
    """In the words of the command line; the same has none."""
    assert ORIGIN.differences(ORIGIN) == []
    assert ORIGIN.differences(replace(ORIGIN, model="")) == ["the model"]
    assert ORIGIN.differences(replace(ORIGIN, inputs="")) == ["the images"]
    assert ORIGIN.differences(replace(ORIGIN, inputs="", total=1200)) == ["the images (10, not 1,200)"]
    assert ORIGIN.differences(replace(ORIGIN, shard=Shard())) == ["--shard (2/3, not 1/1)"]
    assert ORIGIN.differences(replace(ORIGIN, table=Table(top=1, neighbours=5))) == ["--neighbours (0, not 5)"]
    other = Table(format="jsonl", min_confidence=0.5)
    assert ORIGIN.differences(replace(ORIGIN, table=other)) == [
        *("--format (csv, not jsonl)", "--top (1, not 0)", "--min-confidence (0.0, not 0.5)")
    ]


def test_stretch_of_the_table() -> None:
    """Which inputs it holds, and how many."""
    assert (ORIGIN.stretch, ORIGIN.count) == ((3, 6), 3)
