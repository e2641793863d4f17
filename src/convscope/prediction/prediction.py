"""The verb `predict`: files, folders and globs -> a table with one row for each input, in order. ONNX Runtime only.

Every input has its row, an unreadable one too. The table is written atomically; until then its rows are kept beside it
(`unfinished_table`), so that a run that was stopped or killed can be resumed.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from convscope.bundle.bundle import Bundle
from convscope.bundle.neighbours import open_neighbours
from convscope.errors import FolderError, Interrupted, RunError
from convscope.files import check_new, explain_write_errors, open_atomic
from convscope.formatting import plural
from convscope.prediction.inference import Prediction, Predictor, open_for_inference
from convscope.prediction.inputs import InputList, read_inputs, write_inputs
from convscope.prediction.provenance import Provenance, Shard
from convscope.prediction.rows import Table
from convscope.prediction.shards import read_shard, sidecar_of, write_sidecar
from convscope.prediction.unfinished_table import (
    Describe,
    UnfinishedTable,
    check_provenance,
    group_into_parts,
    has_unfinished_table,
    open_unfinished_table,
)
from convscope.prediction.writers import TextWriter, Writer, open_writer, text_writer
from convscope.progress import progress
from convscope.signals import stop_requests

logger = logging.getLogger(__name__)

MAX_PART_VALUES = 1_000_000  # values that are in memory before they are written as a part
VALUES_PER_ROW = 16  # besides the probabilities: the memory of a path and a row
VALUES_PER_NEIGHBOUR = 32


@dataclass(frozen=True, slots=True)
class PredictionSummary:
    """A table of predictions, in numbers.

    Attributes:
        count: how many rows it has.
        unreadable: how many of their inputs are unreadable.
        out: where it is; None: it went to standard output.
        already_complete: whether it was finished before, and nothing was done. Both counts are then 0 unless the table
            is a shard, whose JSON file has them.
    """

    count: int
    unreadable: int
    out: Path | None
    already_complete: bool = False


def predict(
    model: Path,
    images: Iterable[str] = (),
    *,
    out: Path | None = None,
    table: Table | None = None,
    shard: Shard | None = None,
    resume: bool = False,
) -> PredictionSummary:
    """Classify images and write a table with one row for each input, in input order.

    Args:
        model: a run folder or a .onnx file.
        images: files, folders (searched in depth), globs, or `-` for a list of paths on standard input, one per line.
            May be empty with `resume`: the list was saved when the table was begun.
        out: the path of the table; it is written atomically, and never replaces another file. None: standard output.
        table: the choices that shape its rows; None: CSV.
        shard: predict only this range of the inputs, and write a JSON file beside the table, for `merge`.
        resume: continue the unfinished table at `out`, or begin it if there is none; a finished table stays unchanged.

    Raises:
        BundleError: the model cannot be used, or has no training images to find neighbours among.
        FolderError: there is no input, or `out` is a folder.
        RecipeError: each row ranks more classes, or names more training images, than the model has.
        RunError: another file or an unfinished table is at `out`, or the table there has another model, other inputs or
            other choices; or `out` cannot be written, or standard input cannot be read.
        MissingExtra: the table is Parquet, and pyarrow is not installed.
        BrokenPipeError: the table goes to a pipe, and its reader has closed it.
        Interrupted: Ctrl-C or SIGTERM; the rows so far are saved.
    """
    table = table or Table()
    with explain_write_errors(out or "standard output"):
        _check_out(out, table, resume=resume, is_shard=shard is not None)
    predictor = _open_predictor(model, table)
    classes = predictor.bundle.classes
    if out is None or _is_special_file(out):
        return _stream_table(out, predictor, images, text_writer(table, classes))
    writer = open_writer(table, classes)
    describe = partial(_describe_table, predictor.bundle, table, shard or Shard())
    if not has_unfinished_table(out):
        if resume and out.is_file():
            return _keep_finished_table(out, images, describe, is_shard=shard is not None)
        _check_nothing_is_replaced(out, is_shard=shard is not None)
    with open_unfinished_table(out, images, describe, resume=resume) as unfinished:
        if not unfinished.is_complete():  # if it is, a kill may have come just after `out` was written
            check_new(out)
            with stop_requests() as is_stopped:
                _predict_missing_rows(unfinished, predictor, writer, is_stopped=is_stopped)
        if not unfinished.is_complete():
            arguments = {"model": model, "out": out, "table": table, "shard": shard, "resume": True}
            raise _interrupted(unfinished, resume=arguments)
        return _finish_table(unfinished, writer, out, is_shard=shard is not None)


def _check_out(out: Path | None, table: Table, *, resume: bool, is_shard: bool) -> None:
    """Raise the errors that `out` would cause at the end before the work begins."""
    if out is not None and out.is_dir():
        raise FolderError(
            found=f"{out} is a folder",
            expected="a file for the table",
            fix=f"try {out / f'predictions.{table.suffix}'}",
        )
    needs_file = {"`resume`": resume, "`shard`": is_shard, "`format='parquet'`": table.format == "parquet"}
    choice = next((name for name, is_chosen in needs_file.items() if is_chosen), None)
    if choice is not None and (out is None or _is_special_file(out)):
        raise RunError(
            found=f"{choice}, but the table goes to {out or 'standard output'}",
            expected="a file for the table",
            fix="name one with `out`",
        )


def _is_special_file(out: Path) -> bool:
    """Whether `out` is a pipe or a device, such as /dev/null, to which rows are written as they come."""
    return out.exists() and not out.is_file()


def _check_nothing_is_replaced(out: Path, *, is_shard: bool) -> None:
    """Raise an error if a file is where the table or its sidecar will be written."""
    check_new(out)
    if is_shard:
        check_new(sidecar_of(out))


def _open_predictor(model: Path, table: Table) -> Predictor:
    bundle = open_for_inference(model)
    if not table.neighbours:
        return Predictor(bundle=bundle, mirror=table.mirror)
    neighbours = open_neighbours(bundle)
    neighbours.check_count(table.neighbours)
    find_neighbours = partial(neighbours.nearest, count=table.neighbours)
    return Predictor(bundle=bundle, find_neighbours=find_neighbours, mirror=table.mirror)


def _describe_table(bundle: Bundle, table: Table, shard: Shard, inputs: InputList) -> Provenance:
    return Provenance(
        model=bundle.sha256,
        classes=bundle.classes,
        inputs=inputs.sha256,
        total=inputs.count,
        shard=shard,
        table=table,
    )


def _stream_table(
    out: Path | None, predictor: Predictor, images: Iterable[str], writer: TextWriter
) -> PredictionSummary:
    """Write rows as they come to standard output or a special file, where nothing can be resumed."""
    if out is None:
        return _write_rows(sys.stdout, predictor, images, writer, name="standard output")
    with explain_write_errors(out):
        file = out.open("w", encoding="utf-8", errors="surrogateescape", newline="")
    try:
        return _write_rows(file, predictor, images, writer, name=str(out))
    finally:
        with suppress(OSError):  # after a failed write it fails again; after `_write_rows` nothing is left to write
            file.close()


def _write_rows(
    file: TextIO, predictor: Predictor, images: Iterable[str], writer: TextWriter, *, name: str
) -> PredictionSummary:
    """Write a table to an open file, and flush it; `name` is that of the file in errors."""
    with tempfile.TemporaryFile() as saved_paths:
        with explain_write_errors(tempfile.gettempdir(), fix="free some space there, or set TMPDIR to another folder"):
            inputs = write_inputs(saved_paths, images)
            saved_paths.flush()
        positions = range(inputs.count)
        paths = read_inputs(saved_paths, positions)
        unreadable = 0
        with explain_write_errors(name):
            file.write(writer.header)
        with closing(_predict_range(predictor, paths, positions, total=inputs.count)) as batches:
            for predictions in batches:
                with explain_write_errors(name):
                    file.writelines(map(writer.line, predictions))
                unreadable += _count_unreadable(predictions)
    with explain_write_errors(name):
        file.flush()
    return PredictionSummary(inputs.count, unreadable, None)


def _keep_finished_table(out: Path, images: Iterable[str], describe: Describe, *, is_shard: bool) -> PredictionSummary:
    """Leave a finished table as it is; a shard's must have the requested provenance."""
    if not is_shard:
        return PredictionSummary(0, 0, out, already_complete=True)
    shard_table = read_shard(out)
    check_provenance(shard_table.provenance, images, describe, path=out)
    shard_table.check_intact()
    return PredictionSummary(shard_table.provenance.count, shard_table.unreadable, out, already_complete=True)


