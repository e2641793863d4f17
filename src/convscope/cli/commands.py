"""The commands, in one list: each reads its arguments, calls one function, and prints its result."""

from __future__ import annotations

import gc
import io
import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from convscope.cli import arguments
from convscope.cli.display import print_message
from convscope.cli.errors import Command, Commands
from convscope.cli.exit_codes import UNREADABLE
from convscope.cli.flags import command_line
from convscope.cli.options import with_recipe_flags
from convscope.errors import RunError, optional_imports
from convscope.formatting import plural
from convscope.networks.framework_setup import configure_tensorflow, without_garbage_collection

if TYPE_CHECKING:
    from convscope.prediction.prediction import PredictionSummary

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
command = partial(app.command, cls=Command)
cache_command = partial(cache_app.command, cls=Command)


@command()
@with_recipe_flags
def train(
    data: arguments.Data,
    *,
    context: typer.Context,
    out: arguments.RunFolder = None,
    recipe: arguments.RecipeFile = None,
    resume: arguments.ResumeRun = False,
    find_rate: arguments.FindRate = False,
    strict: arguments.Strict = False,
    tensorboard: arguments.Tensorboard = False,
    cache: arguments.Cache = None,
    changes: dict[str, Any],
) -> None:
    """Train a classifier on a folder of images."""
    from convscope.datasets.listing import check_exists
    from convscope.recipe.recipe import Recipe

    if find_rate and (resume or tensorboard):
        other = "--resume" if resume else "--tensorboard"
        raise RunError(
            found=f"--find-rate with {other}",
            expected="one of them, since --find-rate trains nothing",
            fix="leave one out",
        )
    if strict:
        changes["max_refused"] = 0.0
    changed = (Recipe() if recipe is None else Recipe.from_file(recipe)).with_changes(changes)
    check_exists(data)  # a wrong path is reported now, not after the five seconds that TensorFlow takes to load

    if find_rate:
        with loading_tensorflow():
            from convscope.training.lr_finder import find_rate as find_learning_rate

        found = find_learning_rate(data, changed, out=out, cache=cache)
        if found.choices is not None:
            arguments_to_train = {"data": data, "choices": found.choices, "cache": cache}
            print_message(f"to train with it: {command_line(context, arguments_to_train)}")
        print(found.folder)
        return

    with loading_tensorflow():
        from convscope.training.training import train

    print(train(data, changed, out=out, resume=resume, cache=cache, tensorboard=tensorboard).path)


@command()
def evaluate(
    model: arguments.Model,
    data: arguments.LabelledData = None,
    *,
    as_json: arguments.Json = False,
    split: arguments.Split = None,
    mirror: arguments.Mirror = False,
    out: arguments.Results = None,
) -> None:
    """Evaluate a model on labelled images: metrics and mistakes."""
    from convscope.evaluation.evaluation import evaluate
    from convscope.evaluation.text_report import describe

    evaluation = evaluate(model, data, split=split, mirror=mirror, out=out)
    print(json.dumps(evaluation.metrics.to_json(), ensure_ascii=False) if as_json else describe(evaluation))


@command()
def explain(
    run: arguments.Run,
    images: arguments.ImagesToExplain = None,
    *,
    out: arguments.Report = None,
    class_name: arguments.ClassName = None,
    input_channel: arguments.Channel = 0,
) -> None:
    """Show what the network sees, in PNG files and in report.html."""
    from convscope.explanation.explanation import explain

    print(explain(run, images or (), out=out, class_name=class_name, input_channel=input_channel))


@command()
def predict(
    model: arguments.Model,
    images: arguments.Images = None,
    *,
    out: arguments.TableFile = None,
    format: arguments.TableFormat = "csv",
    top: arguments.Top = 0,
    min_confidence: arguments.MinConfidence = 0.0,
    neighbours: arguments.Neighbours = 0,
    mirror: arguments.Mirror = False,
    shard: arguments.Shard = None,
    resume: arguments.ResumeTable = False,
    max_unreadable: arguments.MaxUnreadable = 0.05,
) -> None:
    """Classify images: one row each, in input order. Needs no TensorFlow."""
    if not images and not resume:
        raise typer.BadParameter("Missing argument 'IMAGES...'; only --resume needs none")
    from convscope.prediction.prediction import predict
    from convscope.prediction.provenance import Shard
    from convscope.prediction.rows import Table

    table = Table(format=format, top=top, min_confidence=min_confidence, neighbours=neighbours, mirror=mirror)
    numbered = None if shard is None else Shard(*shard)
    end_with_table(predict(model, images or (), out=out, table=table, shard=numbered, resume=resume), max_unreadable)


