"""report.html: one self-contained page, in English with Chinese beside it, that opens without a network connection."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

import convscope
from convscope.files import read_json, write_atomic
from convscope.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("report.html.jinja")
CHINESE_SPLITS = {"train": "训练集", "validation": "验证集", "test": "测试集", "all": "全部图像"}


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """A figure, the name of its PNG file, and its title in English and Chinese."""

    name: str
    title: str
    chinese: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Section:
    """Figures under one heading, in English and Chinese."""

    title: str
    chinese: str
    figures: tuple[ReportFigure, ...]


def write_report(path: Path, *, run: Run, sections: Sequence[Section], figures: Path) -> Path:
    """Write the page with the PNG files in the folder `figures` embedded; returns its path."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": _percent, "decimal": _decimal}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    png_files = {
        figure.name: base64.b64encode((figures / f"{figure.name}.png").read_bytes()).decode()
        for section in sections
        for figure in section.figures
    }
    metrics = read_json(run.path / "metrics.json")
    page = template.render(
        name=run.path.absolute().name,
        metrics=metrics,
        chinese_split=CHINESE_SPLITS.get(metrics["split"], ""),
        model=read_json(run.model / "model.json"),
        recipe=run.recipe.to_toml(),
        environment=run.environment,
        sections=sections,
        png_files=png_files,
        version=convscope.__version__,
    )
    write_atomic(path, page)
    return path


def _percent(value: Any) -> str:
    """A proportion as a percentage; an undefined metric (null) as a dash."""
    return "–" if value is None else f"{value:.1%}"


def _decimal(value: Any) -> str:
    """A number with three decimals; null, such as the upper bound of a single loss, as a dash."""
    return "–" if value is None else f"{value:.3f}"
