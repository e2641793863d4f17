"""The commands: read the words, call one verb, print its answer. Flags of `train` are the fields of the recipe."""

from __future__ import annotations

import gc
import io
import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import convscope
from convscope.cli.display import error_console
from convscope.cli.errors import UNREADABLE, Commands
from convscope.cli.options import (
    CacheOption,
    MirrorOption,
    ModelArgument,
    RunArgument,
    UnreadableOption,
    duration,
    number,
    shard_numbers,
    with_recipe_flags,
)
from convscope.errors import RunError
from convscope.formatting import plural
from convscope.networks.garbage_collection import without_collecting

if TYPE_CHECKING:
    from convscope.prediction.prediction import Predictions

app = typer.Typer(
    name="convscope",
    cls=Commands,
    help="From a folder of images to a convolutional classifier that you can train, trust, see inside of, and ship.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: it fits 80 columns, and brackets stay brackets
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cache_app = typer.Typer(
    help="List or clear the decoded images that training keeps.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(cache_app, name="cache")


@app.command()
@with_recipe_flags
def train(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="the images: one folder per class, or a CSV manifest", show_default=False),
    ],
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="the run folder [default: the next free runs/N]")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="a recipe in TOML; flags go over it")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out, exactly")] = False,
    find_rate: Annotated[
        bool, typer.Option("--find-rate", help="train nothing: try ever higher learning rates and suggest one")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="stop if a single image is refused")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="also write a log for TensorBoard")] = False,
    cache: CacheOption = None,
    changes: dict[str, Any],
) -> None:
    """Learn the classes of a folder of images."""
    from convscope.datasets.listing import check_there
    from convscope.run import base_recipe

    if find_rate and (resume or tensorboard):
        other = "--resume" if resume else "--tensorboard"
        raise RunError(
            found=f"--find-rate with {other}",
            expected="one of them, since --find-rate trains nothing",
            fix="leave one out",
        )
    if strict:
        changes["max_refused"] = 0.0
    chosen = base_recipe(recipe, out=out, resume=resume).with_changes(changes)
    check_there(data)  # a slip is told now, not after TensorFlow's five seconds

    if find_rate:
        with loading_for_good():
            from convscope.training import lr_finder as rates

        print(rates.find_rate(data, chosen, out=out, cache=cache))
        return

    with loading_for_good():
        from convscope.training.training import train

    print(train(data, chosen, out=out, resume=resume, cache=cache, tensorboard=tensorboard).path)


@app.command()
def evaluate(
    run: ModelArgument,
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="a labelled folder [default: the run's own held-out images]")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="metrics.json on standard output, and nothing else")] = False,
    split: Annotated[
        Literal["train", "validation", "test"] | None, typer.Option(help="which images to judge by")
    ] = None,
    mirror: MirrorOption = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="where the results go")] = None,
) -> None:
    """Judge a model: accuracy with its interval, each class, mistakes."""
    from convscope.evaluation.evaluation import describe, evaluate

    evaluation = evaluate(run, data, split=split, mirror=mirror, out=out)
    print(json.dumps(evaluation.metrics.to_json(), ensure_ascii=False) if as_json else describe(evaluation))


@app.command()
def explain(
    run: RunArgument,
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="[IMAGE]...", help="images to look at [default: held-out ones]")
    ] = None,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="where the figures and report.html go [default: the run]")
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="the class of the heat maps [default: the predicted]"),
    ] = None,
    input_channel: Annotated[
        int, typer.Option("--channel", min=0, help="the input channel that filters are drawn for")
    ] = 0,
) -> None:
    """Show what the network sees, as PNG files and in report.html."""
    from convscope.explanation.explanation import explain

    print(explain(run, images or (), out=out, class_name=class_name, input_channel=input_channel))


@app.command()
def predict(
    run: ModelArgument,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGES", help="files, folders, globs, or - for a list on standard input", show_default=False
        ),
    ] = None,
    *,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="the table [default: standard output]")] = None,
    format: Annotated[
        Literal["csv", "jsonl", "parquet", "reference"],
        typer.Option(help="`reference`: a column for each class, and id"),
    ] = "csv",
    top: Annotated[int, typer.Option(min=0, metavar="N", help="also rank the N best classes of each image")] = 0,
    min_confidence: Annotated[
        float,
        typer.Option(parser=number, metavar="NUMBER", help="below it an image gets no label, and the status `unsure`"),
    ] = 0.0,
    neighbours: Annotated[
        int, typer.Option(min=0, metavar="N", help="also name the N training images that each image is most like")
    ] = 0,
    mirror: MirrorOption = False,
    shard: Annotated[
        Any,  # typing it would load what `predict` needs
        typer.Option(parser=shard_numbers, metavar="N/M", help="only the Nth of M parts; `merge` joins their tables"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with the unfinished table at --out; needs no IMAGES")
    ] = False,
    max_unreadable: UnreadableOption = 0.05,
) -> None:
    """Classify images: one row for each, in order. Needs no TensorFlow."""
    if not images and not resume:
        raise typer.BadParameter("Missing argument 'IMAGES...'; only --resume needs none")
    from convscope.prediction.prediction import predict
    from convscope.prediction.provenance import Shard
    from convscope.prediction.rows import Table

    table = Table(format=format, top=top, min_confidence=min_confidence, neighbours=neighbours, mirror=mirror)
    part = None if shard is None else Shard(*shard)
    _tell_predictions(predict(run, images or (), out=out, table=table, shard=part, resume=resume), max_unreadable)


