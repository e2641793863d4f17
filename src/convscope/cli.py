"""The commands: read the words, call one verb, print its answer. Flags of `train` are the fields of the recipe."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import os
import sys
import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

import convscope
from convscope.errors import ConvscopeError, Interrupted, MissingExtra, RunError
from convscope.recipe import BY_NETWORK, Recipe
from convscope.terminal import plural, printable, remarks

if TYPE_CHECKING:
    from convscope.deployment.prediction import Predictions

SECONDS = {"s": 1, "m": 60, "h": 3600}
EXTRAS = {  # what brings a module; all others come with `train`
    "pyarrow": "parquet",
    **dict.fromkeys(("fastapi", "uvicorn", "multipart", "python_multipart", "prometheus_client"), "serve"),
    **dict.fromkeys(("matplotlib", "jinja2"), "explain"),
}
DONE, BUG, WRONG, UNREADABLE, STOPPED = 0, 1, 2, 3, 130


class Commands(TyperGroup):
    """The commands, and how each may end: done, stopped, unread, or with an error in three lines and its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            remarks().print("stopped")
            raise typer.Exit(STOPPED) from None
        except BrokenPipeError:  # the reader of our output has seen enough; what is left of it goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(DONE) from None
        except (ConvscopeError, ModuleNotFoundError, OSError) as error:
            told = _told(error, f"convscope {ctx.invoked_subcommand}")
            _tell_error(told)
            raise typer.Exit(told.exit_code) from None
        return answer


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

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="a run folder, as `convscope train` leaves it", show_default=False)
]
ModelArgument = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, or a .onnx file", show_default=False)]
CacheOption = Annotated[Path | None, typer.Option("--cache", metavar="DIR", help="where decoded images are kept")]


