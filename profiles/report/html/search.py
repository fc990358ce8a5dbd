"""A search's folder as one HTML file, in the report's own style. `render` is the pure core."""

from pathlib import Path

import numpy as np

from profiles import formats
from profiles.record.folder import RunFolder
from profiles.report.charts import svg
from profiles.report.charts.panel import Key, Panel
from profiles.report.charts.svg import MEDIUM, NARROW, WIDE, Axis, Layer, Rule
from profiles.report.html.page import drawn, page
from profiles.report.text import tables
from profiles.report.text.search import TOP, drawn_windows, headline
from profiles.schema import FindResult, FindVerdict, FindWindow, RunManifest, Verdict

HEAD = ("window", "requests/s", "images/s", "p50", "p95", "p99", "missed", "warm-up", "late p99")
DOT = 64.0  # square pixels


def write_find_report(folder: RunFolder, result: FindResult) -> Path:
    """Make report.html of a search, and give its path.

    Raises:
        RunError: run.json is unreadable, or the report cannot be written.
    """
    folder.write_report(render(result, folder.manifest()))
    return folder.report_path


def render(result: FindResult, manifest: RunManifest) -> str:
    """The report as HTML."""
    return page(
        "find.html",
        colour=_colour(result).value,
        result=result,
        manifest=manifest,
        says=headline(result),
        chart=drawn(panel(result)),
        head=HEAD,
        rows=_rows(result),
        missed=[missed(each, result) for each in result.windows],
        environment=tables.environment(manifest),
    )


def panel(result: FindResult) -> Panel:
    """Latency over throughput; without a picture where there are too few windows."""
    enough = len(drawn_windows(result)) >= 2
    pictures = [_picture(result, size) if enough else None for size in (NARROW, MEDIUM, WIDE)]
    return Panel(
        "latency",
        "Throughput against latency",
        "seconds",
        "A dot a window of constant Poisson arrivals, after its warm-up. Windows slower than the "
        "picture are drawn at its upper edge.",
        [
            Key("p50 of a window", "c-p50", "dot"),
            Key("p95 of a window", "c-p95", "dot"),
            Key("p95 of a window that missed the SLO", "c-failed", "dot"),
            Key(result.slo, "c-slo", "dash"),
            Key("capacity", "ink-2"),
            Key("its 95% interval", "c-band", "box"),
        ],
        pictures[0],
        medium=pictures[1],
        wide=pictures[2],
        nothing="Too few windows to draw.",
    )


def _picture(result: FindResult, size: tuple[int, int]) -> str:
    shown = drawn_windows(result)
    x = np.array([each.completed_images_per_s for each in shown], dtype=np.float64)
    top_s = svg.nice_ceiling(TOP * result.limit_s)
    right = svg.nice_ceiling(1.02 * float(max(x.max(), result.high_images_per_s or 0.0)))
    layers, rules = [], [Rule(result.limit_s, "c-slo")]
    if result.low_images_per_s is not None and result.high_images_per_s is not None:
        band = np.array([result.low_images_per_s, result.high_images_per_s])
        layers.append(Layer("area", "c-band", band, np.full(2, top_s), opacity=0.6))
    if result.images_per_s is not None:
        rules.append(Rule(result.images_per_s, "ink-2", "x", dashed=False))
    has_missed = np.array([missed(each, result) for each in shown])
    for name, colour, which in (
        ("latency_p50_s", "c-p50", np.full(len(shown), True)),
        ("latency_p95_s", "c-p95", ~has_missed),
        ("latency_p95_s", "c-failed", has_missed),
    ):
        y = np.array([getattr(each, name) for each in shown], dtype=np.float64)
        if which.any():
            layers.append(Layer("dots", colour, x[which], np.minimum(y, top_s)[which], size=DOT))
    about = "Latency percentiles of each window over its throughput, with the SLO and the capacity"
    axis = Axis("images/s completed", 0.0, right)
    return svg.svg(layers, axis, Axis(high=top_s), about=about, rules=rules, size=size)


def missed(window: FindWindow, result: FindResult) -> bool:
    """Whether more of its requests missed the SLO than may."""
    share = window.miss_share
    return share is not None and share > result.allowed_share


def _rows(result: FindResult) -> list[list[str]]:
    return [
        [
            str(each.index + 1),
            formats.number(each.rate_per_s),
            formats.number(each.completed_images_per_s),
            formats.seconds(each.latency_p50_s),
            formats.seconds(each.latency_p95_s),
            formats.seconds(each.latency_p99_s),
            formats.share(each.miss_share),
            formats.seconds(each.warm_up_s),
            formats.seconds(each.lateness_p99_s),
            each.thrown_out or ("ramp" if each.short else ""),
        ]
        for each in result.windows
    ]


def _colour(result: FindResult) -> Verdict:
    if not result.valid or result.verdict is FindVerdict.UNKNOWN:
        return Verdict.INVALID
    if result.interrupted:
        return Verdict.INTERRUPTED
    return Verdict.FAIL if result.verdict is FindVerdict.UNMET else Verdict.PASS
