"""A data set as text: a table of classes and splits, the refused images, near duplicates."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from convscope.datasets.dataset import Dataset, count_samples, near_duplicate_groups
from convscope.datasets.listing import SPLITS, describe_ignored
from convscope.datasets.splits import Sample
from convscope.formatting import plural, printable

CLASSES_SHOWN = 40
REFUSALS_SHOWN = 10
PAIRS_SHOWN = 3


def describe_dataset(dataset: Dataset) -> str:
    """The table of classes with their counts, the refused images with reasons, and the near duplicates.

    Returns: lines of text as wide as the terminal; no name in it can move a cursor or forge a line.
    """
    lines = [_render(_class_table(dataset))]
    if dataset.refused:
        lines.append(_render(_refusal_table(dataset.refused)))
    lines += [f"no images in folder {printable(folder)}: not a class" for folder in dataset.empty]
    if skipped := describe_ignored(dataset.ignored):
        lines.append(f"skipped {skipped}")
    lines += _describe_near_duplicates(dataset)
    counts = count_samples(dataset)
    lines += [
        f"class {printable(name)} has no validation image: too few images"
        for name in dataset.classes
        if not counts[name, "validation"]
    ]
    return "\n".join(lines)


def _render(table: Table) -> str:
    """A table as plain text, as wide as the terminal at most."""
    text = io.StringIO()
    width = shutil.get_terminal_size().columns
    Console(file=text, width=width, force_terminal=False, highlight=False, emoji=False).print(table)
    return text.getvalue().rstrip("\n")


def _describe_near_duplicates(dataset: Dataset) -> Iterator[str]:
    """How many images are near duplicates of another, and which of these have different labels."""
    groups = near_duplicate_groups(dataset)
    divided = [group for group in groups if len({sample.split for sample in group}) > 1]
    kept = [group for group in groups if group not in divided]
    counts = []
    if kept:
        counts += [f"{sum(map(len, kept)):,} images in {plural(len(kept), 'group')}, each in one split"]
    if divided:
        counts += [f"{sum(map(len, divided)):,} images that fill a class: split one by one"]
    if counts:
        yield f"near duplicates: {'; '.join(counts)}"
    pairs = [(group[0], other) for group in kept for other in group[1:] if other.label != group[0].label]
    for first, second in pairs[:PAIRS_SHOWN]:
        yield f"near duplicates with different labels: {printable(first.path)} and {printable(second.path)}"
    if (more := len(pairs) - PAIRS_SHOWN) > 0:
        yield f"... and {plural(more, 'more pair')}: in data.csv the same group, another class"


def _class_table(dataset: Dataset) -> Table:
    counts = count_samples(dataset)
    columns: list[str] = [split for split in SPLITS if any(counts[name, split] for name in dataset.classes)]
    columns += ["refused"] * bool(dataset.refused)
    table = Table(
        title=Text(f"{plural(len(dataset.samples), 'image')} in {printable(str(dataset.root))}"), title_justify="left"
    )
    table.add_column("class", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    for name in dataset.classes[:CLASSES_SHOWN]:
        table.add_row(Text(printable(name)), *(f"{counts[name, column]:,}" for column in columns))
    if (more := len(dataset.classes) - CLASSES_SHOWN) > 0:
        table.add_row(Text(f"... and {plural(more, 'more class', 'more classes')}"))
    table.add_section()
    totals = Counter[str]()
    for (_, column), count in counts.items():
        totals[column] += count
    table.add_row(Text("all"), *(f"{totals[column]:,}" for column in columns))
    return table


def _refusal_table(refused: tuple[Sample, ...]) -> Table:
    table = Table(title=Text(f"{plural(len(refused), 'image')} refused"), title_justify="left")
    table.add_column("image", overflow="fold")
    table.add_column("reason", overflow="fold")
    for sample in refused[:REFUSALS_SHOWN]:
        table.add_row(Text(printable(sample.path) or "."), Text(printable(sample.reason)))
    if (more := len(refused) - REFUSALS_SHOWN) > 0:
        table.add_row(Text(f"... and {more:,} more, all in data.csv"))
    return table
