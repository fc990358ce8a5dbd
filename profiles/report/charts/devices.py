"""The charts of the hardware: GPUs, and the machine itself. Pure.

A panel has a curve for each of its readings that some device told: the median of all devices, and
for the first curve the least to the most of them. A panel without any is left out, and named.
"""

from collections.abc import Sequence

import numpy as np

from profiles.record.columns import Gpu, Host, Recorded
from profiles.report.charts import device_series, events, svg, timeline
from profiles.report.charts import work as work_chart
from profiles.report.charts.device_readings import (
    CAUSES,
    GPU_READINGS,
    HOST_READINGS,
    Curve,
    Reading,
)
from profiles.report.charts.events import Mark
from profiles.report.charts.panel import Key, Panel, curve, load_end, phases, stack, time_axis, top
from profiles.report.charts.svg import Axis, Layer, Rule
from profiles.report.charts.timeline import Timeline
from profiles.requests.attempts import Counted
from profiles.schema import GpuInfo
from profiles.stats import arrays
from profiles.stats.arrays import Floats
from profiles.telemetry.phases import used_gpus

MAX_BINS = 240
HELD_BINS = 120
HELD_MIN_S = 1.0  # counters of held time may step less often than they are read
LIMIT_IN_SIGHT = 1.6  # a limit is drawn up to this many times the highest curve


def device_panels(recorded: Recorded, time: Timeline, counted: Counted) -> list[Panel]:
    """The work first, then a panel per kind of reading of the GPUs, and of the machine."""
    befell = events.marks(recorded, time)
    gpus = used_gpus(recorded.gpus, recorded.requests)
    info = {one.uuid: one for one in recorded.manifest.gpus}
    infos = [info[gpu.uuid] for gpu in gpus if gpu.uuid in info]
    zero_s = recorded.manifest.load_start_s or 0.0
    drawn = [
        work_chart.work_panel(recorded, gpus, time, befell, counted),
        *(_panel(one, gpus, time, zero_s, befell, infos) for one in GPU_READINGS[:2]),
        _held(gpus, time, zero_s, befell),
        *(_panel(one, gpus, time, zero_s, befell, infos) for one in GPU_READINGS[2:]),
        *(_panel(one, recorded.hosts, time, zero_s, []) for one in HOST_READINGS),
    ]
    return [panel for panel in drawn if panel is not None]


def untold(recorded: Recorded) -> list[str]:
    """What is not drawn since no GPU told it; empty without GPUs."""
    gpus = recorded.gpus
    if not gpus:
        return []
    found = [_missing(one.title, {c.column: c.label for c in one.curves}, gpus)
             for one in GPU_READINGS]  # fmt: skip
    found.append(
        _missing("clock throttling", {name: word for name, (word, _) in CAUSES.items()}, gpus)
    )
    found.append(_missing("tensor pipe", {"tensor_pct": ""}, gpus))
    return [one for one in found if one]


def _missing(title: str, labels: dict[str, str], gpus: Sequence[Gpu]) -> str:
    """`GPU temperature (memory)`, or the title alone where all of it is missing."""
    silent = [word for name, word in labels.items() if not device_series.told(gpus, name)]
    if len(silent) == len(labels):
        return title
    return f"{title} ({', '.join(silent)})" if silent else ""


def _panel(
    reading: Reading,
    devices: Sequence[Gpu | Host],
    time: Timeline,
    zero_s: float,
    befell: Sequence[Mark],
    infos: Sequence[GpuInfo] = (),
) -> Panel | None:
    shown = [one for one in reading.curves if device_series.told(devices, one.column)]
    if not shown:
        return None
    edges = timeline.fine_edges(time, MAX_BINS)
    values = reading.scale * np.array(
        [device_series.quantiles(devices, one.column, zero_s, edges, reading.kind) for one in shown]
    )
    if np.isnan(values).all():  # told, but not while the load was on
        return None
    layers, keys = _curves(shown, values, _fine(time, edges))
    keys.append(Key(_band_words(shown, devices), "c-band", "box"))
    limits, limit_keys, high = _limit(reading, infos, values)
    axis, _ = time_axis(time)
    picture = svg.svg(
        layers,
        axis,
        _bounds(reading, values, high),
        about=f"{reading.title} over time",
        rules=limits + load_end(time) + events.rules(befell, time),
        bands=phases(time),
    )
    return Panel(
        reading.name,
        reading.title,
        reading.unit,
        " ".join(how for how in [*(one.how for one in shown), reading.how] if how),
        keys + limit_keys,
        picture,
    )