def _predict_missing_rows(
    unfinished: UnfinishedTable, predictor: Predictor, writer: Writer, *, is_stopped: Callable[[], bool]
) -> None:
    """Write the parts that are missing, until all are there or a stop is requested."""
    provenance = unfinished.provenance
    num_done = unfinished.num_done()
    if num_done:
        logger.info(f"resumed after {num_done:,} of {plural(provenance.count, 'image')}")
    missing = provenance.input_range[num_done:]
    num_values = len(provenance.classes) + VALUES_PER_ROW + VALUES_PER_NEIGHBOUR * provenance.table.neighbours
    with closing(_predict_range(predictor, unfinished.paths(missing), missing, total=provenance.total)) as batches:
        first = missing.start
        for rows in group_into_parts(batches, max_rows=MAX_PART_VALUES // num_values, is_stopped=is_stopped):
            unreadable = _count_unreadable(rows)
            unfinished.write_part(writer.encode(rows), first=first, count=len(rows), unreadable=unreadable)
            first += len(rows)
            if is_stopped():
                return


def _predict_range(
    predictor: Predictor, paths: Iterator[str], positions: range, *, total: int
) -> Generator[Sequence[Prediction]]:
    """The predictions for the inputs at `positions` of a list of `total`, batch by batch, with progress."""
    with (
        progress("predicting", len(positions), unit="images") as counter,
        closing(predictor.predict_batches(paths, first=positions.start, total=total)) as batches,
    ):
        for predictions in batches:
            counter.advance(len(predictions))
            yield predictions


def _interrupted(unfinished: UnfinishedTable, *, resume: Mapping[str, Any]) -> Interrupted:
    return Interrupted(
        position=f"after {unfinished.num_done():,} of {plural(unfinished.provenance.count, 'image')}",
        saved=f"their rows, in {unfinished.folder}",
        resume=resume,
    )


def _finish_table(unfinished: UnfinishedTable, writer: Writer, out: Path, *, is_shard: bool) -> PredictionSummary:
    """Join the parts into the table, write a shard's sidecar, and let the parts be removed."""
    parts = unfinished.parts()
    unreadable = sum(part.unreadable for part in parts)
    with (
        explain_write_errors(out, fix="check the permissions and the free space, then use `resume=True`"),
        open_atomic(out, overwrite=False) as file,
    ):
        writer.join(file, (part.path for part in parts))
    if is_shard:
        write_sidecar(out, unfinished.provenance, unreadable=unreadable)
    unfinished.mark_finished()
    return PredictionSummary(unfinished.provenance.count, unreadable, out)


def _count_unreadable(predictions: Iterable[Prediction]) -> int:
    return sum(prediction.probabilities is None for prediction in predictions)
