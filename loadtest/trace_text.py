"""What a trace holds, for people. Pure: values in, lines out."""

import numpy as np

from loadtest.arrivals import dispersion, gap_cv
from loadtest.curve import Bins
from loadtest.trace import Arrivals
from loadtest.units import format_duration

WINDOWS_S = (1.0, 60.0)
BATCHED = 0.01  # share of rows at the instant of the one before, from which jitter is proposed


def trace_lines(shape: Arrivals | Bins, rate_scale: float = 1.0) -> list[str]:
    """Rows, span, rate, peak over mean, burstiness, and what the rows ask for: before any peak."""
    return _arrival_lines(shape, rate_scale) if isinstance(shape, Arrivals) else _bin_lines(shape)


def _arrival_lines(trace: Arrivals, rate_scale: float) -> list[str]:
    rows, span_s = trace.times_s.size, trace.duration_s
    rate = rows / span_s
    word = "rows" if rate_scale == 1 else f"arrivals, {rate_scale:g} x the rows,"
    size = (
        f"{rows:,} {word} over {format_duration(span_s)}: {_figure(rate)}/s, "
        f"peak/mean {trace.peak_per_s() / rate:.3g} (parts of {format_duration(span_s / 60)})"
    )
    indices = []
    for window_s in WINDOWS_S:
        index = dispersion(trace.times_s, span_s, window_s)
        known = "unknown" if index is None else _figure(index)
        indices.append(f"{known} at {format_duration(window_s)}")
    bursts = f"gap CV {gap_cv(trace.times_s):.3g}, index of dispersion {', '.join(indices)}"
    lines = [size, f"{bursts} (Poisson: 1)"]
    if trace.batched_share > BATCHED:
        lines.append(
            f"{100 * trace.batched_share:.0f} % of the rows share the stamp of the one before; "
            "--jitter would spread them"
        )
    asked = _asked(trace)
    return [*lines, *([f"each row tells {asked}"] if asked else [])]


def _asked(trace: Arrivals) -> str:
    told = []
    for name, words in (("images", "images"), ("steps", "steps"), ("prompt_chars", "characters")):
        if name in trace.asks:
            values = trace.asks[name]
            told.append(f"{words} {values.min():,}-{values.max():,} (mean {values.mean():.3g})")
    if "width" in trace.asks:
        pairs = np.stack([trace.asks["width"], trace.asks["height"]])
        sizes = np.unique(pairs, axis=1)
        words = f"{sizes[0, 0]}x{sizes[1, 0]}" if sizes.shape[1] == 1 else f"{sizes.shape[1]} sizes"
        told.append(words)
    if "user" in trace.asks:
        told.append(f"{np.unique(trace.asks['user']).size:,} users")
    return ", ".join(told)


def _bin_lines(trace: Bins) -> list[str]:
    widths = np.diff(trace.edges_s)
    counts = np.array(trace.rates_per_s) * widths
    mean = float(counts.sum()) / trace.duration_s
    index = float(counts.var(ddof=1) / counts.mean())
    width = format_duration(float(np.median(widths)))
    size = (
        f"{counts.size:,} rows, bins of {width}, over {format_duration(trace.duration_s)}: "
        f"{_figure(mean)}/s, peak/mean {max(trace.rates_per_s) / mean:.3g}"
    )
    bursts = (
        f"index of dispersion {_figure(index)} at {width}, the rate's own changes included; "
        "bins do not tell how arrivals come within them"
    )
    return [size, bursts]


def _figure(value: float) -> str:
    """Three digits and no exponent."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"
