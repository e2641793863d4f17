"""prediction/shards.py: the sidecar of a shard's table has its provenance, and shows whether its bytes have changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from convscope.errors import RunError
from convscope.prediction import shards
from convscope.prediction.provenance import Provenance, Shard
from convscope.prediction.rows import Table
from convscope.prediction.shards import read_shard, sidecar_of, write_sidecar

PROVENANCE = Provenance(model="m", classes=("a", "b"), inputs="i", total=10, shard=Shard(2, 3), table=Table())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A shard's table with its sidecar."""
    path = tmp_path / "part2.csv"
    path.write_bytes(b"rows")
    write_sidecar(path, PROVENANCE, unreadable=1)
    return path


def test_sidecar_has_the_provenance(table: Path) -> None:
    """It is named after the table with its suffix, so that `a.csv` and `a.jsonl` have two sidecars."""
    assert sorted(os.listdir(table.parent)) == ["part2.csv", "part2.csv.json"]
    shard = read_shard(table)
    assert (shard.path, shard.provenance, shard.unreadable) == (table, PROVENANCE, 1)
    facts = json.loads(sidecar_of(table).read_text())
    assert {name: facts[name] for name in ("format", "first", "count", "unreadable")} == {
        "format": 1,
        "first": 3,
        "count": 3,
        "unreadable": 1,
    }


def test_existing_sidecar_is_never_replaced(table: Path) -> None:
    """One that is there may only be equal, as after a kill."""
    before = sidecar_of(table).read_bytes()
    provenance = read_shard(table).provenance
    write_sidecar(table, provenance, unreadable=1)
    with pytest.raises(RunError, match=r"\.json exists already"):
        write_sidecar(table, provenance, unreadable=2)
    assert sidecar_of(table).read_bytes() == before


def test_changed_table_is_detected(table: Path) -> None:
    """Also if only one byte has changed."""
    read_shard(table).check_intact()
    table.write_bytes(b"rowz")
    with pytest.raises(RunError, match="has changed since it was written"):
        read_shard(table).check_intact()


def test_table_without_sidecar_is_refused(table: Path) -> None:
    """Its provenance is unknown."""
    sidecar_of(table).unlink()
    with pytest.raises(RunError, match=r"found: no .*part2\.csv\.json"):
        read_shard(table)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', "null", "[" * 100_000])
def test_damaged_sidecar_is_refused(table: Path, text: str) -> None:
    """Whatever its content is."""
    sidecar_of(table).write_text(text)
    with pytest.raises(RunError, match="cannot be read"):
        read_shard(table)


def test_huge_sidecar_is_refused(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come from another machine: a file of any size is not read."""
    monkeypatch.setattr(shards, "MAX_BYTES", 100)
    with pytest.raises(RunError, match="cannot be read: over"):
        read_shard(table)
