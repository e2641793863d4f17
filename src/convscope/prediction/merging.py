"""The verb `merge`: the tables of all shards to one, byte for byte that of a run that was not dealt to shards.

It is written only if every shard is there once, unchanged, and all are of the same model, inputs and choices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from convscope.errors import RunError
from convscope.files import check_new, open_atomic
from convscope.prediction.prediction import Predictions
from convscope.prediction.provenance import Shard
from convscope.prediction.shards import ShardTable, read_shard
from convscope.prediction.tables import open_writer

MOST_NAMED = 10  # missing shards in a message


def merge(tables: Iterable[Path], *, out: Path) -> Predictions:
    """Join the tables of all shards, given in any order.

    Args:
        tables: as `predict(..., shard=...)` left them, each with its JSON file beside it.
        out: the table of all inputs; it appears whole or not at all.

    Returns: how many rows, and how many of them are unreadable.

    Raises:
        RunError: a shard is missing, there twice, changed, or of another model, of other inputs or other choices; or
            a file is at `out`.
    """
    shards = sorted((read_shard(Path(table)) for table in tables), key=lambda shard: shard.origin.shard.number)
    if not shards:
        raise RunError(found="no tables", expected="the tables of all shards", fix="name them")
    _check_out(out)
    _check_same(shards)
    _check_complete(shards)
    for shard in shards:
        shard.check_intact()
    origin = shards[0].origin
    with open_atomic(out, overwrite=False) as file:
        open_writer(origin.table, origin.classes).join(file, [shard.path for shard in shards])
    return Predictions(origin.total, sum(shard.unreadable for shard in shards), out)


def _check_out(out: Path) -> None:
    if out.is_dir():
        raise RunError(found=f"{out} is a folder", expected="a file for the table", fix="choose another --out")
    check_new(out)


def _check_same(shards: Sequence[ShardTable]) -> None:
    one = shards[0]
    for other in shards[1:]:
        ours, theirs = one.origin.shard, other.origin.shard
        found = one.origin.differences(replace(other.origin, shard=ours))
        if ours.count != theirs.count:
            found.append(f"the number of shards ({ours.count}, not {theirs.count})")
        if found:
            raise RunError(
                found=f"{one.path} and {other.path} differ in {', '.join(found)}",
                expected="shards of one table",
                fix="leave out what does not belong, or predict it again with the same choices",
            )


def _check_complete(shards: Sequence[ShardTable]) -> None:
    """Each shard is there, and once."""
    count = shards[0].origin.shard.count
    found: dict[int, ShardTable] = {}
    for shard in shards:
        number = shard.origin.shard.number
        if number in found:
            raise RunError(
                found=f"shard {shard.origin.shard} twice: {found[number].path} and {shard.path}",
                expected="each shard once",
                fix="leave one out",
            )
        found[number] = shard
    if num_missing := count - len(found):
        missing = (str(Shard(number, count)) for number in range(1, count + 1) if number not in found)
        more = f" and {num_missing - MOST_NAMED:,} more" if num_missing > MOST_NAMED else ""
        raise RunError(
            found=f"{len(found)} of {count} shards; missing: {', '.join(islice(missing, MOST_NAMED))}{more}",
            expected="all of them",
            fix="name their tables too, or predict them first",
        )
