"""The sidecar of a shard's table: a small JSON file with the table's provenance and the SHA-256 of its bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.errors import ConvscopeError, RunError
from convscope.files import explain_write_errors, hash_file, write_json
from convscope.prediction.provenance import Provenance

MAX_BYTES = 64 * 1024**2  # of a sidecar: with a hundred thousand classes it has a few


@dataclass(frozen=True, slots=True)
class ShardTable:
    """A shard's table.

    Attributes:
        path: the table.
        provenance: what it is made from.
        unreadable: how many of its inputs are unreadable.
        sha256: of the table's bytes when it was written.
    """

    path: Path
    provenance: Provenance
    unreadable: int
    sha256: str

    def check_intact(self) -> None:
        """Raise an error if the table has changed since it was written.

        Raises:
            RunError: it has changed, or cannot be read.
        """
        try:
            is_intact = hash_file(self.path) == self.sha256
        except OSError as error:
            raise RunError(
                found=f"{self.path} cannot be read: {error.strerror or error}",
                expected="a table and its JSON file in the same folder",
                fix=f"copy the table again, or predict shard {self.provenance.shard} again",
            ) from None
        if not is_intact:
            raise RunError(
                found=f"{self.path} has changed since it was written",
                expected=f"a file with the SHA-256 {self.sha256}",
                fix=f"copy it again, or predict shard {self.provenance.shard} again",
            )


def sidecar_of(table: Path) -> Path:
    """`part3.csv.json` for `part3.csv`."""
    return table.with_name(f"{table.name}.json")


def write_sidecar(table: Path, provenance: Provenance, *, unreadable: int) -> None:
    """Write the sidecar of a finished table.

    Raises:
        RunError: another file has its name, or it cannot be written.
    """
    sidecar = sidecar_of(table)
    with explain_write_errors(sidecar):
        facts = {
            "first": provenance.input_range.start,
            "count": provenance.count,
            "unreadable": unreadable,
            "sha256": hash_file(table),
        }
        write_json(sidecar, provenance.to_json() | facts, overwrite=False)


def read_shard(table: Path) -> ShardTable:
    """Read the sidecar of a shard's table; the table itself is not read.

    Raises:
        RunError: there is none, or it cannot be read.
    """
    sidecar = sidecar_of(table)
    try:
        facts = _read_json(sidecar)
        return ShardTable(table, Provenance.from_json(facts), int(facts["unreadable"]), str(facts["sha256"]))
    except FileNotFoundError:
        raise RunError(
            found=f"no {sidecar}",
            expected="the file that `convscope predict` writes beside the table of a shard",
            fix="finish that shard: `convscope predict` resumes it if it was begun; or copy the file too",
        ) from None
    except (OSError, KeyError, TypeError, ValueError, RecursionError, ConvscopeError) as error:
        raise RunError(
            found=f"{sidecar} cannot be read: {error}",
            expected="the file that `convscope predict` writes beside the table of a shard",
            fix="use the convscope that wrote it, or predict that shard again",
        ) from None


def _read_json(sidecar: Path) -> Any:
    if sidecar.stat().st_size > MAX_BYTES:
        raise ValueError(f"over {MAX_BYTES // 2**20} MB")
    return json.loads(sidecar.read_text(encoding="utf-8"))
