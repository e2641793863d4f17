"""prediction/shards.py: the file beside a shard's table says what it is, and whether its bytes are still the same."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from convscope.errors import RunError
from convscope.prediction import shards
from convscope.prediction.provenance import Origin, Shard
from convscope.prediction.rows import Table
from convscope.prediction.shards import read_shard, sidecar_of, write_sidecar

ORIGIN = Origin(model="m", classes=("a", "b"), inputs="i", total=10, shard=Shard(2, 3), table=Table())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A shard's table with its sidecar."""
    path = tmp_path / "part2.csv"
    path.write_bytes(b"rows")
    write_sidecar(path, ORIGIN, unreadable=1)
    return path


def test_sidecar_says_what_the_table_is(table: Path) -> None:
    """Beside it, by its whole name, so that `a.csv` and `a.jsonl` have two."""
    assert sorted(os.listdir(table.parent)) == ["part2.csv", "part2.csv.json"]
    shard = read_shard(table)
    assert (shard.path, shard.origin, shard.unreadable) == (table, ORIGIN, 1)
    facts = json.loads(sidecar_of(table).read_text())
    assert {name: facts[name] for name in ("format", "first", "count", "unreadable")} == {
        "format": 1,
        "first": 3,
        "count": 3,
        "unreadable": 1,
    }


def test_another_file_is_not_written_over(table: Path) -> None:
    """What is there already may only be the same, as after a kill."""
    before = sidecar_of(table).read_bytes()
    origin = read_shard(table).origin
    write_sidecar(table, origin, unreadable=1)
    with pytest.raises(RunError, match=r"\.json exists already"):
        write_sidecar(table, origin, unreadable=2)
    assert sidecar_of(table).read_bytes() == before


def test_changed_table_is_seen(table: Path) -> None:
    """Every byte counts."""
    read_shard(table).check_intact()
    table.write_bytes(b"rowz")
    with pytest.raises(RunError, match="is not the table that was written"):
        read_shard(table).check_intact()


def test_table_without_sidecar_is_refused(table: Path) -> None:
    """It may be of anything."""
    sidecar_of(table).unlink()
    with pytest.raises(RunError, match=r"found: no .*part2\.csv\.json"):
        read_shard(table)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', "null", "[" * 100_000])
def test_damaged_sidecar_is_refused(table: Path, text: str) -> None:
    """Whatever stands in it."""
    sidecar_of(table).write_text(text)
    with pytest.raises(RunError, match="cannot be read"):
        read_shard(table)


def test_huge_sidecar_is_refused(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from another machine: nothing without end is read."""
    monkeypatch.setattr(shards, "MOST_BYTES", 100)
    with pytest.raises(RunError, match="cannot be read: over"):
        read_shard(table)
