"""What lies beside a shard's table: a small JSON file that says what the table is made of and what its bytes are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from convscope.errors import ConvscopeError, RunError
from convscope.files import hash_file, write_json
from convscope.prediction.provenance import Origin

MOST_BYTES = 64 * 1024**2  # of a sidecar: with a hundred thousand classes it has a few


@dataclass(frozen=True, slots=True)
class ShardTable:
    """A shard's table.

    Attributes:
        path: the table.
        origin: what it is made of.
        unreadable: how many of its inputs are.
        sha256: of the table's bytes.
    """

    path: Path
    origin: Origin
    unreadable: int
    sha256: str

    def check_intact(self) -> None:
        """Make sure that the table's bytes are those that were written.

        Raises:
            RunError: they are not.
        """
        if hash_file(self.path) != self.sha256:
            raise RunError(
                found=f"{self.path} is not the table that was written",
                expected=f"a file with the SHA-256 {self.sha256}",
                fix=f"copy it again, or predict shard {self.origin.shard} again",
            )


def sidecar_of(table: Path) -> Path:
    """`part3.csv.json` for `part3.csv`."""
    return table.with_name(f"{table.name}.json")


def write_sidecar(table: Path, origin: Origin, *, unreadable: int) -> None:
    """Write what `read_shard` reads, beside a table that is finished.

    Raises:
        RunError: another file is there.
    """
    facts = {"first": origin.stretch[0], "count": origin.count, "unreadable": unreadable, "sha256": hash_file(table)}
    write_json(sidecar_of(table), origin.to_json() | facts, overwrite=False)


def read_shard(table: Path) -> ShardTable:
    """What the file beside a shard's table says.

    Raises:
        RunError: there is none, or it cannot be read.
    """
    file = sidecar_of(table)
    if not file.is_file():
        raise RunError(
            found=f"no {file}",
            expected="the file that `convscope predict --shard` leaves beside each table",
            fix="finish that shard, with --resume where it was begun; or copy the file too",
        )
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError(f"over {MOST_BYTES // 2**20} MB")
        facts = json.loads(file.read_text(encoding="utf-8"))
        return ShardTable(table, Origin.from_json(facts), int(facts["unreadable"]), str(facts["sha256"]))
    except (OSError, KeyError, TypeError, ValueError, RecursionError, ConvscopeError) as error:
        raise RunError(
            found=f"{file} cannot be read: {error}",
            expected="what `convscope predict --shard` writes beside a table",
            fix="use the convscope that wrote it, or predict that shard again",
        ) from None
