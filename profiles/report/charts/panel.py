"""What the report's charts are made of: a panel's words, curves on the load's time axis. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from profiles.report.charts import svg
from profiles.report.charts.svg import Axis, Band, Layer, Rule
from profiles.report.charts.timeline import Timeline
from profiles.stats import arrays
from profiles.stats.arrays import Floats

MIN_NAMED_PX = 44  # a phase narrower than that goes without its name


@dataclass(frozen=True)
class Key:
    """One entry of a legend; `mark` is "line", "dash" or "box"."""

    label: str
    colour: str
    mark: str = "line"


@dataclass(frozen=True)
class Panel:
    """One chart with its words."""

    name: str
    title: str
    unit: str
    how: str  # how to read it, one line
    keys: list[Key]
    picture: str | None  # SVG
    medium: str | None = None  # the same for a tablet or paper
    wide: str | None = None  # the same for a wide page
    nothing: str = ""  # why there is no picture


def time_axis(time: Timeline) -> tuple[Axis, float]:
    """The axis below every chart over time, and the seconds of its unit."""
    name, unit_s = "seconds", 1.0
    if time.end_s > 240:
        name, unit_s = "minutes", 60.0
    if time.end_s > 4 * 3600:
        name, unit_s = "hours", 3600.0
    return Axis(f"{name} since the load began", 0.0, time.end_s / unit_s), unit_s


def step(
    time: Timeline,
    values: Floats,
    colour: str,
    kind: Literal["line", "area"] = "line",
    base: Floats | None = None,
    width: float = 1.6,
) -> Layer:
    """A curve that holds each bin's value across the bin: two points a bin, so NaN leaves a gap."""
    _, unit_s = time_axis(time)
    x = np.repeat(time.edges / unit_s, 2)[1:-1]
    under = None if base is None else np.repeat(base, 2)
    return Layer(kind, colour, x, np.repeat(values, 2), base=under, width=width)


def curve(
    time: Timeline, values: Floats, colour: str, width: float = 1.6, dashed: bool = False
) -> list[Layer]:
    """A line through the bins' middles, with dots where a lone bin has no neighbour to join."""
    _, unit_s = time_axis(time)
    middle = (time.edges[:-1] + time.edges[1:]) / 2 / unit_s
    there = ~np.isnan(values)
    lone = there & ~np.append(there[1:], False) & ~np.insert(there[:-1], 0, False)
    return [
        Layer("line", colour, middle, values, dashed=dashed, width=width),
        Layer("dots", colour, middle[lone], values[lone]),
    ]


def stack(time: Timeline, parts: Sequence[tuple[Floats, str]]) -> tuple[list[Layer], Floats]:
    """Areas on top of each other, first at the bottom, and their total."""
    total = np.zeros(time.edges.size - 1)
    layers = []
    for values, colour in parts:
        above = total + values
        layers.append(step(time, above, colour, "area", total))
        total = above
    return layers, total


def top(*curves: Floats) -> float:
    """A round upper end for the y axis."""
    highest = [arrays.largest(values) or 0.0 for values in curves]
    return svg.nice_ceiling(1.02 * max(highest, default=0.0))


def load_end(time: Timeline, label: str = "") -> list[Rule]:
    """The upright line where the load ended, if the picture goes on beyond it."""
    axis, unit_s = time_axis(time)
    if time.load_end_s > 0.985 * time.end_s:
        return []
    return [Rule(time.load_end_s / unit_s, "ink-3", "x", label=label)] if axis else []


def phases(time: Timeline, size: tuple[int, int] = svg.NARROW) -> list[Band]:
    """The curve's rise, peak (shaded) and decay; a name where there is room for it."""
    _, unit_s = time_axis(time)
    px_per_s = (size[0] - svg.AXIS_ROOM[0]) / time.end_s
    return [
        Band(
            start_s / unit_s,
            end_s / unit_s,
            "c-phase" if name == "peak" else "",
            name if (end_s - start_s) * px_per_s >= MIN_NAMED_PX else "",
        )
        for name, start_s, end_s in time.phases
    ]
