"""What a table of predictions is made of: model, inputs, shard and shape. Only where all are the same do rows fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from convscope.errors import RecipeError
from convscope.prediction.rows import Table

FORMAT = 1  # of what this module writes into JSON files
MOST_SHARDS = 100_000


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` stretches of a list, the first having the number 1.

    Raises:
        RecipeError: there is no such shard.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count <= MOST_SHARDS:
            raise RecipeError(
                found=f"shard {self}",
                expected=f"1 to the number of shards, as in 3/16, and at most {MOST_SHARDS:,} of them",
                fix="choose another --shard",
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def stretch(self, total: int) -> tuple[int, int]:
        """Which of `total` inputs it has, as numbers from and up to but not including; sizes differ by one at most."""
        return total * (self.number - 1) // self.count, total * self.number // self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a table is made of.

    Attributes:
        model: SHA-256 of the ONNX file.
        classes: their names, in the order of the probabilities.
        inputs: SHA-256 of the list of all inputs, those of other shards included.
        total: how many there are.
        shard: the stretch of them that the table holds.
        table: how its rows are shaped.
    """

    model: str
    classes: tuple[str, ...]
    inputs: str
    total: int
    shard: Shard
    table: Table

    @property
    def stretch(self) -> tuple[int, int]:
        """Which inputs the table holds, as numbers from and up to but not including."""
        return self.shard.stretch(self.total)

    @property
    def count(self) -> int:
        """How many inputs the table holds."""
        first, last = self.stretch
        return last - first

    def differences(self, other: Origin) -> list[str]:
        """What is not the same, in the words of the command line, with both values."""
        found = ["the model"] if self.model != other.model else []
        if self.inputs != other.inputs:
            counts = f" ({self.total:,}, not {other.total:,})" if self.total != other.total else ""
            found.append(f"the images{counts}")
        ours = {"shard": self.shard, **asdict(self.table)}
        theirs = {"shard": other.shard, **asdict(other.table)}
        changed = [name for name in ours if ours[name] != theirs[name]]
        return found + [f"--{name.replace('_', '-')} ({ours[name]}, not {theirs[name]})" for name in changed]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Origin:
        """Back from a JSON object.

        Raises:
            KeyError, TypeError, ValueError, RecipeError: it is none of ours, or of another format.
        """
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']!r}")
        return cls(
            model=str(facts["model"]),
            classes=tuple(map(str, facts["classes"])),
            inputs=str(facts["inputs"]),
            total=int(facts["total"]),
            shard=Shard(**facts["shard"]),
            table=Table(**facts["table"]),
        )
