"""A row per GPU, a small picture per reading: which of them was unlike the others, and when. Pure.

Each column has one scale for all its GPUs, and the report's time axis from left to right. The
pictures have neither axes nor words; the figure beside each is the mean over the part of the
load that was read, by the same arithmetic as in every other table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from profiles import formats
from profiles.record.columns import Gpu, Recorded
from profiles.report.charts import device_series, events, timeline
from profiles.report.charts.device_series import Kind
from profiles.report.charts.events import Mark
from profiles.report.charts.timeline import Timeline
from profiles.stats import arrays
from profiles.stats.arrays import Floats
from profiles.telemetry.device_means import CAUSES, level_mean, throttled
from profiles.telemetry.hardware import lost_spans

MAX_BINS = 120
MAX_ROWS = 32
WIDE, HIGH = 120, 24  # of a picture, in its own units


@dataclass(frozen=True)
class Column:
    """One reading of the table; `columns` are added up."""

    title: str
    unit: str
    columns: tuple[str, ...]
    text: Callable[[float | None], str]
    kind: Kind = "level"
    scale: float = 1.0
    from_zero: bool = True


COLUMNS = (
    Column("Utilization", "%", ("util_pct",), formats.percent),
    Column("Power", "W", ("power_w",), formats.watts),
    Column("Throttled", "%", tuple(CAUSES.values()), formats.percent, "rate", 100.0),
    Column("SM clock", "MHz", ("sm_clock_mhz",), formats.megahertz, from_zero=False),
    Column("Core", "°C", ("temp_c",), formats.celsius, from_zero=False),
    Column("Memory", "°C", ("mem_temp_c",), formats.celsius, from_zero=False),
)


@dataclass(frozen=True)
class Cell:
    """One small picture as SVG, and the mean beside it."""

    picture: Markup
    told: str


@dataclass(frozen=True)
class Each:
    """The table: headers with their scales, rows of a name and its cells."""

    headers: list[tuple[str, str]]
    rows: list[tuple[str, list[Cell]]]
    left_out: int  # GPUs beyond MAX_ROWS
    any_marked: bool


def each_gpu(recorded: Recorded, time: Timeline) -> Each | None:
    """Those with marks first where there are too many; None for fewer than two GPUs."""
    gpus = recorded.gpus
    if len(gpus) < 2:
        return None
    befell = events.marks(recorded, time)
    marked = {mark.uuid for mark in befell}
    first = sorted(gpus, key=lambda gpu: gpu.uuid not in marked)[:MAX_ROWS]
    shown = [gpu for gpu in gpus if gpu in first]
    edges = timeline.fine_edges(time, MAX_BINS)
    zero_s = recorded.manifest.load_start_s or 0.0
    columns = [
        one for one in COLUMNS if any(device_series.told(gpus, name) for name in one.columns)
    ]
    curves = [[_curve(one, gpu, zero_s, edges) for gpu in shown] for one in columns]
    bounds = [_bounds(one, np.array(values)) for one, values in zip(columns, curves, strict=True)]
    backs = [_back(gpu, recorded, befell, time) for gpu in shown]
    rows = [
        (
            f"GPU {gpu.index} · {gpu.node}",
            [
                Cell(
                    _picture(values[place], low, high, back),
                    one.text(_mean(one, shown[place], zero_s, zero_s + time.load_end_s)),
                )
                for one, values, (low, high) in zip(columns, curves, bounds, strict=True)
            ],
        )
        for place, (gpu, back) in enumerate(zip(shown, backs, strict=True))
    ]
    headers = [
        (one.title, f"{low:,.0f} to {high:,.0f} {one.unit}")
        for one, (low, high) in zip(columns, bounds, strict=True)
    ]
    return Each(headers, rows, len(gpus) - len(shown), bool(marked))


def _curve(column: Column, gpu: Gpu, zero_s: float, edges: Floats) -> Floats:
    parts = [
        column.scale * device_series.mean([gpu], name, zero_s, edges, column.kind)
        for name in column.columns
        if device_series.told([gpu], name)
    ]
    if not parts:
        return np.full(edges.size - 1, np.nan)
    total: Floats = np.sum(parts, axis=0)
    return np.minimum(total, 100.0) if column.kind == "rate" else total


def _mean(column: Column, gpu: Gpu, start_s: float, end_s: float) -> float | None:
    """Over what was read of the load; causes of a clock held down are added, up to all the time."""
    if column.kind == "level":
        told = level_mean(gpu, column.columns[0], start_s, end_s)
        return None if told is None else column.scale * told
    shares = [share for share in throttled(gpu, start_s, end_s).values() if share is not None]
    return min(column.scale * sum(shares), 100.0) if shares else None


def _bounds(column: Column, values: Floats) -> tuple[float, float]:
    low, high = arrays.smallest(values.ravel()) or 0.0, arrays.largest(values.ravel()) or 0.0
    high = max(1.0, float(np.ceil(high)))
    if column.unit == "%":
        high = 100.0 if high > 50 else high
    return (0.0 if column.from_zero else float(np.floor(low)), high)


def _back(gpu: Gpu, recorded: Recorded, befell: Sequence[Mark], time: Timeline) -> str:
    """What lies behind a row's curves: the peak, when the GPU was lost, its XIDs."""
    zero_s = recorded.manifest.load_start_s or 0.0
    spans = [("peak", since_s, until_s) for name, since_s, until_s in time.phases if name == "peak"]
    for since_s, until_s in lost_spans(recorded.events, gpu.uuid):
        spans.append(("lost", max(0.0, since_s - zero_s), min(time.end_s, until_s - zero_s)))
    own = [mark for mark in befell if mark.uuid == gpu.uuid and mark.is_xid]
    ticks = sorted({_across(mark.t_s, time) for mark in own})
    boxes = [
        f'<rect class="{name}" x="{_across(since_s, time)}" y="0" height="{HIGH}" '
        f'width="{max(1, _across(until_s, time) - _across(since_s, time))}"/>'
        for name, since_s, until_s in spans
        if until_s > since_s
    ]
    return "".join(boxes) + "".join(f'<path class="xid" d="M{at} 0V{HIGH}"/>' for at in ticks)


def _across(t_s: float, time: Timeline) -> int:
    return round(WIDE * t_s / time.end_s)


def _picture(values: Floats, low: float, high: float, back: str) -> Markup:
    """A line with its area, down to the bottom at both ends; silence leaves a hole."""
    width = WIDE / values.size
    y = HIGH - 1 - (HIGH - 2) * np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)
    there = ~np.isnan(values)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], there.astype(np.int8), [0]))))
    shape = ""
    for begin, end in edges.reshape(-1, 2).tolist():
        points = "L".join(f"{width * (k + 0.5):.4g} {y[k]:.3g}" for k in range(begin, end))
        first, last = width * (begin + 0.5), width * (end - 0.5)
        shape += f"M{first:.4g} {HIGH}L{points}L{last:.4g} {HIGH}"
    return Markup(  # noqa: S704 - numbers of ours alone
        f'<svg viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none" aria-hidden="true">{back}'
        f'<path class="line" d="{shape}"/></svg>'
    )
