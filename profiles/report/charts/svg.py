"""Numbers as a static SVG that follows the page's theme. The home of altair and vl-convert.

Colours are CSS custom properties of report.html (`var(--c-sent)`), so one picture serves light,
dark and print. Legends and titles are HTML, beside the picture, where they can wrap.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import vl_convert
from altair.utils.schemapi import debug_mode

from profiles.stats.arrays import Floats

WIDE = (1180, 300)
MEDIUM = (720, 270)
NARROW = (392, 210)
AXIS_ROOM = (44, 40)  # px beside and below the plot, for labels
LEFT = 40  # of the first
TITLE_Y, NOTE_Y = -9, -24  # px: lanes above the plot

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
    size: float = 14.0  # of a dot, square pixels


@dataclass(frozen=True)
class Rule:
    """A straight line across the plot, at a value of x or of y."""

    at: float
    colour: str
    along: Literal["x", "y"] = "y"  # the axis `at` is read on
    dashed: bool = True
    label: str = ""


@dataclass(frozen=True)
class Band:
    """A stretch of x, shaded behind the curves unless `colour` is empty, with words above it."""

    low: float
    high: float
    colour: str = ""
    label: str = ""


@dataclass(frozen=True)
class Note:
    """Words above the plot, beginning or (`ends`) ending at a value of x."""

    at: float
    label: str
    colour: str
    ends: bool = False


@dataclass(frozen=True)
class Axis:
    """One axis: what it says below x or above y, its bounds, and whether it has numbers."""

    title: str = ""
    low: float = 0.0
    high: float = 1.0
    numbers: bool = True


def svg(
    layers: list[Layer],
    x: Axis,
    y: Axis,
    *,
    about: str,
    rules: list[Rule] | None = None,
    bands: Sequence[Band] = (),
    notes: Sequence[Note] = (),
    size: tuple[int, int] = NARROW,
) -> str:
    """The picture as an SVG element without fixed size, named `about` for screen readers."""
    with debug_mode(False):  # our own marks need no check against the schema: half of the time
        spec = _spec(layers, x, y, rules or [], bands, notes, size)
    return _inline(vl_convert.vegalite_to_svg(spec), about, size[0])


def nice_ceiling(value: float) -> float:
    """A round number (1 1.2 1.5 2 2.5 3 4 5 6 7 8 times a power of ten) at or above a value."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    steps = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 10)
    return next(step * power for step in steps if step * power >= value * (1 - 1e-9))


def _spec(
    layers: list[Layer],
    x: Axis,
    y: Axis,
    rules: Sequence[Rule],
    bands: Sequence[Band],
    notes: Sequence[Note],
    size: tuple[int, int],
) -> dict[str, Any]:
    """The picture as vega-lite."""
    width, height = (total - room for total, room in zip(size, AXIS_ROOM, strict=True))
    positions = _positions(x, y, width)
    axes = alt.Chart(alt.InlineData(values=[{}])).mark_point(opacity=0)
    marks = [axes, *(_mark(layer) for layer in layers if layer.x.size)]
    encoded = [mark.encode(x=positions["x"]) for band in bands for mark in _band(band)]
    encoded += [mark.encode(**positions) for mark in marks]
    for along, mark in _rules(rules):
        encoded.append(mark.encode(**{along: positions[along]}))
    encoded += [_note(note).encode(x=positions["x"]) for note in notes]
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
    spec: dict[str, Any] = chart.to_dict(validate=False)
    return spec


