"""The verb `predict`: files, folders and globs to one row of probabilities each, in order, on ONNX Runtime alone.

Every input has its row, an unreadable one too, and each row carries its own path. Nothing is there under the output's
name until everything is.
"""

from __future__ import annotations

import csv
import glob
import io
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from convscope.data.decoding import Decoded, decode_files
from convscope.data.folder import Walk
from convscope.deployment.bundle import Bundle, open_bundle
from convscope.errors import FolderError
from convscope.run import open_whole
from convscope.terminal import printable, progress, remarks

if TYPE_CHECKING:
    from numpy.typing import NDArray

Format = Literal["csv", "reference"]
COLUMNS = ("path", "label", "confidence", "status", "error")
BATCH_IMAGES = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one file: the probabilities (classes,) float32, or the reason why there are none."""

    path: str
    reason: str
    probabilities: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Predictions:
    """What `predict` did: how many inputs, how many unreadable, and where the table is (None: standard output)."""

    count: int
    unreadable: int
    out: Path | None


def predict(model: Path, images: Iterable[str], *, out: Path | None = None, format: Format = "csv") -> Predictions:
    """Classify images and write a table with one row for each input, in input order.

    Args:
        model: a run folder or a .onnx file.
        images: files, folders (searched in depth), globs, or `-` for a list of paths on standard input, one a line.
        out: the table; it appears whole or not at all. None: standard output.
        format: `csv` has path,label,confidence,status,error and a column for each class; `reference` a column for each
            class and the file's name without suffix as `id`.

    Raises:
        BundleError: the model cannot be used.
        FolderError: there is no input, or a folder stands where the table is to go.
    """
    bundle = open_bundle(model)
    paths = list(list_inputs(images))
    if not paths:
        raise FolderError(found="no images", expected="files, folders with images, or globs", fix="check the paths")
    if out is not None and out.is_dir():
        raise FolderError(
            found=f"{out} is a folder", expected="a file for the table", fix=f"try {out / 'predictions.csv'}"
        )
    if out is not None:
        with open_whole(out) as file:
            unreadable = _write(io.TextIOWrapper(file, "utf-8", "surrogateescape", newline=""), bundle, paths, format)
    else:
        unreadable = _write(sys.stdout, bundle, paths, format)
    return Predictions(len(paths), unreadable, out)


def answer_files(bundle: Bundle, paths: Sequence[str | Path]) -> Iterator[Answer]:
    """The model's answer to each file, in order; decoding runs on all cores beside the network, memory stays flat."""
    waiting: deque[tuple[str, Decoded]] = deque()
    decoded = decode_files(paths, bundle.square)
    for path, image in zip(paths, decoded, strict=True):
        waiting.append((os.fspath(path), image))
        if len(waiting) == BATCH_IMAGES:
            yield from _answer_batch(bundle, waiting)
    yield from _answer_batch(bundle, waiting)


def list_inputs(images: Iterable[str]) -> Iterator[str]:
    """The files that arguments name. A name that matches nothing stays as it is, and becomes an unreadable row.

    Raises:
        FolderError: a folder holds no image.
    """
    for name in images:
        if name == "-":
            yield from _list_stdin()
        elif os.path.isdir(name):
            yield from _list_folder(name)
        elif not os.path.lexists(name) and (matches := sorted(glob.glob(name, recursive=True))):
            yield from _list_matches(name, matches)
        else:
            yield name


def _list_stdin() -> list[str]:
    """One path a line, byte for byte: a name may hold every other sign that ends a line, or not be UTF-8."""
    lines = (line.removesuffix(b"\r") for line in sys.stdin.buffer.read().split(b"\n"))
    return [os.fsdecode(line) for line in lines if line]


def _list_matches(pattern: str, matches: Sequence[str]) -> Iterator[str]:
    """What a glob matches, as if a shell had spelled it out; `**` names what is in its folders itself."""
    for match in matches:
        if not os.path.isdir(match):
            yield match
        elif "**" not in pattern:
            yield from _list_folder(match)


def _list_folder(name: str) -> Iterator[str]:
    walk = Walk(Path(name))
    found = False
    for path in walk.files(label=""):
        found = True
        yield os.path.join(name, path)
    if walk.ignored:
        passed = ", ".join(f"{count:,} {printable(kind)}" for kind, count in sorted(walk.ignored.items()))
        told = f"{printable(name)}: passed over, since their names are not those of images: {passed}"
        remarks().print(told, markup=False)
    for item in walk.unreadable:
        found = True
        yield os.path.join(name, item.path)
    if not found:
        raise FolderError(found=f"no images in {name}", expected="a folder with images", fix="check the path")


def _answer_batch(bundle: Bundle, waiting: deque[tuple[str, Decoded]]) -> Iterator[Answer]:
    """Answer and empty the queue."""
    images = [decoded.image for _, decoded in waiting if decoded.image is not None]
    rows = iter(bundle.predict(np.stack(images))) if images else iter(())
    while waiting:
        path, decoded = waiting.popleft()
        yield Answer(path, decoded.reason, None if decoded.image is None else next(rows))


def _write(file: Any, bundle: Bundle, paths: list[str], format: Format) -> int:
    """Write the table; returns how many inputs were unreadable."""
    header, row_of = _table(bundle.classes, format)
    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)  # as `run.write_table` does
    plain.writerow(header)
    unreadable = 0
    with progress("predicting", len(paths), unit="images") as bar:
        for answer in answer_files(bundle, paths):
            unreadable += answer.probabilities is None
            (quoted if "\r" in answer.path else plain).writerow(row_of(answer))
            bar.advance()
    file.flush()
    if isinstance(file, io.TextIOWrapper) and file is not sys.stdout:
        file.detach()  # the file below is closed, and renamed, by the one who opened it
    return unreadable


def _table(classes: Sequence[str], format: Format) -> tuple[list[str], Callable[[Answer], list[str]]]:
    """The header of a format, and the function that makes its rows."""

    def scores(answer: Answer) -> list[str]:
        values = answer.probabilities
        return [""] * len(classes) if values is None else [f"{value:.6g}" for value in values.tolist()]

    def full(answer: Answer) -> list[str]:
        if answer.probabilities is None:
            return [answer.path, "", "", "unreadable", answer.reason, *scores(answer)]
        best = int(answer.probabilities.argmax())
        return [answer.path, classes[best], f"{answer.probabilities[best]:.6g}", "ok", "", *scores(answer)]

    def reference(answer: Answer) -> list[str]:
        return [*scores(answer), Path(answer.path).stem]

    if format == "reference":
        return [*classes, "id"], reference
    return [*COLUMNS, *classes], full
