"""The hardware's readings as curves on the load's time axis, of one device or of many. Pure.

A reading stands for the time before its instant: `gpm_span_s` for GPM's averages, and up to the
sample before it for all others. It is spread over that time, so that bins narrower than the samples
are apart have no holes, while a device that was silent leaves one.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from profiles.record.columns import Gpu, Host
from profiles.stats import arrays
from profiles.stats.arrays import Floats
from profiles.telemetry.device_means import CAUSES, GPM

Kind = Literal["level", "rate"]  # as it was read, or how fast a counter grew a second

SHARES = (0.0, 0.5, 1.0)
AVERAGES = frozenset(GPM.values())


def told(devices: Sequence[Gpu | Host], column: str) -> bool:
    """Whether any of them ever told it."""
    return any(not np.isnan(getattr(device, column)).all() for device in devices)


def quantiles(
    devices: Sequence[Gpu | Host], column: str, zero_s: float, edges: Floats, kind: Kind = "level"
) -> Floats:
    """Least, median and most of all devices' readings in each bin; shape (3, bins), NaN if none."""
    t_s, values = _pooled(devices, column, zero_s, edges, kind)
    return arrays.binned_quantiles(t_s, values, edges, SHARES)


def mean(
    devices: Sequence[Gpu | Host], column: str, zero_s: float, edges: Floats, kind: Kind = "level"
) -> Floats:
    """The mean of all devices' readings in each bin; shape (bins,), NaN if none."""
    t_s, values = _pooled(devices, column, zero_s, edges, kind)
    return arrays.binned_mean(t_s, values, edges)


def held(gpus: Sequence[Gpu], zero_s: float, edges: Floats) -> dict[str, Floats]:
    """Percent of the time each cause held the clocks down, mean of the GPUs.

    By GpuSample's counter; causes that no GPU tells are left out. A counter that steps more rarely
    than a bin is wide would exceed the time there is: such a bin is 100%.
    """
    return {
        counter: np.minimum(100.0 * mean(gpus, counter, zero_s, edges, "rate"), 100.0)
        for counter in CAUSES.values()
        if told(gpus, counter)
    }


def spread(t_s: Floats, span_s: Floats, values: Floats, width_s: float) -> tuple[Floats, Floats]:
    """Each value at instants at most `width_s` apart, all over the span before its own."""
    there = ~(np.isnan(values) | np.isnan(span_s)) & (span_s > 0)
    t_s, span_s, values = t_s[there], span_s[there], values[there]
    times = np.maximum(1, np.ceil(np.round(span_s / width_s, 6))).astype(np.int64)
    place = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    share = (place + 0.5) / np.repeat(times, times)
    return np.repeat(t_s, times) - (1.0 - share) * np.repeat(span_s, times), np.repeat(
        values, times
    )


def _pooled(
    devices: Sequence[Gpu | Host], column: str, zero_s: float, edges: Floats, kind: Kind
) -> tuple[Floats, Floats]:
    width_s = float(edges[1] - edges[0])
    parts = [_points(device, column, zero_s, width_s, kind) for device in devices]
    if not parts:
        return np.zeros(0), np.zeros(0)
    return np.concatenate([t_s for t_s, _ in parts]), np.concatenate([v for _, v in parts])


def _points(
    device: Gpu | Host, column: str, zero_s: float, width_s: float, kind: Kind
) -> tuple[Floats, Floats]:
    values = getattr(device, column)
    if column in AVERAGES and isinstance(device, Gpu):
        return spread(device.t_s - zero_s, device.gpm_span_s, values, width_s)
    there = ~np.isnan(values)
    t_s, values = device.t_s[there], values[there]
    gaps_s = np.diff(t_s)
    if not gaps_s.size:
        return t_s[:0], values[:0]
    usual_s = float(np.median(gaps_s))
    spans_s = np.minimum(np.concatenate(([usual_s], gaps_s)), arrays.GAP * usual_s)
    if kind == "rate":
        grown = np.diff(values)
        rates = np.where(grown < 0, np.nan, grown) / np.where(gaps_s > 0, gaps_s, np.nan)
        values = np.concatenate(([np.nan], rates))
    return spread(t_s - zero_s, spans_s, values, width_s)
