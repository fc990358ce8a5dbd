"""Layers of numbers as a static SVG that follows the page's theme. The home of altair.

Colours are CSS custom properties of report.html (`var(--c-sent)`), so one picture serves light,
dark and print. Legends and titles are HTML, beside the picture, where they can wrap.
"""

import io
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

from profiles.stats import Floats

WIDE = (1180, 300)
MEDIUM = (720, 270)
NARROW = (392, 210)
AXIS_ROOM = (44, 40)  # px beside and below the plot, for labels

INK = "var(--ink-3)"
GRID = "var(--grid)"


@dataclass(frozen=True)
class Layer:
    """One mark: y over x, both of shape (points,); NaN breaks a line.

    An area lies between `y` and `base` (0 if None).
    """

    kind: Literal["line", "area", "dots"]
    colour: str  # name of a CSS custom property, without the dashes
    x: Floats
    y: Floats
    base: Floats | None = None
    dashed: bool = False
    width: float = 1.6
    opacity: float = 1.0


@dataclass(frozen=True)
class Rule:
    """A straight line across the plot, at a value of x or of y."""

    at: float
    colour: str
    along: Literal["x", "y"] = "y"  # the axis `at` is read on
    dashed: bool = True
    label: str = ""


@dataclass(frozen=True)
class Axis:
    """One axis: what it says below or beside it, and its bounds."""

    title: str = ""
    low: float = 0.0
    high: float = 1.0


def svg(
    layers: list[Layer],
    x: Axis,
    y: Axis,
    *,
    about: str,
    rules: list[Rule] | None = None,
    size: tuple[int, int] = NARROW,
) -> str:
    """The picture as an SVG element without fixed size, named `about` for screen readers."""
    width, height = (total - room for total, room in zip(size, AXIS_ROOM, strict=True))
    positions = _positions(x, y, width)
    axes = alt.Chart(alt.InlineData(values=[{}])).mark_point(opacity=0)
    marks = [axes, *(_mark(layer) for layer in layers if layer.x.size)]
    encoded = [mark.encode(**positions) for mark in marks]
    for rule in rules or []:
        encoded += [mark.encode(**{rule.along: positions[rule.along]}) for mark in _rule(rule)]
    chart = (
        alt.layer(*encoded)
        .properties(width=width, height=height, background="transparent", padding=0)
        .configure(aria=False)
        .configure_view(stroke=None)
        .configure_axis(
            domainColor=GRID,
            gridColor=GRID,
            tickColor=GRID,
            tickSize=4,
            labelColor=INK,
            labelFontSize=11,
            labelFont="inherit",
            labelPadding=5,
            titleColor=INK,
            titleFont="inherit",
            titleFontSize=11,
            titleFontWeight="normal",
            titlePadding=7,
        )
    )
    buffer = io.StringIO()
    chart.save(buffer, format="svg")
    return _inline(buffer.getvalue(), about)


def nice_ceiling(value: float) -> float:
    """A round number (1 1.2 1.5 2 2.5 3 4 5 6 7 8 times a power of ten) at or above a value."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    steps = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 10)
    return next(step * power for step in steps if step * power >= value * (1 - 1e-9))


def _positions(x: Axis, y: Axis, width: int) -> dict[str, Any]:
    few = max(4, width // 90)
    form = "~s" if y.high >= 10_000 else ",~r" if y.high >= 100 else "~r"
    return {
        "x": alt.X("x:Q")
        .scale(domain=[x.low, x.high], nice=False, zero=False)
        .axis(title=x.title or None, grid=False, tickCount=few, labelFlush=True),
        "y": alt.Y("y:Q")
        .scale(domain=[y.low, y.high], nice=False, zero=False)
        .axis(title=None, tickCount=4, domain=False, ticks=False, format=form, minExtent=34),
    }


def _mark(layer: Layer) -> Any:
    columns = {"x": layer.x, "y": layer.y}
    if layer.kind == "area":
        columns["y2"] = layer.base if layer.base is not None else 0.0 * layer.y
    chart = alt.Chart(alt.InlineData(values=_rows(columns)))
    colour = f"var(--{layer.colour})"
    if layer.kind == "area":
        area = chart.mark_area(color=colour, opacity=layer.opacity)
        return area.encode(y2="y2:Q")
    if layer.kind == "dots":
        return chart.mark_circle(color=colour, opacity=layer.opacity, size=14)
    return chart.mark_line(
        color=colour,
        opacity=layer.opacity,
        strokeWidth=layer.width,
        strokeJoin="round",
        strokeDash=[5, 4] if layer.dashed else [1, 0],
    )


def _rule(rule: Rule) -> list[Any]:
    """A rule, and its label at the top of an upright one."""
    data = alt.Chart(alt.InlineData(values=[{str(rule.along): rule.at}]))
    line = data.mark_rule(
        color=f"var(--{rule.colour})", strokeDash=[5, 4] if rule.dashed else [1, 0], strokeWidth=1.4
    )
    if not rule.label:
        return [line]
    text = data.mark_text(
        color=f"var(--{rule.colour})", text=rule.label, align="right", dx=-5, dy=7, fontSize=11
    )
    return [line, text.encode(y=alt.value(0))]


def _rows(columns: dict[str, Floats]) -> list[dict[str, float | None]]:
    """Rows for vega-lite: five significant digits are finer than a pixel; None for NaN."""
    named = [
        [float(f"{value:.5g}") if math.isfinite(value) else None for value in column.tolist()]
        for column in columns.values()
    ]
    return [dict(zip(columns, row, strict=True)) for row in zip(*named, strict=True)]


_ROOT = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>')


def _inline(text: str, about: str) -> str:
    """Only a viewBox, so that CSS sizes it; one name for screen readers."""
    name = about.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return _ROOT.sub(rf'<svg viewBox="\1" role="img" aria-label="{name}">', text, count=1)
