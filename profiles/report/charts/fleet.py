"""The charts of a simulated hour, like those of a run; each says that it is simulated. Pure."""

from collections.abc import Sequence

import numpy as np

from profiles import formats
from profiles.fleet.kernel import histogram
from profiles.report.charts import svg
from profiles.report.charts.panel import Key, Panel, curve, stack, step, time_axis, top
from profiles.report.charts.svg import MEDIUM, NARROW, WIDE, Axis, Layer, Rule
from profiles.report.charts.timeline import Timeline
from profiles.schema import Outcome
from profiles.schema.fleet import Simulated
from profiles.stats.arrays import Floats

PERCENTILES = (("p50", "c-p50"), ("p95", "c-p95"), ("p99", "c-p99"))
SIMULATED = "Simulated. "


def panels(played: Simulated) -> list[Panel]:
    """All of them, the main one first."""
    time = timeline(played)
    return [
        _throughput(played, time),
        _outcomes(played, time),
        _latency(played, time),
        _distribution(played),
        _in_flight(played, time),
        _gpus(played, time),
    ]


def timeline(played: Simulated) -> Timeline:
    """Minutes from 0 to the load's end."""
    minutes = len(played.minutes["offered_per_s"])
    edges = np.minimum(np.arange(minutes + 1) * 60.0, played.duration_s)
    return Timeline(
        edges=edges,
        load_end_s=played.duration_s,
        planned_t_s=np.zeros(0),
        planned_images_per_s=np.zeros(0),
    )


def _of(played: Simulated, name: str) -> Floats:
    return np.array(played.minutes[name], np.float64)


def _throughput(played: Simulated, time: Timeline) -> Panel:
    rates = {name: _of(played, f"{name}_per_s")
             for name in ("attempts", "offered", "completed", "goodput")}  # fmt: skip
    axis, _ = time_axis(time)
    layers = [
        step(time, rates["attempts"], "c-offered", "area"),
        step(time, rates["offered"], "c-sent"),
        step(time, rates["completed"], "c-p95"),
        step(time, rates["goodput"], "c-ok", width=2.2),
    ]
    about = "Simulated images per second attempted, offered, completed and in time"
    high = Axis(high=top(*rates.values()))
    pictures = [
        svg.svg(layers, axis, high, about=about, size=size) for size in (NARROW, MEDIUM, WIDE)
    ]
    return Panel(
        "throughput",
        "What would be asked for, and what would come back",
        "images/s, simulated",
        SIMULATED + "Grey above blue is what retries add; green is what comes back within "
        f"{formats.seconds(played.slo_s)}. A value a minute.",
        [
            Key("attempts", "c-offered", "box"),
            Key("offered", "c-sent"),
            Key("completed", "c-p95"),
            Key("goodput", "c-ok"),
        ],
        pictures[0],
        medium=pictures[1],
        wide=pictures[2],
    )


def _outcomes(played: Simulated, time: Timeline) -> Panel:
    rates = {one: _of(played, f"{one.value}_per_s") for one in Outcome}
    seen = {one: values for one, values in rates.items() if values.any()}
    layers, total = stack(time, [(values, f"c-{one.value}") for one, values in seen.items()])
    axis, _ = time_axis(time)
    about = "Simulated requests per second by outcome"
    picture = svg.svg(layers, axis, Axis(high=top(total)), about=about) if seen else None
    return Panel(
        "outcomes",
        "Outcomes",
        "requests/s, simulated",
        SIMULATED + "Each request stands at the time it was due, coloured by how it ended.",
        [Key(formats.OUTCOME_WORDS[one], f"c-{one.value}", "box") for one in seen],
        picture,
        nothing="No request was simulated.",
    )


def _latency(played: Simulated, time: Timeline) -> Panel:
    told = played.latency_by_minute_s
    curves = [np.array([np.nan if v is None else v for v in told[name]]) for name, _ in PERCENTILES]
    axis, _ = time_axis(time)
    picture = None
    if not np.isnan(curves).all():
        layers = [
            layer
            for values, (_, colour) in zip(curves, PERCENTILES, strict=True)
            for layer in curve(time, values, colour)
        ]
        high = top(*curves)
        rules = [Rule(played.slo_s, "c-slo")] if played.slo_s <= high else []
        about = "Simulated latency percentiles of ok requests"
        picture = svg.svg(layers, axis, Axis(high=high), about=about, rules=rules)
    return Panel(
        "latency",
        "Latency",
        "seconds, simulated",
        SIMULATED + "From the time an image was wanted, ok requests only; p95 means 5% would "
        "take longer.",
        [*(Key(name, hue) for name, hue in PERCENTILES), _slo_key(played)],
        picture,
        nothing="No request was ok, so there is no latency.",
    )


def _distribution(played: Simulated) -> Panel:
    counts = np.array(played.latency_counts, np.float64)
    picture = None
    if counts.sum() > 0:
        edges = histogram.edges_s()
        high_s = svg.nice_ceiling(1.5 * (played.latency_p99_s or 1.0))
        bins = np.linspace(0.0, high_s, 49)
        middles = np.sqrt(edges[:-1] * edges[1:])
        percent = 100 * np.histogram(middles, bins, weights=counts)[0] / counts.sum()
        layers = [Layer("area", "c-latency", np.repeat(bins, 2)[1:-1], np.repeat(percent, 2))]
        marks = ((played.latency_p50_s, "c-p50"), (played.latency_p95_s, "c-p95"),
                 (played.latency_p99_s, "c-p99"))  # fmt: skip
        rules = [Rule(at, hue, "x", dashed=False) for at, hue in marks if at is not None]
        if played.slo_s <= high_s:
            rules.append(Rule(played.slo_s, "c-slo", "x"))
        about = "Distribution of the simulated latency of ok requests"
        axes = (Axis("seconds", 0.0, high_s), Axis(high=top(percent)))
        picture = svg.svg(layers, *axes, about=about, rules=rules)
    return Panel(
        "distribution",
        "Latency distribution",
        "% of ok requests, simulated",
        SIMULATED + "How often each latency would occur.",
        [Key("share", "c-latency", "box"), *(Key(n, h) for n, h in PERCENTILES), _slo_key(played)],
        picture,
        nothing="No request was ok, so there is no latency.",
    )


def _in_flight(played: Simulated, time: Timeline) -> Panel:
    return _levels(
        time,
        "in-flight",
        "In flight",
        "requests, simulated",
        "Sent and not yet answered, the mean of each minute.",
        [("in flight", "c-sent", _of(played, "in_flight"))],
    )


def _gpus(played: Simulated, time: Timeline) -> Panel:
    return _levels(
        time,
        "gpus",
        "Servers" if played.fleet.service.no_gpu else "GPUs",
        "simulated",
        "Ready means loaded and not failed, busy means at least one image on it.",
        [
            ("ready", "c-sent", _of(played, "gpus_ready")),
            ("busy", "c-ok", _of(played, "gpus_busy")),
        ],
    )


def _levels(
    time: Timeline,
    name: str,
    title: str,
    unit: str,
    how: str,
    lines: Sequence[tuple[str, str, Floats]],
) -> Panel:
    axis, _ = time_axis(time)
    layers = [step(time, values, hue) for _, hue, values in lines]
    high = Axis(high=top(*(values for _, _, values in lines)))
    picture = svg.svg(layers, axis, high, about=f"{title}, simulated")
    keys = [Key(label, hue) for label, hue, _ in lines]
    return Panel(name, title, unit, SIMULATED + how, keys, picture)


def _slo_key(played: Simulated) -> Key:
    return Key(f"SLO {formats.seconds(played.slo_s)}", "c-slo", "dash")
