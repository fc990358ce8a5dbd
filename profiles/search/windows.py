"""A search's windows, from their requests' records to figures. Pure.

A request misses the SLO if it was late, refused, failed, or never answered: everything but an ok
answer within the limit.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from profiles.record.columns import Requests
from profiles.schema import FindWindow, Outcome, SearchPlan, WindowRecord
from profiles.search.crossing import Count
from profiles.stats import arrays, warmup
from profiles.stats.arrays import Bools, Floats

WORST = 2.0  # limits: a latency beyond, and no answer, counts as this in the test of stationarity
MIN_SETTLED = 0.4  # of a window: less of it says nothing


def missed(latency_s: Floats, limit_s: float) -> Bools:
    """Which requests miss the SLO, of the latencies of ok answers; NaN where there is none."""
    return ~(latency_s < limit_s)


def warm_up(latency_s: Floats, limit_s: float) -> int:
    """How many first requests of a window are its warm-up."""
    worst = WORST * limit_s
    return warmup.cut(np.minimum(np.nan_to_num(latency_s, nan=worst), worst))


def counts(windows: Sequence[FindWindow]) -> list[Count]:
    """The windows that count, as `profiles.search.crossing` takes them."""
    return [
        Count(
            rate_per_s=each.rate_per_s,
            requests=each.requests,
            missed=each.missed,
            short=each.short,
        )
        for each in windows
        if each.thrown_out is None
    ]


def look(
    planned: Sequence[WindowRecord],
    due_s: Sequence[Floats],
    requests: Requests,
    search: SearchPlan,
    lateness_bound_s: float,
    settled_s: float = np.inf,
) -> list[FindWindow]:
    """Every window as its records tell it.

    Args:
        planned: the windows.
        due_s: the arrivals of each, on the run's clock.
        requests: the records, in any order.
        search: what was asked.
        lateness_bound_s: p99 above it throws a window out.
        settled_s: on the run's clock; of what was due later nothing is known yet.
    """
    order = np.argsort(requests.seq, kind="stable")
    return [
        _window(window, due, requests, order, search, lateness_bound_s, settled_s)
        for window, due in zip(planned, due_s, strict=True)
    ]


def _window(
    window: WindowRecord,
    due_s: Floats,
    requests: Requests,
    order: NDArray[np.int64],
    search: SearchPlan,
    bound_s: float,
    settled_s: float,
) -> FindWindow:
    seqs = requests.seq[order]
    end = window.first_seq + window.requests
    rows = order[slice(*np.searchsorted(seqs, (window.first_seq, end)))]
    latency_s, lateness_s, images = (np.full(window.requests, np.nan) for _ in range(3))
    where = requests.seq[rows] - window.first_seq
    ok = requests.where(Outcome.OK)[rows]
    latency_s[where] = np.where(ok, requests.latency_s[rows], np.nan)
    lateness_s[where] = requests.lateness_s[rows]
    images[where] = np.where(ok, requests.images[rows], 0.0)
    unsent = np.zeros(window.requests, dtype=np.bool_)
    unsent[where] = requests.where(Outcome.UNSENT)[rows]

    known = due_s <= settled_s
    first = warm_up(latency_s[known], search.limit_s)
    warm_up_s = float(due_s[first] - window.start_s) if first else 0.0
    kept = known & (np.arange(window.requests) >= first)
    p50, p95, p99 = arrays.quantiles(latency_s[kept], (0.5, 0.95, 0.99))
    late_s = arrays.quantile(lateness_s[known], 0.99)
    until_s = min(window.start_s + window.duration_s, settled_s)
    span_s = until_s - window.start_s - warm_up_s
    done = images[kept]
    return FindWindow(
        index=window.index,
        rate_per_s=window.rate_per_s,
        start_s=window.start_s,
        duration_s=window.duration_s,
        short=window.short,
        warm_up_s=warm_up_s,
        requests=int(kept.sum()),
        missed=int(missed(latency_s[kept], search.limit_s).sum()),
        completed_images_per_s=float(np.nansum(done)) / span_s if span_s > 0 else None,
        latency_p50_s=p50,
        latency_p95_s=p95,
        latency_p99_s=p99,
        lateness_p99_s=late_s,
        thrown_out=_thrown_out(window, bool(unsent.any()), span_s, late_s, bound_s),
    )


def _thrown_out(
    window: WindowRecord, unsent: bool, span_s: float, late_s: float | None, bound_s: float
) -> str | None:
    if unsent:
        return "it was cut short"
    if span_s < MIN_SETTLED * window.duration_s:
        return "too little of it is known"
    if late_s is not None and late_s > bound_s:
        return f"the generator was late: p99 {late_s * 1e3:.0f} ms, bound {bound_s * 1e3:.0f} ms"
    return None
