"""The charts of the load: what the crowd asked for, what it got, and when. Pure.

A panel without a picture says why there is nothing to draw.
"""

import numpy as np

from profiles import formats
from profiles.record.columns import Recorded, Requests
from profiles.report.charts import svg, timeline
from profiles.report.charts.panel import (
    Key,
    Panel,
    curve,
    load_end,
    phases,
    stack,
    step,
    time_axis,
    top,
)
from profiles.report.charts.svg import MEDIUM, NARROW, WIDE, Axis, Layer, Rule
from profiles.report.charts.timeline import Timeline
from profiles.requests.attempts import Counted
from profiles.schema import Outcome, RunManifest
from profiles.stats import arrays
from profiles.stats.arrays import Floats

DISTRIBUTION_BINS = 48
SLO_IN_SIGHT = 1.6  # the SLO line is drawn up to this many times the highest curve
PERCENTILES = (("p50", "c-p50"), ("p95", "c-p95"), ("p99", "c-p99"))


def load_panels(recorded: Recorded, time: Timeline, counted: Counted) -> list[Panel]:
    """What the crowd asked for and got, the main one first; `counted` is since the load began."""
    requests, attempts = counted.requests, counted.attempts
    manifest = recorded.manifest
    people = manifest.plan is not None and manifest.plan.people is not None
    return [
        _throughput(counted, time, people),
        *([_amplification(counted, time, manifest)] if people else []),
        _outcomes(requests, time),
        _latency(requests, time, manifest),
        _split(requests, time, people),
        _distribution(requests, manifest),
        _in_flight(attempts, time),
        _lateness(attempts, time, manifest),
    ]


def _throughput(counted: Counted, time: Timeline, people: bool) -> Panel:
    rates = timeline.image_rates(counted, time)
    axis, unit_s = time_axis(time)
    layers = [
        step(time, rates["offered"], "c-offered", "area"),
        Layer(
            "line",
            "ink-2",
            time.planned_t_s / unit_s,
            time.planned_images_per_s,
            dashed=True,
            width=1.4,
        ),
        step(time, rates["sent"], "c-sent"),
        step(time, rates["completed"], "c-ok", width=2.2),
    ]
    high = Axis(high=top(*rates.values(), time.planned_images_per_s))
    about = "Images per second planned, offered, sent and completed over time"
    pictures = [
        svg.svg(
            layers,
            axis,
            high,
            about=about,
            rules=load_end(time, "load ends"),
            bands=phases(time, size),
            size=size,
        )
        for size in (NARROW, MEDIUM, WIDE)
    ]
    return Panel(
        "throughput",
        "What was asked for, and what came back",
        "images/s",
        f"Where green falls below grey the server does not keep up; blue below grey would be the "
        f"generator's own fault{', above it are retries' if people else ''}. "
        f"Bins of {formats.seconds(time.width_s)}; single ones lie above the plan by chance.",
        [
            Key("planned", "ink-2", "dash"),
            Key("offered (due)", "c-offered", "box"),
            Key("sent", "c-sent"),
            Key("completed (ok)", "c-ok"),
        ],
        pictures[0],
        medium=pictures[1],
        wide=pictures[2],
    )


def _amplification(counted: Counted, time: Timeline, manifest: RunManifest) -> Panel:
    rates = timeline.demand_rates(counted, manifest.slo_latency_s, time)
    axis, _ = time_axis(time)
    layers = [
        step(time, rates["attempts"], "c-offered", "area"),
        step(time, rates["first"], "c-sent"),
        step(time, rates["goodput"], "c-ok", width=2.2),
    ]
    about = "Images per second offered with retries, of original demand, and of goodput over time"
    high = Axis(high=top(*rates.values()))
    pictures = [
        svg.svg(
            layers,
            axis,
            high,
            about=about,
            rules=load_end(time),
            bands=phases(time, size),
            size=size,
        )
        for size in (NARROW, MEDIUM, WIDE)
    ]
    return Panel(
        "amplification",
        "Offered against original demand",
        "images/s",
        "Grey above blue is what retries add: amplification. Goodput that stays below blue while "
        "grey stays above it is a failure that sustains itself.",
        [
            Key("offered, all attempts", "c-offered", "box"),
            Key("original demand, first attempts", "c-sent"),
            Key("goodput", "c-ok"),
        ],
        pictures[0],
        medium=pictures[1],
        wide=pictures[2],
    )


def _outcomes(requests: Requests, time: Timeline) -> Panel:
    rates = timeline.outcome_rates(requests, time.edges)
    layers, total = stack(time, [(values, f"c-{name}") for name, values in rates.items()])
    axis, _ = time_axis(time)
    picture = None
    if rates:
        about = "Requests per second by outcome over time"
        picture = svg.svg(layers, axis, Axis(high=top(total)), about=about, bands=phases(time))
    return Panel(
        "outcomes",
        "Outcomes",
        "requests/s",
        "Each request stands at the time it was due, coloured by how it ended.",
        [Key(formats.OUTCOME_WORDS[one], f"c-{one}", "box") for one in rates],
        picture,
        nothing="No request was recorded.",
    )


def _latency(requests: Requests, time: Timeline, manifest: RunManifest) -> Panel:
    curves = timeline.latency_quantiles(requests, time.edges)
    keys = [Key(name, colour) for name, colour in PERCENTILES]
    slo, slo_key, high = _slo(manifest, curves)
    axis, _ = time_axis(time)
    picture = None
    if not np.isnan(curves).all():
        layers = [
            layer
            for values, (_, colour) in zip(curves, PERCENTILES, strict=True)
            for layer in curve(time, values, colour)
        ]
        about = "Latency percentiles of ok requests over time"
        picture = svg.svg(layers, axis, Axis(high=high), about=about, rules=slo, bands=phases(time))
    return Panel(
        "latency",
        "Latency",
        "seconds",
        "From the time a request was due to its last byte, ok requests only; p95 means 5% took "
        "longer.",
        [*keys, slo_key],
        picture,
        nothing="No request was ok, so there is no latency.",
    )


