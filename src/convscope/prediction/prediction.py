"""The verb `predict`: files, folders and globs to one row of probabilities each, in order, on ONNX Runtime alone.

Every input has its row, an unreadable one too, and each row carries its own path. Nothing is there under the output's
name until everything is; what is done lies beside it, so that a run that was stopped or killed can be gone on with.
"""

from __future__ import annotations

import logging
import shlex
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO, TypeAlias

from convscope.bundle.bundle import Bundle
from convscope.bundle.neighbours import neighbours_of
from convscope.environment import program_name
from convscope.errors import FolderError, Interrupted, RunError
from convscope.files import check_new, open_atomic
from convscope.formatting import plural
from convscope.prediction.inference import Answer, Nearest, answer_batches, open_for_answering
from convscope.prediction.inputs import InputList, read_inputs, write_inputs
from convscope.prediction.parts import Parts, check_same, gather, is_begun, open_parts
from convscope.prediction.provenance import Origin, Shard
from convscope.prediction.rows import Table
from convscope.prediction.shards import read_shard, sidecar_of, write_sidecar
from convscope.prediction.tables import TextWriter, Writer, open_writer, text_writer
from convscope.progress import progress
from convscope.signals import stop_requests

logger = logging.getLogger(__name__)

WAITING_VALUES = 1_000_000  # numbers that wait in memory to become a part
VALUES_OF_A_ROW = 16  # besides the probabilities: what a path and a row cost
VALUES_OF_A_NEIGHBOUR = 32

Ask: TypeAlias = Callable[..., Generator[list[Answer]]]  # (paths, first=, total=) -> answers, as `answer_batches`


@dataclass(frozen=True, slots=True)
class Predictions:
    """What was done.

    Attributes:
        count: how many rows.
        unreadable: how many of their inputs are.
        out: where the table is; None: standard output.
        was_there: whether the table was finished before, and nothing done. Where it is no shard, nothing says what it
            is made of then, and both counts are 0.
    """

    count: int
    unreadable: int
    out: Path | None
    was_there: bool = False


def predict(
    model: Path,
    images: Iterable[str] = (),
    *,
    out: Path | None = None,
    table: Table | None = None,
    shard: Shard | None = None,
    resume: bool = False,
) -> Predictions:
    """Classify images and write a table with one row for each input, in input order.

    Args:
        model: a run folder or a .onnx file.
        images: files, folders (searched in depth), globs, or `-` for a list of paths on standard input, one a line.
            With `resume` none need to be named: they are those that the table was begun with.
        out: the table; it appears whole or not at all, and never in place of another file. None: standard output.
        table: how its rows are shaped; None: CSV.
        shard: only this stretch of the inputs; a JSON file beside the table then says which, for `merge`.
        resume: go on with the table that was begun at `out`, or begin it where there is none yet; a finished one stays
            as it is.

    Raises:
        BundleError: the model cannot be used, or carries no training images where neighbours are asked for.
        FolderError: there is no input, or a folder stands where the table is to go.
        RecipeError: the table cannot be shaped so.
        RunError: a file or an unfinished table stands in the way, or is made of something else than what is asked for.
        Interrupted: Ctrl-C or SIGTERM; what is done is kept.
    """
    table, shard_or_all = table or Table(), shard or Shard()
    _check_out(out, table, in_parts=resume or shard is not None)
    bundle = open_for_answering(model)
    ask = partial(answer_batches, bundle, nearest=_open_neighbours(bundle, table), mirror=table.mirror)
    if out is None:
        return _stream(sys.stdout, ask, images, text_writer(table, bundle.classes))
    if out.exists() and not out.is_file():  # a pipe, or /dev/null
        with out.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            return _stream(file, ask, images, text_writer(table, bundle.classes))

    def origin_of(inputs: InputList) -> Origin:
        return Origin(
            model=bundle.sha256,
            classes=bundle.classes,
            inputs=inputs.sha256,
            total=inputs.count,
            shard=shard_or_all,
            table=table,
        )

    writer = open_writer(table, bundle.classes)
    if not is_begun(out):
        if resume and out.is_file():
            return _leave(out, images, origin_of, shard)
        check_new(out)
        if shard is not None:
            check_new(sidecar_of(out))
    with open_parts(out, images, origin_of, resume=resume) as parts:
        if not parts.is_complete:  # else a kill may have come just after the table
            check_new(out)
        _fill(parts, ask, writer, again=command_to_resume(model, out, table=table, shard=shard))
        return _finish(parts, writer, out, in_shards=shard is not None)


def _open_neighbours(bundle: Bundle, table: Table) -> Nearest | None:
    """What finds as many neighbours as each row names; None where it names none."""
    if not table.neighbours:
        return None
    neighbours = neighbours_of(bundle)
    neighbours.check_count(table.neighbours)
    return partial(neighbours.nearest, count=table.neighbours)


