"""Statistics over numpy columns: quantiles, time bins, integrals. Pure.

A column is a 1-D float array; NaN stands for unknown and is left out of every figure. Empty input
gives None (one figure) or NaN (a figure per bin), never 0.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MAX_BINS = 300
GAP = 2.5  # a reading stands for at most so many times the usual time between samples
TIME_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


def known(values: Floats) -> Floats:
    """The values that are not NaN, in their order."""
    return values[~np.isnan(values)]


def quantiles(values: Floats, shares: Sequence[float]) -> list[float | None]:
    """The quantile of `values` at each share (0..1), None where no value is known.

    Linear interpolation between order statistics, Hyndman and Fan's type 7 (The American
    Statistician 50, 1996), numpy's default and k6's: h = (n - 1) q, and the result is
    x[floor h] + (h - floor h) (x[floor h + 1] - x[floor h]).
    """
    finite = known(values)
    if not finite.size:
        return [None] * len(shares)
    return [float(value) for value in np.quantile(finite, shares, method="linear")]


def quantile(values: Floats, share: float) -> float | None:
    """One quantile; see `quantiles`."""
    return quantiles(values, [share])[0]


def mean(values: Floats) -> float | None:
    """The arithmetic mean, None where no value is known."""
    finite = known(values)
    return float(finite.mean()) if finite.size else None


def largest(values: Floats) -> float | None:
    """The maximum, None where no value is known."""
    finite = known(values)
    return float(finite.max()) if finite.size else None


def smallest(values: Floats) -> float | None:
    """The minimum, None where no value is known."""
    finite = known(values)
    return float(finite.min()) if finite.size else None


# -- integrals over time ---------------------------------------------------------------------


def integral(t_s: Floats, values: Floats) -> float | None:
    """The trapezoid integral of `values` over `t_s`, e.g. J from W; None below two samples."""
    there = ~np.isnan(values)
    if np.count_nonzero(there) < 2:
        return None
    return float(np.trapezoid(values[there], t_s[there]))


def time_mean(t_s: Floats, values: Floats) -> float | None:
    """The mean over the time that was read, so uneven sampling does not weigh.

    A stretch of more than GAP times the usual time between samples was not read: of a device that
    was lost meanwhile nothing is known, so it counts for neither side. One sample is its own mean.
    """
    there = ~np.isnan(values)
    t_s, values = t_s[there], values[there]
    apart_s = np.diff(t_s)
    if not apart_s.size or t_s[-1] <= t_s[0]:
        return mean(values)
    apart_s = np.where(apart_s > GAP * np.median(apart_s), 0.0, apart_s)
    total = float(apart_s.sum())
    return (
        float((apart_s * (values[1:] + values[:-1]) / 2).sum()) / total if total else mean(values)
    )


def span_mean(
    t_s: Floats, span_s: Floats, values: Floats, start_s: float, end_s: float
) -> float | None:
    """The mean over [start, end] of values that are averages themselves.

    Each stands for the `span_s` before its instant and weighs as much of that as lies inside; None
    where none does.
    """
    there = ~(np.isnan(values) | np.isnan(span_s))
    t_s, span_s, values = t_s[there], span_s[there], values[there]
    weights = np.clip(np.minimum(t_s, end_s) - np.maximum(t_s - span_s, start_s), 0.0, None)
    total = float(weights.sum())
    return float((weights * values).sum()) / total if total > 0 else None


def counter_increase(t_s: Floats, counter: Floats, start_s: float, end_s: float) -> float | None:
    """How much a counter grew from start to end, interpolated at both.

    None if fewer than two samples are known, or the counter went backwards (a driver reload).
    `t_s` must be sorted; outside the samples the nearest one stands.
    """
    there = ~np.isnan(counter)
    t_s, counter = t_s[there], counter[there]
    if t_s.size < 2 or np.any(np.diff(counter) < 0):
        return None
    first, last = np.interp([start_s, end_s], t_s, counter)
    return float(last - first)


def longest_gap(t_s: Floats, start_s: float, end_s: float) -> float:
    """The longest stretch of [start, end] without an instant of `t_s` in it, edges included."""
    inside = np.sort(t_s[(t_s >= start_s) & (t_s <= end_s)])
    return float(np.diff(np.concatenate(([start_s], inside, [end_s]))).max())


# -- bins ------------------------------------------------------------------------------------


def time_bins(start_s: float, end_s: float, max_bins: int = MAX_BINS) -> Floats:
    """Bin edges from start to at least end, at most `max_bins` bins of a round width.

    The width is the smallest of TIME_STEPS_S (beyond an hour: whole hours) that is few enough.
    """
    span = max(end_s - start_s, TIME_STEPS_S[0])
    fits = (step for step in TIME_STEPS_S if span / step <= max_bins)
    width = next(fits, 3600.0 * np.ceil(span / max_bins / 3600.0))
    count = max(1, int(np.ceil(round(span / width, 9))))
    return start_s + width * np.arange(count + 1, dtype=np.float64)


def binned_sum(t_s: Floats, weights: Floats, edges: Floats) -> Floats:
    """The sum of weights in each bin; shape (bins,). Instants outside the edges are left out."""
    there = ~(np.isnan(t_s) | np.isnan(weights))
    return np.histogram(t_s[there], edges, weights=weights[there])[0].astype(np.float64)


def binned_quantiles(t_s: Floats, values: Floats, edges: Floats, shares: Sequence[float]) -> Floats:
    """Quantiles of the values in each bin; shape (shares, bins), NaN where a bin is empty."""
    result = np.full((len(shares), edges.size - 1), np.nan)
    for index, inside in _by_bin(t_s, values, edges):
        result[:, index] = np.quantile(inside, shares)
    return result


def binned_mean(t_s: Floats, values: Floats, edges: Floats) -> Floats:
    """The mean of the values in each bin; shape (bins,), NaN where a bin is empty."""
    result = np.full(edges.size - 1, np.nan)
    for index, inside in _by_bin(t_s, values, edges):
        result[index] = inside.mean()
    return result


def _by_bin(t_s: Floats, values: Floats, edges: Floats) -> list[tuple[int, Floats]]:
    there = ~(np.isnan(t_s) | np.isnan(values)) & (t_s >= edges[0]) & (t_s <= edges[-1])
    t_s, values = t_s[there], values[there]
    if not t_s.size:
        return []
    index = np.minimum(np.searchsorted(edges, t_s, side="right") - 1, edges.size - 2)
    order = np.argsort(index, kind="stable")
    bins, first = np.unique(index[order], return_index=True)
    return list(zip(bins.tolist(), np.split(values[order], first[1:]), strict=True))


def in_flight(sent_s: Floats, done_s: Floats, edges: Floats) -> Floats:
    """The most requests in flight at once within each half-open bin; shape (bins,).

    In flight at t: sent <= t < done. Requests without both instants are left out.
    """
    there = ~(np.isnan(sent_s) | np.isnan(done_s))
    t_s = np.concatenate((sent_s[there], done_s[there]))
    step = np.concatenate((np.ones(there.sum()), -np.ones(there.sum())))
    order = np.lexsort((step, t_s))  # at one instant, those that leave go first
    level = np.cumsum(step[order])
    upto = np.searchsorted(t_s[order], edges, side="right")
    below = np.searchsorted(t_s[order], edges, side="left")
    result = np.concatenate(([0.0], level))[upto[:-1]]  # the level each bin begins with
    for index in range(edges.size - 1):
        inside = level[upto[index] : below[index + 1]]
        if inside.size:
            result[index] = max(result[index], inside.max())
    return result


def busiest_window(t_s: Floats, weights: Floats, width_s: float) -> tuple[float, float] | None:
    """The start of the half-open window of `width_s` with the largest sum of weights, and that sum.

    Some arrival opens a best window, so only those are tried. None for no arrivals.
    """
    if not t_s.size:
        return None
    order = np.argsort(t_s, kind="stable")
    t_s = t_s[order]
    before = np.concatenate(([0.0], np.cumsum(weights[order])))
    end = np.searchsorted(t_s, t_s + width_s, side="left")
    total = before[end] - before[np.arange(t_s.size)]
    best = int(total.argmax())
    return float(t_s[best]), float(total[best])
