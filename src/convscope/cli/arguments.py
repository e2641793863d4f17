"""The arguments and flags of the commands: their types, names in the help, and help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import convscope
from convscope.cli.options import duration, number, shard_numbers, share

# ---- the program


def print_version(is_set: bool) -> None:
    """Print the version and exit."""
    if is_set:
        print(f"convscope {convscope.__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=print_version, is_eager=True, help="print the version and exit")
]
Traceback = Annotated[bool, typer.Option("--traceback", help="after an unexpected error, print its traceback")]

# ---- what several commands take

Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="a run folder, as `convscope train` leaves it", show_default=False)
]
Model = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, or a .onnx file", show_default=False)]
RunFolder = Annotated[Path | None, typer.Option(metavar="DIR", help="the run folder [default: the next free runs/N]")]
Cache = Annotated[Path | None, typer.Option("--cache", metavar="DIR", help="where decoded images are kept")]
Json = Annotated[bool, typer.Option("--json", help="print the results as JSON")]
Mirror = Annotated[
    bool,
    typer.Option(
        "--mirror",
        help="test-time augmentation: average the probabilities with those of the horizontally flipped image; takes"
        " twice as long",
    ),
]
MaxUnreadable = Annotated[
    float,
    typer.Option(parser=share, metavar="NUMBER", help="share of unreadable images above which the exit code is 3"),
]

# ---- train

Data = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="the images: one folder per class, or a CSV manifest", show_default=False),
]
RecipeFile = Annotated[Path | None, typer.Option(metavar="FILE", help="a recipe in TOML; flags overrule it")]
ResumeRun = Annotated[bool, typer.Option("--resume", help="continue the run in --out exactly where it stopped")]
FindRate = Annotated[
    bool,
    typer.Option("--find-rate", help="do not train: run a learning rate range test, and suggest a learning rate"),
]
Strict = Annotated[bool, typer.Option("--strict", help="stop if a single image is refused")]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="also write a log for TensorBoard")]

# ---- evaluate

LabelledData = Annotated[
    Path | None, typer.Argument(metavar="DATA", help="a labelled folder [default: the run's held-out images]")
]
Split = Annotated[Literal["train", "validation", "test"] | None, typer.Option(help="which images to evaluate on")]
Results = Annotated[Path | None, typer.Option(metavar="DIR", help="where the results go")]

# ---- explain

ImagesToExplain = Annotated[
    list[Path] | None, typer.Argument(metavar="IMAGES", help="images to explain [default: held-out ones]")
]
Report = Annotated[
    Path | None, typer.Option(metavar="DIR", help="where the figures and report.html go [default: the run]")
]
ClassName = Annotated[
    str | None,
    typer.Option("--class", metavar="NAME", help="the class of the heat maps [default: the predicted class]"),
]
Channel = Annotated[int, typer.Option("--channel", min=0, help="the input channel whose filter weights are drawn")]

# ---- predict and merge

Images = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGES", help="files, folders, globs, or - for a list on standard input", show_default=False
    ),
]
TableFile = Annotated[Path | None, typer.Option(metavar="FILE", help="the table [default: standard output]")]
TableFormat = Annotated[
    Literal["csv", "jsonl", "parquet", "reference"],
    typer.Option(help="`reference`: a column for each class, and id"),
]
Top = Annotated[int, typer.Option(min=0, metavar="N", help="also rank the N most probable classes of each image")]
MinConfidence = Annotated[
    float,
    typer.Option(parser=number, metavar="NUMBER", help="below it an image gets no label, and the status `unsure`"),
]
Neighbours = Annotated[
    int, typer.Option(min=0, metavar="N", help="also name the N training images most similar to each image")
]
Shard = Annotated[
    Any,  # typing it would load what `predict` needs
    typer.Option(
        parser=shard_numbers, metavar="N/M", help="predict only the Nth of M shards; `merge` joins their tables"
    ),
]
ResumeTable = Annotated[bool, typer.Option("--resume", help="continue the unfinished table in --out; needs no IMAGES")]
ShardTables = Annotated[
    list[Path], typer.Argument(metavar="TABLES", help="the tables of all shards", show_default=False)
]
MergedTable = Annotated[Path, typer.Option(metavar="FILE", help="the table of all images", show_default=False)]

# ---- export

ExportFormat = Annotated[
    Literal["onnx-int8", "litert", "litert-int8", "savedmodel"], typer.Option(help="the format", show_default=False)
]
ExportFolder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="where it goes [default: exports/FORMAT in the run]")
]
Force = Annotated[bool, typer.Option("--force", help="write it even if it loses more than 0.5 points of accuracy")]

# ---- serve

Host = Annotated[str, typer.Option(metavar="ADDRESS", help="whoever reaches it may use the model")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: any free port")]
Queue = Annotated[int, typer.Option(min=1, metavar="N", help="images that may wait; more are refused")]
Deadline = Annotated[
    Any, typer.Option(parser=duration, metavar="TIME", help="request timeout [default: 10s]", show_default=False)
]
ApiKeyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="clients need this key [default: $CONVSCOPE_API_KEY, or none]")
]
CorsOrigin = Annotated[
    str | None,
    typer.Option(metavar="ORIGIN", help="whose pages may send requests, such as https://example.org"),
]
