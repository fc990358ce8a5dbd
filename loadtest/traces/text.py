"""What a trace holds and what is sent of it, for people. Pure: values in, lines out."""

import math

import numpy as np

from loadtest.traffic.curve import Bins
from loadtest.traffic.recorded import Arrivals
from loadtest.traffic.statistics import loses_bursts, of_arrivals, of_bins
from loadtest.units import format_duration, parse_duration
from profiles.schema import LoadPlan, Traffic

BATCHED = 0.01  # share of rows at the instant of the one before, from which jitter is proposed
LENGTHS = ("10s", "30s", "1min", "2min", "5min", "10min", "20min", "30min", "1h", "2h")
LONG_S = 3600.0  # of a load: beyond, a stretch is proposed


def trace_lines(shape: Arrivals | Bins, rate_scale: float = 1.0) -> list[str]:
    """Rows, span, rate, peak over mean, burstiness, and what the rows ask for: before any peak."""
    return _arrival_lines(shape, rate_scale) if isinstance(shape, Arrivals) else _bin_lines(shape)


def sent_lines(plan: LoadPlan) -> list[str]:
    """What is sent of a trace, in the figures that stand for the trace itself; and the way out.

    Empty where there is no trace.
    """
    recorded, sent = plan.recorded, plan.sent
    if recorded is None or sent is None:
        return []
    lines = [f"{_size(sent, f'{sent.requests:,.0f} requests')}; {_bursts(sent)}"]
    if loses_bursts(recorded, sent):
        ways = [f"play a window of it at real speed (--window {_round_length(plan)}@peak)"]
        ways = [] if plan.time_compression == 1 and plan.window is not None else ways
        ways.append("keep the trace's own peak (--rate-scale 1, without --peak)")
        lines.append(
            f"its gap CV is {_known(sent.gap_cv)} where the trace's is {_known(recorded.gap_cv)}: "
            f"arrivals are left out or squeezed. To keep the bursts, {', or '.join(ways)}"
        )
    return lines


def _round_length(plan: LoadPlan) -> str:
    """About as long as the load, as one would say it: "5min"."""
    most_s = plan.recorded.duration_s if plan.recorded else plan.duration_s
    fits = [word for word in LENGTHS if parse_duration(word) <= most_s] or [f"{most_s:.3g}s"]
    return min(fits, key=lambda word: abs(math.log(parse_duration(word) / plan.duration_s)))


def _arrival_lines(trace: Arrivals, rate_scale: float) -> list[str]:
    word = "rows" if rate_scale == 1 else f"arrivals, {rate_scale:g} x the rows,"
    figures = of_arrivals(trace.times_s, trace.duration_s)
    lines = [_size(figures, f"{trace.times_s.size:,} {word}"), f"{_bursts(figures)} (Poisson: 1)"]
    if trace.batched_share > BATCHED:
        lines.append(
            f"{100 * trace.batched_share:.0f}% of the rows share the stamp of the one before; "
            "--jitter would spread them"
        )
    asked = _asked(trace)
    return [*lines, *([f"each row tells {asked}"] if asked else [])]


def _size(figures: Traffic, what: str) -> str:
    """`19,366 rows over 58.4 min: 5.53/s, peak/mean 1.53 (parts of 58.4 s)`."""
    return (
        f"{what} over {format_duration(figures.duration_s)}: {_figure(figures.mean_per_s)}/s, "
        f"peak/mean {figures.peak_per_s / figures.mean_per_s:.3g} "
        f"(parts of {format_duration(figures.peak_over_s)})"
    )


def _bursts(figures: Traffic) -> str:
    indices = (("1 s", figures.dispersion_1s), ("1 min", figures.dispersion_60s))
    told = ", ".join(f"{_known(index)} at {width}" for width, index in indices)
    return f"gap CV {_known(figures.gap_cv)}, index of dispersion {told}"


def _asked(trace: Arrivals) -> str:
    told = []
    for name, words in (("images", "images"), ("steps", "steps"), ("prompt_chars", "characters")):
        if name in trace.asks:
            values = trace.asks[name][trace.asks[name] > 0]
            if values.size:
                most = f"{values.min():,}-{values.max():,}"
                told.append(f"{words} {most} (mean {values.mean():.3g})")
    if "width" in trace.asks:
        pairs = np.stack([trace.asks["width"], trace.asks["height"]])
        sizes = np.unique(pairs, axis=1)
        words = f"{sizes[0, 0]}x{sizes[1, 0]}" if sizes.shape[1] == 1 else f"{sizes.shape[1]} sizes"
        told.append(words)
    if "user" in trace.asks:
        told.append(f"{np.unique(trace.asks['user']).size:,} users")
    return ", ".join(told)


def _bin_lines(trace: Bins) -> list[str]:
    """Bins of a trace; an empty one may stand for several that are missing."""
    widths = np.diff(trace.edges_s)
    counts = np.array(trace.rates_per_s) * widths
    usual = float(np.median(widths[counts > 0]))
    bins = max(2, round(trace.duration_s / usual))
    mean = float(counts.sum()) / bins
    index = (float(np.dot(counts, counts)) - bins * mean**2) / (bins - 1) / mean
    width = format_duration(usual)
    figures = of_bins(trace)
    own = max(trace.rates_per_s) / figures.mean_per_s
    size = (
        f"{bins:,} rows, bins of {width}, over {format_duration(trace.duration_s)}: "
        f"{_figure(figures.mean_per_s)}/s, peak/mean {own:.3g}"
    )
    if figures.peak_per_s < max(trace.rates_per_s):
        size += (
            f", of {format_duration(figures.peak_over_s)} "
            f"{figures.peak_per_s / figures.mean_per_s:.3g} (a bin holds too few to tell a peak by)"
        )
    bursts = (
        f"index of dispersion {_figure(index)} at {width}, the rate's own changes included; "
        "bins do not tell how arrivals come within them"
    )
    return [size, bursts]


def _known(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}" if value < 100 else _figure(value)


def _figure(value: float) -> str:
    """Three digits and no exponent."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"
