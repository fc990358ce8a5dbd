"""A what-if as one HTML page: the figure, the tornado, goodput against block size and SLO. Pure."""

from collections.abc import Sequence

import numpy as np

from profiles import formats
from profiles.capacity.bill import Line
from profiles.capacity.sweep import Point
from profiles.report.charts import svg
from profiles.report.charts.panel import Key, Panel
from profiles.report.charts.svg import Axis, Layer, Rule
from profiles.report.html.page import drawn, page
from profiles.report.text import tables
from profiles.schema import Capacity

SIZES = (svg.NARROW, svg.MEDIUM, svg.WIDE)


def render(
    capacity: Capacity,
    lines: Sequence[Line],
    record: str,
    notes: Sequence[str],
    sweeps: Sequence[tuple[str, str, Sequence[Point]]],
    about: Sequence[tables.Row] = (),
) -> str:
    """The page.

    Args:
        capacity: of the block.
        lines: from users to dollars.
        record: how well earlier predictions did.
        notes: what a reader must know beside what the capacity says itself.
        sweeps: title, name of the x axis, points.
        about: of what it is: model, GPU, runs, SLO, date, command.
    """
    return page(
        "capacity.html",
        colour="interrupted",  # no verdict
        capacity=capacity,
        rows=tables.capacity_rows(capacity),
        swings=tables.swings(capacity),
        stands=tables.stands(capacity),
        loud=[*capacity.loud, *notes],
        lines=lines,
        record=record,
        sweeps=[
            drawn(curve(title, name, points, capacity.level)) for title, name, points in sweeps
        ],
        about=about,
        named=" on ".join(value for name, value in about if name in ("Model", "GPU")),
        as_text=formats,
    )


def curve(title: str, name: str, points: Sequence[Point], level: float) -> Panel:
    """Goodput over x with its interval as a band; without a picture where no point has a figure."""
    there = [
        (one.x, one.value, one.low, one.high)
        for one in points
        if one.value is not None and one.low is not None and one.high is not None
    ]
    pictures = [_picture(name, points, there, size) for size in SIZES] if there else [None] * 3
    return Panel(
        f"sweep-{name}",
        title,
        "images/s",
        "Each point is reckoned anew; a dashed upright marks where nothing was met before.",
        [
            Key("goodput", "c-sent"),
            Key(f"{formats.share(level)} interval", "c-band", "box"),
        ],
        pictures[0],
        medium=pictures[1],
        wide=pictures[2],
        nothing="No point of it has a figure.",
    )


def _picture(
    name: str,
    points: Sequence[Point],
    there: Sequence[tuple[float, float, float, float]],
    size: tuple[int, int],
) -> str:
    x, value, low, high = (
        np.array(column, dtype=np.float64) for column in zip(*there, strict=True)
    )
    layers = [
        Layer("area", "c-band", x, high, base=low),
        Layer("line", "c-sent", x, value, width=2.0),
        Layer("dots", "c-sent", x, value, size=30.0),
    ]
    first, last = points[0].x, points[-1].x
    never = [one.x for one in points if one.value is None]
    rules = [Rule(max(never), "ink-3", "x")] if never else []
    return svg.svg(
        layers,
        Axis(name, min(0.0, first), last),
        Axis(high=svg.nice_ceiling(1.02 * float(high.max()))),
        about=f"Goodput of the block over {name}",
        rules=[rule for rule in rules if rule.at < last],
        size=size,
    )
