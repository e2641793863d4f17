"""report.html: one self-contained file that opens without a network, in English with Chinese beside it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import convscope
from convscope.files import read_json, write_atomic
from convscope.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("report.html.jinja")


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure, the name of its PNG file, and its title in English and Chinese."""

    name: str
    title: str
    chinese: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Section:
    """Drawings that belong together."""

    title: str
    chinese: str
    drawings: tuple[Drawing, ...]


def write_report(path: Path, *, run: Run, sections: Sequence[Section], figures: Path) -> Path:
    """Write the page, the PNG files of `figures` inside it; returns its path."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": _percent, "decimal": _decimal}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    pictures = {
        drawing.name: base64.b64encode((figures / f"{drawing.name}.png").read_bytes()).decode()
        for section in sections
        for drawing in section.drawings
    }
    page = template.render(
        name=run.path.absolute().name,
        metrics=read_json(run.path / "metrics.json"),
        model=read_json(run.model / "model.json"),
        recipe=run.recipe.to_toml(),
        environment=run.environment,
        sections=sections,
        pictures=pictures,
        version=convscope.__version__,
    )
    write_atomic(path, page)
    return path


def _percent(value: Any) -> str:
    """A share as a person reads it; a figure that does not exist as a dash."""
    return "–" if value is None else f"{value:.1%}"


def _decimal(value: Any) -> str:
    """A number as a person reads it; an interval that has no end, of one image, as a dash."""
    return "–" if value is None else f"{value:.3f}"