def _positions(x: Axis, y: Axis, width: int) -> dict[str, Any]:
    few = max(4, width // 90)
    form = "~s" if y.high >= 10_000 else ",~r" if y.high >= 100 else "~r"
    return {
        "x": alt.X("x:Q")
        .scale(domain=[x.low, x.high], nice=False, zero=False)
        .axis(title=x.title or None, grid=False, tickCount=few, labelFlush=True, labels=x.numbers),
        "y": alt.Y("y:Q")
        .scale(domain=[y.low, y.high], nice=False, zero=False)
        .axis(
            tickCount=4,
            domain=False,
            ticks=False,
            format=form,
            minExtent=34,
            title=y.title or None,
            titleAngle=0,
            titleAlign="left",
            titleX=-34,
            titleY=TITLE_Y,
        ),
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
        return chart.mark_circle(color=colour, opacity=layer.opacity, size=layer.size)
    return chart.mark_line(
        color=colour,
        opacity=layer.opacity,
        strokeWidth=layer.width,
        strokeJoin="round",
        strokeDash=[5, 4] if layer.dashed else [1, 0],
    )


def _rules(rules: Sequence[Rule]) -> list[tuple[str, Any]]:
    """Those that look alike as one mark, each with its axis; a label at the top of an upright."""
    alike: dict[tuple[str, str, bool], list[float]] = {}
    for rule in rules:
        alike.setdefault((rule.along, rule.colour, rule.dashed), []).append(rule.at)
    marks = []
    for (along, colour, dashed), places in alike.items():
        data = alt.Chart(alt.InlineData(values=[{str(along): at} for at in places]))
        dash = [5, 4] if dashed else [1, 0]
        line = data.mark_rule(color=f"var(--{colour})", strokeDash=dash, strokeWidth=1.4)
        marks.append((along, line))
    for rule in rules:
        if rule.label:
            data = alt.Chart(alt.InlineData(values=[{str(rule.along): rule.at}]))
            text = data.mark_text(
                color=f"var(--{rule.colour})", text=rule.label, align="right", dx=-5, dy=7,
                fontSize=11,
                font="inherit",
            )  # fmt: skip
            marks.append((rule.along, text.encode(y=alt.value(0))))
    return marks


def _band(band: Band) -> list[Any]:
    """The shade, and the words in the middle above it."""
    marks = []
    if band.colour:
        data = alt.Chart(alt.InlineData(values=[{"x": band.low, "x2": band.high}]))
        marks.append(data.mark_rect(color=f"var(--{band.colour})").encode(x2="x2:Q"))
    if band.label:
        data = alt.Chart(alt.InlineData(values=[{"x": (band.low + band.high) / 2}]))
        text = data.mark_text(
            color=INK, text=band.label, align="center", fontSize=11, font="inherit"
        )
        marks.append(text.encode(y=alt.value(TITLE_Y)))
    return marks


def _note(note: Note) -> Any:
    data = alt.Chart(alt.InlineData(values=[{"x": note.at}]))
    text = data.mark_text(
        color=f"var(--{note.colour})", text=note.label, align="right" if note.ends else "left",
        fontSize=11,
        font="inherit",
    )  # fmt: skip
    return text.encode(y=alt.value(NOTE_Y))


def _rows(columns: dict[str, Floats]) -> list[dict[str, float | None]]:
    """Rows for vega-lite: five significant digits are finer than a pixel; None for NaN."""
    named = [
        [float(f"{value:.5g}") if math.isfinite(value) else None for value in column.tolist()]
        for column in columns.values()
    ]
    return [dict(zip(columns, row, strict=True)) for row in zip(*named, strict=True)]


_ROOT = re.compile(r'<svg [^>]*?viewBox="0 0 \S+ (\S+)"[^>]*>')
_ORIGIN = re.compile(r'transform="translate\(([-\d.]+),')


def _inline(text: str, about: str, width: int) -> str:
    """Only a viewBox, so that CSS sizes it; one name for screen readers.

    The plot begins LEFT from the picture's edge however wide its numbers are, so that plots below
    each other have one axis.
    """
    name = about.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    origin = _ORIGIN.search(text)
    left = (float(origin[1]) if origin else LEFT) - LEFT
    box = rf'<svg viewBox="{left:g} 0 {width} \1" role="img" aria-label="{name}">'
    return _ROOT.sub(box, text, count=1)
