"""The provenance of a table of predictions: its model, inputs, shard and choices.

Rows are joined only if all of them but the shard are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from convscope.errors import RecipeError
from convscope.prediction.rows import Table

FORMAT = 1  # version of the JSON object
MAX_SHARDS = 100_000


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` consecutive ranges of a list of inputs; `number` counts from 1.

    Raises:
        RecipeError: there is no such shard.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count <= MAX_SHARDS:
            raise RecipeError(
                found=f"shard {self}",
                expected=f"1 to the number of shards, as in 3/16, and at most {MAX_SHARDS:,} shards",
                fix="choose another `shard`",
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def input_range(self, total: int) -> range:
        """The positions, from 0, of its inputs in a list of `total`; the sizes of two shards differ by one at most."""
        return range(total * (self.number - 1) // self.count, total * self.number // self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a table is made from.

    Attributes:
        model: SHA-256 of the ONNX file.
        classes: their names, in the order of the probabilities.
        inputs: SHA-256 of the list of all inputs, those of other shards included.
        total: how many inputs that list has.
        shard: which of them the table holds.
        table: the choices that shape its rows.
    """

    model: str
    classes: tuple[str, ...]
    inputs: str
    total: int
    shard: Shard
    table: Table

    @property
    def input_range(self) -> range:
        """The positions, in the list of all inputs, of those that the table holds."""
        return self.shard.input_range(self.total)

    @property
    def count(self) -> int:
        """How many inputs the table holds."""
        return len(self.input_range)

    def differences(self, other: Provenance) -> list[str]:
        """Each difference to `other`, by the name of the parameter, with both values."""
        differences = ["the model"] if self.model != other.model else []
        if self.inputs != other.inputs:
            counts = f" ({self.total:,}, not {other.total:,})" if self.total != other.total else ""
            differences.append(f"the images{counts}")
        values = {"shard": self.shard, **asdict(self.table)}
        other_values = {"shard": other.shard, **asdict(other.table)}
        changed = [name for name in values if values[name] != other_values[name]]
        return differences + [f"`{name}` ({values[name]}, not {other_values[name]})" for name in changed]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Provenance:
        """Back from a JSON object.

        Raises:
            KeyError, TypeError, ValueError, RecipeError: `to_json` did not write it, or in another format.
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