def with_recipe_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one flag for each field of the recipe; those that are used arrive in `changes`."""
    signature = inspect.signature(command, eval_str=True)
    kinds = typing.get_type_hints(Recipe)
    own = [each for each in signature.parameters.values() if each.name != "changes"]
    flags = [_flag(field, kinds[field.name]) for field in dataclasses.fields(Recipe)]

    def run(**words: Any) -> None:
        chosen = {flag.name: words.pop(flag.name) for flag in flags}
        command(**words, changes={name: value for name, value in chosen.items() if value is not None})

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*own, *flags)}
    return run


def _flag(field: dataclasses.Field[Any], kind: Any) -> inspect.Parameter:
    says = field.metadata["help"] + _default_of(field)
    name = "--" + field.name.replace("_", "-")
    words = (name, "--no-" + field.name.replace("_", "-")) if kind is bool else (name,)
    if typing.get_origin(kind) is UnionType:  # `int | None` is a flag of type int
        kind = typing.get_args(kind)[0]
    how: dict[str, Any] = {}
    if typing.get_origin(kind) is tuple:
        part = typing.get_args(kind)[0]
        kind, how = str, {"parser": partial(numbers, kind=part), "metavar": "N,N,..."}
    elif field.name == "budget":
        how = {"parser": duration, "metavar": "TIME"}
    elif kind is float:
        how = {"parser": number, "metavar": "NUMBER"}
    option = typer.Option("/".join(words), help=says, show_default=False, **how)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _default_of(field: dataclasses.Field[Any]) -> str:
    """` [default: 32; compact: 64]`, or nothing where a field has no default."""

    def text(value: Any) -> str:
        return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value).lower()

    if field.name in BY_NETWORK["classic"]:
        return f" [default: {'; '.join(f'{name} {text(values[field.name])}' for name, values in BY_NETWORK.items())}]"
    return "" if field.default is None else f" [default: {text(field.default)}]"


def number(word: str | float) -> float:
    """`0.05` or `5%`; a default comes as the number that it is."""
    text = str(word)
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number such as 0.05 or 5%") from None


def shard_numbers(text: str) -> tuple[int, int]:
    """`3/16`: the third of sixteen."""
    try:
        number, count = (int(part) for part in text.split("/"))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a shard such as 3/16") from None
    return number, count


def duration(text: str) -> float:
    """`10m`, `25s`, `1h`, or seconds."""
    try:
        return float(text[:-1]) * SECONDS[text[-1:]] if text[-1:] in SECONDS else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time such as 10m, 25s or 1h") from None


def numbers(text: str, *, kind: type) -> tuple[Any, ...]:
    """`32,32,64`, or `0.5,0.75`."""
    try:
        return tuple(kind(part) for part in text.split(",") if part)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as 32,32,64") from None


UnreadableOption = Annotated[
    float,
    typer.Option(parser=number, metavar="NUMBER", help="share of unreadable images above which the exit code is 3"),
]


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
    from convscope.data.folder import check_there
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
        from convscope.training import rates

        print(rates.find_rate(data, chosen, out=out, cache=cache))
        return

    from convscope.training.training import train

    run = train(data, chosen, out=out, resume=resume, cache=cache, tensorboard=tensorboard)
    print(run.path)


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
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="where the results go")] = None,
) -> None:
    """Judge a model: accuracy with its interval, each class, mistakes."""
    from convscope.evaluation.evaluation import describe, evaluate

    evaluation = evaluate(run, data, split=split, out=out)
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
    from convscope.deployment.origin import Shard
    from convscope.deployment.prediction import predict
    from convscope.deployment.rows import Table

    table = Table(format=format, top=top, min_confidence=min_confidence)
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
    from convscope.deployment.merging import merge

    _tell_predictions(merge(tables, out=out), max_unreadable)


def _tell_predictions(done: Predictions, max_unreadable: float) -> None:
    """Say what is in a table of predictions, and end with 3 where more is unreadable than is allowed."""
    if done.unreadable:
        remarks().print(
            f"{done.unreadable:,} of {plural(done.count, 'image')} unreadable: their rows say why", markup=False
        )
    if done.out is not None:
        remarks().print(f"{plural(done.count, 'row')} in {done.out}", markup=False)
    if done.unreadable > max_unreadable * done.count:
        raise typer.Exit(UNREADABLE)


@app.command()
def verify(
    model: ModelArgument,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="the figures as JSON on standard output")] = False,
) -> None:
    """Say whether a model answers here as it did where it was written."""
    from convscope.deployment.verification import verify

    found = verify(model)
    print(json.dumps(found.to_json()) if as_json else found.describe())
    found.check()


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
    from convscope.deployment.serving.service import DEADLINE_SECONDS, ServiceSettings
    from convscope.deployment.serving.serving import read_key, serve

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
    from convscope.data.cache import cache_folder, list_caches

    found = list_caches(cache)
    for name, count, num_bytes in found:
        print(f"{name}  {count:>10,} images  {num_bytes / 1e6:>9,.1f} MB")
    print(f"{plural(len(found), 'cache')}, {sum(each[2] for each in found) / 1e6:,.1f} MB in {cache_folder(cache)}")


@cache_app.command("clear")
def clear_cache(cache: CacheOption = None) -> None:
    """Remove all decoded images; they are made again when they are needed."""
    from convscope.data.cache import cache_folder, clear_caches

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


def main() -> None:
    """Run a command."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path may hold bytes that are no text, and comes out as it is
        sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="surrogateescape")
    app()


def _told(error: Exception, command: str) -> ConvscopeError:
    """An error that a person can meet, as one of ours."""
    if isinstance(error, ConvscopeError):
        return error
    if isinstance(error, ModuleNotFoundError):
        module = str(error.name)
        return MissingExtra(command=command, module=module, extra=EXTRAS.get(module.partition(".")[0], "train"))
    return ConvscopeError(  # what is wrong with images has been told in its place: this is about writing
        found=str(error),
        expected="a place to write to, with room and permission",
        fix="check the path, who may write there, and the room on the disk",
    )


def _tell_error(error: ConvscopeError) -> None:
    names = ("stopped", "saved", "resume") if isinstance(error, Interrupted) else ("found", "expected", "fix")
    for name, text in zip(names, (error.found, error.expected, error.fix), strict=True):
        remarks().print(f"{name + ':':<10}{printable(text)}", markup=False)
