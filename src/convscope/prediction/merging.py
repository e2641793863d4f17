"""The verb `merge`: joins the tables of all shards into one, byte for byte the table of a run without shards.

It is written only if every shard is there once, unchanged, and all have the same model, inputs and choices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from convscope.errors import RunError
from convscope.files import check_new, explain_write_errors, open_atomic
from convscope.prediction.prediction import PredictionSummary
from convscope.prediction.provenance import Shard
from convscope.prediction.shards import ShardTable, read_shard
from convscope.prediction.writers import open_writer

MAX_NAMED = 10  # missing shards in a message


def merge(tables: Iterable[Path], *, out: Path) -> PredictionSummary:
    """Join the tables of all shards, given in any order.

    Args:
        tables: what `predict(..., shard=...)` wrote, each with its JSON file beside it.
        out: the table of all inputs; it is written atomically.

    Returns: how many rows the table has, and how many of them are unreadable.

    Raises:
        RunError: a shard is missing, repeated, changed, or of another model, other inputs or other choices; or `out`
            exists, or cannot be written.
        MissingExtra: the tables are Parquet, and pyarrow is not installed.
    """
    shards = sorted(map(read_shard, map(Path, tables)), key=lambda shard: shard.provenance.shard.number)
    if not shards:
        raise RunError(found="no tables", expected="the tables of all shards", fix="name them")
    _check_out(out)
    _check_same_provenance(shards)
    _check_complete(shards)
    for shard in shards:
        shard.check_intact()
    provenance = shards[0].provenance
    writer = open_writer(provenance.table, provenance.classes)
    with explain_write_errors(out), open_atomic(out, overwrite=False) as file:
        writer.join(file, [shard.path for shard in shards])
    return PredictionSummary(provenance.total, sum(shard.unreadable for shard in shards), out)


def _check_out(out: Path) -> None:
    with explain_write_errors(out):
        if out.is_dir():
            raise RunError(found=f"{out} is a folder", expected="a file for the table", fix="choose another `out`")
        check_new(out)


def _check_same_provenance(shards: Sequence[ShardTable]) -> None:
    first = shards[0]
    for other in shards[1:]:
        shard, other_shard = first.provenance.shard, other.provenance.shard
        differences = first.provenance.differences(replace(other.provenance, shard=shard))
        if shard.count != other_shard.count:
            differences.append(f"the number of shards ({shard.count}, not {other_shard.count})")
        if differences:
            raise RunError(
                found=f"{first.path} and {other.path} differ in {', '.join(differences)}",
                expected="shards of one table",
                fix="leave out the one that does not belong, or predict it again with the same choices",
            )


def _check_complete(shards: Sequence[ShardTable]) -> None:
    """Raise an error unless each shard is there exactly once."""
    count = shards[0].provenance.shard.count
    by_number: dict[int, ShardTable] = {}
    for shard in shards:
        number = shard.provenance.shard.number
        if number in by_number:
            raise RunError(
                found=f"shard {shard.provenance.shard} twice: {by_number[number].path} and {shard.path}",
                expected="each shard once",
                fix="leave one out",
            )
        by_number[number] = shard
    if num_missing := count - len(by_number):
        missing = (str(Shard(number, count)) for number in range(1, count + 1) if number not in by_number)
        more = f" and {num_missing - MAX_NAMED:,} more" if num_missing > MAX_NAMED else ""
        raise RunError(
            found=f"{len(by_number)} of {count} shards; missing: {', '.join(islice(missing, MAX_NAMED))}{more}",
            expected="all shards",
            fix="name their tables too, or predict them first",
        )
