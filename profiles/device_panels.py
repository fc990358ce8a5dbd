"""The charts of the hardware: GPUs, and the machine itself. Pure."""

from dataclasses import dataclass

import numpy as np

from profiles import chart, series
from profiles.chart import Axis, Layer, Rule
from profiles.columns import Recorded
from profiles.panel import Key, Panel, curve, load_end, time_axis, top
from profiles.series import Timeline
from profiles.stats import Floats

MAX_LINES = 8  # more devices than that are drawn as their range and mean
MAX_BINS = 240


@dataclass(frozen=True)
class Reading:
    """One column of the samples as a chart."""

    column: str
    title: str
    unit: str
    how: str
    scale: float = 1.0  # SI to the unit drawn
    high: float | None = None  # fixed upper end of the axis
    from_zero: bool = True


GPU_READINGS = (
    Reading(
        "util_pct",
        "GPU utilization",
        "%",
        "Share of time some kernel ran; 100 % does not mean the GPU was full.",
        high=100.0,
    ),
    Reading(
        "power_w",
        "GPU power",
        "watts",
        "Board power; a better sign of work than utilization. Its floor is what idling costs.",
    ),
    Reading(
        "mem_used_bytes",
        "GPU memory",
        "GB",
        "Weights, and what the largest batch so far needed; caches keep it up.",
        scale=1e-9,
    ),
    Reading(
        "sm_clock_mhz",
        "GPU clock",
        "MHz",
        "A fall under load is the power or temperature limit. The axis does not start at 0.",
        from_zero=False,
    ),
)
HOST_READINGS = (
    Reading(
        "cpu_pct",
        "Host CPU",
        "% of all cores",
        "A reading of the machine, not of a GPU; server and load generator share it.",
        high=100.0,
    ),
    Reading(
        "mem_used_bytes",
        "Host memory",
        "GB",
        "A reading of the machine, not of a GPU: all its processes together.",
        scale=1e-9,
    ),
)


def device_panels(recorded: Recorded, time: Timeline) -> list[Panel]:
    """A panel per reading: of the GPUs if there were any, and of the machine."""
    fine = Timeline(
        edges=series.fine_edges(time, MAX_BINS),
        load_end_s=time.load_end_s,
        planned_t_s=time.planned_t_s,
        planned_images_per_s=time.planned_images_per_s,
    )
    panels = []
    if recorded.gpus:
        names = [f"GPU {gpu.index}" for gpu in recorded.gpus]
        for reading in GPU_READINGS:
            curves = series.device_curves(
                recorded.gpus, reading.column, recorded.manifest, fine.edges
            )
            panels.append(_panel(reading, names, curves, fine, "GPU"))
    names = [host.node for host in recorded.hosts]
    for reading in HOST_READINGS:
        curves = series.device_curves(recorded.hosts, reading.column, recorded.manifest, fine.edges)
        panels.append(_panel(reading, names, curves, fine, "host"))
    return panels


def _panel(
    reading: Reading, names: list[str], curves: list[Floats], time: Timeline, kind: str
) -> Panel:
    values = reading.scale * np.array(curves, dtype=np.float64).reshape(
        len(curves), time.edges.size - 1
    )
    axis, _ = time_axis(time)
    picture = None
    layers, keys = _many(values, time) if len(names) > MAX_LINES else _few(values, names, time)
    if values.size and not np.isnan(values).all():
        about = f"{reading.title} over time"
        rules: list[Rule] = load_end(time)
        picture = chart.svg(layers, axis, _bounds(reading, values), about=about, rules=rules)
    return Panel(
        f"{kind.lower()}-{reading.column}",
        reading.title,
        reading.unit,
        reading.how,
        keys,
        picture,
        nothing=f"No {kind} reading of this kind was taken.",
    )


def _bounds(reading: Reading, values: Floats) -> Axis:
    if reading.high is not None:
        return Axis(high=reading.high)
    if reading.from_zero:
        return Axis(high=top(values))
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = max(0.15 * (high - low), 0.02 * high)
    return Axis(low=max(0.0, low - margin), high=high + margin)


def _few(values: Floats, names: list[str], time: Timeline) -> tuple[list[Layer], list[Key]]:
    layers, keys = [], []
    for place, (line, name) in enumerate(zip(values, names, strict=True)):
        colour = f"c-g{place % MAX_LINES}"
        layers += curve(time, line, colour, width=1.4)
        keys.append(Key(name, colour))
    return layers, keys


def _many(values: Floats, time: Timeline) -> tuple[list[Layer], list[Key]]:
    there = ~np.isnan(values).all(axis=0)
    low, high, mean = (np.full(values.shape[1], np.nan) for _ in range(3))
    low[there] = np.nanmin(values[:, there], axis=0)
    high[there] = np.nanmax(values[:, there], axis=0)
    mean[there] = np.nanmean(values[:, there], axis=0)
    middle = curve(time, mean, "c-g0")
    band = Layer("area", "c-g0", middle[0].x, high, base=low, opacity=0.22)
    count = values.shape[0]
    keys = [Key(f"mean of {count}", "c-g0"), Key("least to most", "c-band", "box")]
    return [band, *middle], keys
