"""Recipes as TOML: a table of fields, with the version of its format."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from convscope.errors import MissingExtra, RecipeError

FORMAT = 1


def parse_toml(text: str) -> dict[str, Any]:
    """The fields in a TOML text, by name; their names and values are not checked.

    Raises:
        RecipeError: it is not TOML, or of another format.
    """
    try:
        table = tomllib.loads(text)
    except ValueError as error:  # also a number with more digits than Python reads
        raise RecipeError(
            found=f"not TOML: {error}", expected="lines like `image_size = 128`", fix="correct the file"
        ) from None
    if (version := table.pop("format", FORMAT)) != FORMAT:
        raise RecipeError(
            found=f"a recipe of format {version!r}",
            expected=f"format {FORMAT}",
            fix="use the convscope that wrote it",
        )
    return table


def format_toml(values: Mapping[str, Any]) -> str:
    """Fields as TOML, in the order in which they come."""
    try:
        import tomli_w
    except ModuleNotFoundError:
        raise MissingExtra(command="saving a recipe", module="tomli_w", extra="train") from None
    return tomli_w.dumps({"format": FORMAT, **values})