@app.command()
def merge(
    tables: Annotated[
        list[Path], typer.Argument(metavar="PART...", help="the tables of all shards", show_default=False)
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="the table of all images", show_default=False)],
    max_unreadable: UnreadableOption = 0.05,
) -> None:
    """Join the tables of `predict --shard`, if none is missing or double."""
    from convscope.prediction.merging import merge

    _tell_predictions(merge(tables, out=out), max_unreadable)


def _tell_predictions(done: Predictions, max_unreadable: float) -> None:
    """Say what is in a table of predictions, and end with 3 where more is unreadable than is allowed."""
    if done.unreadable:
        error_console().print(f"{done.unreadable:,} of {plural(done.count, 'image')} unreadable: their rows say why")
    if done.was_there:
        error_console().print(f"{done.out} was there already, and stays; to predict anew, move it away")
    elif done.out is not None:
        error_console().print(f"{plural(done.count, 'row')} in {done.out}")
    if done.unreadable > max_unreadable * done.count:
        raise typer.Exit(UNREADABLE)


@app.command()
def verify(
    model: ModelArgument,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="the figures as JSON on standard output")] = False,
) -> None:
    """Say whether a model answers here as it did where it was written."""
    from convscope.bundle.verification import verify

    found = verify(model)
    print(json.dumps(found.to_json()) if as_json else found.describe())
    found.check()


@app.command()
def export(
    run: RunArgument,
    *,
    to: Annotated[
        Literal["onnx-int8", "litert", "litert-int8", "savedmodel"], typer.Option(help="the format", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="where it goes [default: exports/FORMAT in the run]")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="write it also where it loses more than 0.5 points of accuracy")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="the figures as JSON on standard output")] = False,
    cache: CacheOption = None,
) -> None:
    """Write a model in another format, and say how its answers differ."""
    from convscope.exporting.exporting import export

    done = export(run, to=to, out=out, force=force, cache=cache)
    print(json.dumps(done.to_json()) if as_json else done.describe())


@app.command()
def serve(
    model: ModelArgument,
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="whoever reaches it may use the model")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free")] = 8000,
    queue: Annotated[int, typer.Option(min=1, metavar="N", help="images that may wait; more are refused")] = 256,
    deadline: Annotated[
        Any, typer.Option(parser=duration, metavar="TIME", help="for an answer [default: 10s]", show_default=False)
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="clients need this key [default: $CONVSCOPE_API_KEY, or none]")
    ] = None,
    cors_origin: Annotated[
        str | None, typer.Option(metavar="ORIGIN", help="whose pages may ask, such as https://example.org")
    ] = None,
) -> None:
    """Answer over HTTP, with a page to try it at. Needs no TensorFlow."""
    from convscope.serving.service import DEADLINE_SECONDS, ServiceSettings
    from convscope.serving.serving import read_key, serve

    settings = ServiceSettings(
        queue=queue,
        deadline=DEADLINE_SECONDS if deadline is None else deadline,
        api_key=read_key(api_key_file),
        cors_origin=cors_origin,
    )
    serve(model, host=host, port=port, settings=settings)


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="the run folder [default: the next free runs/N]")
    ] = None,
) -> None:
    """Train, evaluate, explain and predict on handwritten digits, in a minute."""
    from convscope.demonstration import demo

    demo(out)


@cache_app.command("list")
def list_cache(cache: CacheOption = None) -> None:
    """List the decoded images that are kept."""
    from convscope.datasets.cache import cache_folder, list_caches

    found = list_caches(cache)
    for name, count, num_bytes in found:
        print(f"{name}  {count:>10,} images  {num_bytes / 1e6:>9,.1f} MB")
    print(f"{plural(len(found), 'cache')}, {sum(each[2] for each in found) / 1e6:,.1f} MB in {cache_folder(cache)}")


@cache_app.command("clear")
def clear_cache(cache: CacheOption = None) -> None:
    """Remove all decoded images; they are made again when they are needed."""
    from convscope.datasets.cache import cache_folder, clear_caches

    print(f"{clear_caches(cache) / 1e6:,.1f} MB set free in {cache_folder(cache)}")


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"convscope {convscope.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="say the version")
    ] = False,
) -> None:
    """From a folder of images to a convolutional classifier that you can train, trust, see inside of, and ship."""


@contextmanager
def loading_for_good() -> Iterator[None]:
    """Have Python never look for garbage among what is loaded here, as long as the process lives.

    TensorFlow's half a million objects all stay, and to look through them time and again takes half a second of a
    start. All else that is there now stays with them, so that this is for the command line, not for the library.
    """
    before = len(sys.modules)
    with without_collecting():
        try:
            yield
        finally:
            if len(sys.modules) > before:  # the first time
                gc.freeze()


def main() -> None:
    """Run a command."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path may hold bytes that are no text, and comes out as it is
        sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="surrogateescape")
    warnings.filterwarnings("ignore", module="PIL")  # an image is read or refused with a reason: no line of source
    app()