def _check_out(out: Path | None, table: Table, *, in_parts: bool) -> None:
    """Refuse now what would be refused when the work is done."""
    if out is not None and out.is_dir():
        raise FolderError(
            found=f"{out} is a folder",
            expected="a file for the table",
            fix=f"try {out / f'predictions.{table.suffix}'}",
        )
    if (out is None or (out.exists() and not out.is_file())) and (in_parts or table.format == "parquet"):
        what = "--resume or --shard" if in_parts else "--format parquet"
        raise RunError(
            found=f"{what}, but the table goes to {out or 'standard output'}",
            expected="a file for the table",
            fix="say which with --out",
        )


def _leave(
    out: Path, images: Iterable[str], origin_of: Callable[[InputList], Origin], shard: Shard | None
) -> Predictions:
    """Leave a finished table as it is; a shard's says what it is made of, and must be what is asked for."""
    if shard is None:
        return Predictions(0, 0, out, was_there=True)
    found = read_shard(out)
    check_same(found.origin, images, origin_of, place=out)
    found.check_intact()
    return Predictions(found.origin.count, found.unreadable, out, was_there=True)


def _stream(file: TextIO, ask: Ask, images: Iterable[str], writer: TextWriter) -> Predictions:
    """Write rows as they come, to where nothing can be gone on with."""
    with tempfile.TemporaryFile() as listed:
        inputs = write_inputs(listed, images)
        paths = read_inputs(listed, 0, inputs.count)
        file.write(writer.header)
        unreadable = 0
        for answers in _answer(ask, paths, first=0, count=inputs.count, total=inputs.count):
            file.writelines(map(writer.line, answers))
            unreadable += _count_unreadable(answers)
    file.flush()
    return Predictions(inputs.count, unreadable, None)


def _fill(parts: Parts, ask: Ask, writer: Writer, *, again: str) -> None:
    """Predict what is not done yet; `again` is the command that goes on after a stop."""
    origin = parts.origin
    done = sum(part.count for part in parts.done())
    first, last = origin.stretch[0] + done, origin.stretch[1]
    if done:
        logger.info(f"going on after {done:,} of {plural(origin.count, 'image')}")
    paths = parts.paths(first, last)
    batches = _answer(ask, paths, first=first, count=last - first, total=origin.total)
    values = len(origin.classes) + VALUES_OF_A_ROW + VALUES_OF_A_NEIGHBOUR * origin.table.neighbours
    with stop_requests() as is_stopped, closing(batches):
        for answers in gather(batches, most=WAITING_VALUES // values, is_stopped=is_stopped):
            unreadable = _count_unreadable(answers)
            parts.keep(writer.encode(answers), first=first, count=len(answers), unreadable=unreadable)
            first += len(answers)
            if is_stopped() and first < last:
                raise Interrupted(
                    found=f"after {first - origin.stretch[0]:,} of {plural(origin.count, 'image')}",
                    expected=f"their rows, in {parts.folder}",
                    fix=again,
                )


def _answer(ask: Ask, paths: Iterator[str], *, first: int, count: int, total: int) -> Generator[Sequence[Answer]]:
    """The answers to `count` files, batch by batch, with progress."""
    with (
        progress("predicting", count, unit="images") as bar,
        closing(ask(paths, first=first, total=total)) as batches,
    ):
        for answers in batches:
            bar.advance(len(answers))
            yield answers


def _finish(parts: Parts, writer: Writer, out: Path, *, in_shards: bool) -> Predictions:
    """Write the table, and beside a shard's what it is; its parts are none of an unfinished one any more."""
    unreadable = sum(part.unreadable for part in parts.done())
    with open_atomic(out, overwrite=False) as whole:
        writer.join(whole, (part.path for part in parts.done()))
    if in_shards:
        write_sidecar(out, parts.origin, unreadable=unreadable)
    parts.finish()
    return Predictions(parts.origin.count, unreadable, out)


def _count_unreadable(answers: Iterable[Answer]) -> int:
    return sum(answer.probabilities is None for answer in answers)


def command_to_resume(model: Path, out: Path, *, table: Table, shard: Shard | None) -> str:
    """The command that goes on with a table; without the images, since they are known and a piped list is gone."""
    words = ["predict", str(model), "--out", str(out), "--resume"]
    words += ["--format", table.format] if table.format != "csv" else []
    words += ["--top", str(table.top)] if table.top else []
    words += ["--min-confidence", repr(table.min_confidence)] if table.min_confidence else []
    words += ["--neighbours", str(table.neighbours)] if table.neighbours else []
    words += ["--mirror"] if table.mirror else []
    words += [] if shard is None else ["--shard", str(shard)]
    return f"{program_name()} {shlex.join(words)}"