@command()
def merge(
    tables: arguments.ShardTables, *, out: arguments.MergedTable, max_unreadable: arguments.MaxUnreadable = 0.05
) -> None:
    """Join the tables of all shards of `predict --shard`."""
    from convscope.prediction.merging import merge

    end_with_table(merge(tables, out=out), max_unreadable)


def end_with_table(predictions: PredictionSummary, max_unreadable: float) -> None:
    """Report how many rows a table has, and exit with 3 if a larger share is unreadable than is allowed."""
    if predictions.unreadable:
        images = plural(predictions.count, "image")
        print_message(f"{predictions.unreadable:,} of {images} unreadable; the column `error` has the reason")
    if predictions.already_complete:
        print_message(f"{predictions.out} is complete already and stays; move it away to predict again")
    elif predictions.out is not None:
        print_message(f"{plural(predictions.count, 'row')} in {predictions.out}")
    if predictions.unreadable > max_unreadable * predictions.count:
        raise typer.Exit(UNREADABLE)


@command()
def verify(model: arguments.Model, *, as_json: arguments.Json = False) -> None:
    """Check that a model predicts here as it did where it was written."""
    from convscope.bundle.verification import verify

    verification = verify(model)
    print(json.dumps(verification.to_json()) if as_json else verification.describe())
    verification.check()


@command()
def export(
    run: arguments.Run,
    *,
    to: arguments.ExportFormat,
    out: arguments.ExportFolder = None,
    force: arguments.Force = False,
    as_json: arguments.Json = False,
    cache: arguments.Cache = None,
) -> None:
    """Convert a model to another format, and compare the two."""
    from convscope.exporting.exporting import export

    result = export(run, to=to, out=out, force=force, cache=cache)
    print(json.dumps(result.to_json()) if as_json else result.describe())


@command()
def serve(
    model: arguments.Model,
    *,
    host: arguments.Host = "127.0.0.1",
    port: arguments.Port = 8000,
    queue: arguments.Queue = 256,
    deadline: arguments.Deadline = None,
    api_key_file: arguments.ApiKeyFile = None,
    cors_origin: arguments.CorsOrigin = None,
) -> None:
    """Serve a model over HTTP, with a page to try it. Needs no TensorFlow."""
    from convscope.serving.serving import read_api_key, serve
    from convscope.serving.settings import DEADLINE_SECONDS, ServiceSettings

    settings = ServiceSettings(
        queue=queue,
        deadline=DEADLINE_SECONDS if deadline is None else deadline,
        api_key=read_api_key(api_key_file),
        cors_origin=cors_origin,
    )
    serve(model, host=host, port=port, settings=settings)


@command()
def demo(out: arguments.RunFolder = None) -> None:
    """Train, evaluate, explain and predict on handwritten digits."""
    with loading_tensorflow():
        from convscope.demonstration import demo

    print(demo(out).describe())


app.add_typer(cache_app, name="cache")


@cache_command("list")
def list_cache(cache: arguments.Cache = None) -> None:
    """List the decoded images that are kept."""
    from convscope.datasets.cache import cache_folder, list_caches

    caches = list_caches(cache)
    for name, count, num_bytes in caches:
        print(f"{name}  {count:>10,} images  {num_bytes / 1e6:>9,.1f} MB")
    total = sum(num_bytes for _, _, num_bytes in caches)
    print(f"{plural(len(caches), 'cache')}, {total / 1e6:,.1f} MB in {cache_folder(cache)}")


@cache_command("clear")
def clear_cache(cache: arguments.Cache = None) -> None:
    """Remove all decoded images; they are decoded again when needed."""
    from convscope.datasets.cache import cache_folder, clear_caches

    print(f"freed {clear_caches(cache) / 1e6:,.1f} MB in {cache_folder(cache)}")


@app.callback()
def root(version: arguments.Version = False, traceback: arguments.Traceback = False) -> None:
    """From a folder of images to a convolutional classifier that you can train, trust, see inside of, and ship."""


@contextmanager
def loading_tensorflow() -> Iterator[None]:
    """Import in the block what loads TensorFlow, set up for a process that runs one command.

    The half million objects that TensorFlow makes all stay. Cyclic garbage collection would examine them again and
    again, half a second in all, so they are frozen; and with them every object that exists by then, which a library
    must not do.

    Raises:
        MissingExtra: a module that training needs is not installed.
    """
    num_modules = len(sys.modules)
    with without_garbage_collection(), optional_imports(command="training", extra="train"):
        try:
            configure_tensorflow()
            yield
        finally:
            if len(sys.modules) > num_modules:  # the first time
                gc.freeze()


def main() -> None:
    """Run a command."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # the bytes of a path that is not text are printed as they are
        sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="surrogateescape")
    warnings.filterwarnings("ignore", module="PIL")  # an image is read, or refused with a reason
    app()