def _curves(
    shown: Sequence[Curve], values: Floats, time: Timeline
) -> tuple[list[Layer], list[Key]]:
    """The first's range below all, then each median; values of shape (curves, 3, bins).

    The first is drawn over the others, and dashed ones over that, where it shows between them.
    """
    layers: list[Layer] = []
    backwards = list(zip(shown, values[:, 1], strict=True))[::-1]
    for one, median in sorted(backwards, key=lambda pair: pair[0].dashed):
        layers += curve(time, median, one.colour, dashed=one.dashed)
    least, _, most = values[0]
    band = Layer("area", shown[0].colour, layers[0].x, most, base=least, opacity=0.2)
    keys = [Key(one.label, one.colour, "dash" if one.dashed else "line") for one in shown]
    return [band, *layers], keys


def _band_words(shown: Sequence[Curve], devices: Sequence[Gpu | Host]) -> str:
    of = f" over {len(devices)}" if len(devices) > 1 else ""
    what = f" {shown[0].label}" if len(shown) > 1 else ""
    return f"range{what}{of}"


def _fine(time: Timeline, edges: Floats) -> Timeline:
    return Timeline(edges, time.load_end_s, time.planned_t_s, time.planned_images_per_s)


def _limit(
    reading: Reading, infos: Sequence[GpuInfo], values: Floats
) -> tuple[list[Rule], list[Key], float]:
    """The lines of the GPUs' limits if in sight, their legend entry, the axis' upper end."""
    highest = arrays.largest(values.ravel()) or 0.0
    found = {getattr(one, reading.limit) for one in infos} if reading.limit else set()
    limits = sorted(reading.scale * one for one in found if one is not None)
    if not limits:
        return [], [], highest
    told = " and ".join(f"{one:,.0f}" for one in sorted({limits[0], limits[-1]}))
    label = f"{reading.limit_word} {told} {reading.unit.split(' ')[0].replace('watts', 'W')}"
    if limits[-1] > LIMIT_IN_SIGHT * highest:
        return [], [Key(f"{label}, above this picture", "c-slo", "dash")], highest
    rules = [Rule(one, "c-slo") for one in {limits[0], limits[-1]}]
    return rules, [Key(label, "c-slo", "dash")], max(highest, limits[-1])


def _bounds(reading: Reading, values: Floats, highest: float) -> Axis:
    if reading.high is not None:
        return Axis(high=reading.high)
    if reading.from_zero:
        return Axis(high=top(np.array([highest])))
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = max(0.1 * (high - low), 0.02 * high)
    return Axis(low=max(0.0, low - margin), high=high + margin)


def _held(
    gpus: Sequence[Gpu], time: Timeline, zero_s: float, befell: Sequence[Mark]
) -> Panel | None:
    """The share of time the clocks were held down, by cause, stacked."""
    bins = int(np.clip(time.end_s / HELD_MIN_S, 1, HELD_BINS))
    fine = _fine(time, timeline.fine_edges(time, bins))
    told = device_series.held(gpus, zero_s, fine.edges)
    shares = {name: values for name, values in told.items() if not np.isnan(values).all()}
    if not shares:
        return None
    present = {name: values for name, values in shares.items() if np.nansum(values) > 0}
    layers, _ = stack(fine, [(values, CAUSES[name][1]) for name, values in present.items()])
    axis, _ = time_axis(time)
    picture = None
    if present:
        picture = svg.svg(
            layers,
            axis,
            Axis(high=top(*(layer.y for layer in layers))),
            about="Clock throttling by cause over time",
            rules=load_end(time) + events.rules(befell, time),
            bands=phases(time),
        )
    words = ", ".join(word for word, _ in (CAUSES[name] for name in shares))
    return Panel(
        "gpu-held",
        "Clock throttling",
        "% of the time",
        "Time below the wanted clock by cause, mean of the GPUs. Causes can coincide, and are then "
        "both counted.",
        [Key(*CAUSES[name], "box") for name in present],
        picture,
        nothing=f"No clock throttling by any cause that is reported: {words}.",
    )
