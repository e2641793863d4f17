"""prediction/provenance.py: what a table is made from, and which inputs a shard has."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from convscope.errors import RecipeError
from convscope.prediction.provenance import Provenance, Shard
from convscope.prediction.rows import Table

PROVENANCE = Provenance(
    model="a" * 64, classes=("cat", "狗"), inputs="b" * 64, total=10, shard=Shard(2, 3), table=Table(top=1)
)


@pytest.mark.parametrize(("total", "count"), [(10, 3), (0, 2), (3, 16), (16, 16), (10_000_001, 7), (5, 1)])
def test_shards_cover_every_input_once(total: int, count: int) -> None:
    """One after the other, without a gap, from the first to the last; sizes differ by at most one."""
    ranges = [Shard(number, count).input_range(total) for number in range(1, count + 1)]
    assert ranges[0].start == 0
    assert ranges[-1].stop == total
    assert all(before.stop == after.start for before, after in itertools.pairwise(ranges))
    sizes = {*map(len, ranges)}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("number", "count"), [(0, 3), (4, 3), (-1, 3), (1, 0), (1, 100_001)])
def test_impossible_shard_is_refused(number: int, count: int) -> None:
    """Shards are counted from 1, and there are at most 100,000."""
    with pytest.raises(RecipeError, match="as in 3/16"):
        Shard(number, count)


def test_provenance_survives_json() -> None:
    """What is read equals what was written."""
    assert Provenance.from_json(json.loads(json.dumps(PROVENANCE.to_json()))) == PROVENANCE


@pytest.mark.parametrize("change", [{"format": 2}, {"classes": None}, {"shard": {"number": 9, "count": 3}}])
def test_other_json_is_refused(change: dict[str, object]) -> None:
    """JSON of another format, or damaged."""
    with pytest.raises((TypeError, ValueError, RecipeError)):
        Provenance.from_json(PROVENANCE.to_json() | change)


def test_table_begun_by_a_version_without_neighbours_is_resumed() -> None:
    """A missing choice has its default."""
    facts = PROVENANCE.to_json()
    del facts["table"]["neighbours"]
    assert Provenance.from_json(facts) == PROVENANCE


def test_differences_are_named() -> None:
    """By the names of the parameters; equal provenances have none."""
    assert PROVENANCE.differences(PROVENANCE) == []
    assert PROVENANCE.differences(replace(PROVENANCE, model="")) == ["the model"]
    assert PROVENANCE.differences(replace(PROVENANCE, inputs="")) == ["the images"]
    assert PROVENANCE.differences(replace(PROVENANCE, inputs="", total=1200)) == ["the images (10, not 1,200)"]
    assert PROVENANCE.differences(replace(PROVENANCE, shard=Shard())) == ["`shard` (2/3, not 1/1)"]
    assert PROVENANCE.differences(replace(PROVENANCE, table=Table(top=1, neighbours=5))) == ["`neighbours` (0, not 5)"]
    other = Table(format="jsonl", min_confidence=0.5)
    assert PROVENANCE.differences(replace(PROVENANCE, table=other)) == [
        *("`format` (csv, not jsonl)", "`top` (1, not 0)", "`min_confidence` (0.0, not 0.5)")
    ]


def test_input_range_of_a_table() -> None:
    """Which inputs it holds, and how many."""
    assert (PROVENANCE.input_range, PROVENANCE.count) == (range(3, 6), 3)