def _split(requests: Requests, time: Timeline, people: bool) -> Panel:
    parts = timeline.latency_split(requests, time.edges)
    names = (("service", "c-service"), ("queue", "c-queue"), ("elsewhere", "c-elsewhere"))
    picture = None
    if parts is not None:
        layers, total = stack(time, [(parts[name], hue) for name, hue in names])
        axis, _ = time_axis(time)
        about = "Mean latency split into service, queue and elsewhere over time"
        picture = svg.svg(layers, axis, Axis(high=top(total)), about=about, bands=phases(time))
    return Panel(
        "split",
        "Where the time went",
        "mean seconds",
        "Service is what the model takes; a growing queue means demand above capacity. Elsewhere "
        f"is {'earlier tries and the pauses between, ' if people else ''}network, HTTP and waiting "
        "to be sent.",
        [Key(name, hue, "box") for name, hue in names],
        picture,
        nothing="The server did not tell how long requests queued and were served "
        "(no Server-Timing header on an ok answer).",
    )


def _distribution(requests: Requests, manifest: RunManifest) -> Panel:
    latency_s = arrays.known(requests.latency_s[requests.where(Outcome.OK)])
    picture, beyond, keys = None, "", [Key("share of ok requests", "c-latency", "box")]
    if latency_s.size:
        p50, p95, p99 = np.quantile(latency_s, timeline.SHARES)
        largest = float(latency_s.max())
        high_s = svg.nice_ceiling(largest if largest <= 3 * p99 else 1.5 * float(p99))
        slo, slo_key, _ = _slo(manifest, np.array([high_s / SLO_IN_SIGHT]))
        slo = [Rule(rule.at, rule.colour, "x") for rule in slo if rule.at <= high_s]
        counts, edges = np.histogram(latency_s, DISTRIBUTION_BINS, (0.0, high_s))
        percent = 100.0 * counts / latency_s.size
        over = int(np.count_nonzero(latency_s > high_s))
        beyond = f" {over:,} slower than {formats.seconds(high_s)} are not drawn." if over else ""
        outline = np.repeat(edges, 2)[1:-1]
        layers = [Layer("area", "c-latency", outline, np.repeat(percent, 2))]
        marks = zip((p50, p95, p99), PERCENTILES, strict=True)
        rules = [Rule(float(at), hue, "x", dashed=False) for at, (_, hue) in marks]
        about = "Distribution of the latency of ok requests"
        picture = svg.svg(
            layers,
            Axis("seconds", 0.0, high_s),
            Axis(high=top(percent)),
            about=about,
            rules=rules + slo,
        )
        keys += [Key(name, hue) for name, hue in PERCENTILES]
        keys.append(slo_key)
    return Panel(
        "distribution",
        "Latency distribution",
        "% of ok requests",
        f"How often each latency occurred; two humps are two kinds of service.{beyond}",
        keys,
        picture,
        nothing="No request was ok, so there is no latency.",
    )


def _in_flight(attempts: Requests, time: Timeline) -> Panel:
    level = timeline.in_flight(attempts, time)
    axis, _ = time_axis(time)
    picture = None
    if np.nansum(level) > 0:
        about = "Requests in flight over time"
        layers = [step(time, level, "c-flight", "area"), step(time, level, "c-sent")]
        high = Axis(high=top(level))
        picture = svg.svg(layers, axis, high, about=about, rules=load_end(time), bands=phases(time))
    return Panel(
        "in-flight",
        "In flight",
        "requests, max per bin",
        "Sent and not yet answered. A flat top is a full queue; the tail after the load is the "
        "backlog draining.",
        [Key("in flight", "c-sent")],
        picture,
        nothing="No request was sent and answered.",
    )


def _lateness(attempts: Requests, time: Timeline, manifest: RunManifest) -> Panel:
    curves = 1e3 * timeline.lateness_quantiles(attempts, time.edges)
    bound_ms = 1e3 * manifest.lateness_bound_s
    axis, _ = time_axis(time)
    picture = None
    if not np.isnan(curves).all():
        layers = [
            layer
            for values, (_, hue) in zip(curves, PERCENTILES, strict=True)
            for layer in curve(time, values, hue)
        ]
        high = Axis(high=top(curves, np.array([bound_ms])))
        rules = [Rule(bound_ms, "c-slo")]
        about = "Lateness of the load generator over time"
        picture = svg.svg(layers, axis, high, about=about, rules=rules, bands=phases(time))
    return Panel(
        "lateness",
        "The generator's own lateness",
        "milliseconds",
        "How late requests left. If p99 of the whole run is above the bound, the run is INVALID.",
        [*(Key(name, hue) for name, hue in PERCENTILES), Key("bound", "c-slo", "dash")],
        picture,
        nothing="No request was sent.",
    )


def _slo(manifest: RunManifest, curves: Floats) -> tuple[list[Rule], Key, float]:
    """The SLO line if it is in sight, its legend entry, and the upper end of the axis."""
    slo_s = manifest.slo_latency_s
    told = f"SLO {formats.seconds(slo_s)}"
    highest = arrays.largest(curves.ravel()) or 0.0
    if slo_s > SLO_IN_SIGHT * highest:
        return [], Key(f"{told}, above this picture", "c-slo", "dash"), top(curves)
    high = svg.nice_ceiling(1.05 * max(slo_s, highest))
    return [Rule(slo_s, "c-slo")], Key(told, "c-slo", "dash"), high
