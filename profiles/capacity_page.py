"""A what-if as one HTML page: the figure, the tornado, goodput against block size and SLO. Pure."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from profiles import chart, facts, figures
from profiles.chart import Axis, Layer, Rule
from profiles.money import Line
from profiles.pages import page
from profiles.schema import Capacity
from profiles.sweep import Point


def render(
    capacity: Capacity,
    lines: Sequence[Line],
    record: str,
    notes: Sequence[str],
    sweeps: Sequence[tuple[str, str, Sequence[Point]]],
) -> str:
    """The page. `sweeps`: title, name of the x axis, points."""
    return page(
        "capacity.html",
        colour="interrupted",  # no verdict
        capacity=capacity,
        rows=facts.capacity_rows(capacity),
        swings=facts.swings(capacity),
        stands=facts.stands(capacity),
        loud=[*capacity.loud, *notes],
        lines=lines,
        record=record,
        sweeps=[
            (title, Markup(drawn) if drawn else None)  # noqa: S704
            for title, drawn in ((title, curve(name, points)) for title, name, points in sweeps)
        ],
        as_text=figures,
    )


def curve(name: str, points: Sequence[Point]) -> str | None:
    """Goodput over x with its interval as a band, an SVG; None where no point has a figure."""
    there = [
        (one.x, one.value, one.low, one.high)
        for one in points
        if one.value is not None and one.low is not None and one.high is not None
    ]
    if not there:
        return None
    x, value, low, high = (
        np.array(column, dtype=np.float64) for column in zip(*there, strict=True)
    )
    layers = [
        Layer("area", "c-band", x, high, base=low),
        Layer("line", "c-sent", x, value, width=2.0),
        Layer("dots", "c-sent", x, value),
    ]
    first, last = points[0].x, points[-1].x
    never = [one.x for one in points if one.value is None]
    rules = [Rule(max(never), "ink-3", "x", label="never met before")] if never else []
    return chart.svg(
        layers,
        Axis(name, min(0.0, first), last),
        Axis(high=chart.nice_ceiling(1.02 * float(high.max()))),
        about=f"Goodput of the block over {name}",
        rules=[rule for rule in rules if rule.at < last],
        size=chart.MEDIUM,
    )
