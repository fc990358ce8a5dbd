"""How late a generator was, by when its requests arrived; a search for its highest rate. Pure.

Generators do not tell when each request was due, so the k-th arrival is held against the k-th due
time: the lateness is how far the count of arrivals lags the count that was asked for. When second 0
of the schedule was is taken from the arrivals, too: the 1% that were earliest against it are on
time. The way from client to server is left out thereby, for every generator alike.
"""

from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

EARLIEST = 0.01  # of the arrivals; they tell when the schedule began
GRACE_S = 1.0  # after the schedule's end, in which an arrival still counts as sent

Array = npt.NDArray[np.float64]


class Punctuality(msgspec.Struct, frozen=True, kw_only=True):
    """How a generator kept to its schedule.

    Attributes:
        lateness_p50_s: Of the requests that were sent.
        lateness_p99_s: Likewise.
        sent_share: Of those asked for, within GRACE_S of the schedule's end.
    """

    lateness_p50_s: float | None
    lateness_p99_s: float | None
    sent_share: float


def even_due_s(rate_per_s: float, seconds: float) -> Array:
    """When the requests of a constant rate are due, from the first one's."""
    due: Array = np.arange(round(rate_per_s * seconds)) / rate_per_s
    return due


def lateness_s(arrived_s: Array, due_s: Array) -> Array:
    """Each arrival's lateness, at least 0.

    Args:
        arrived_s: on any clock, in any order.
        due_s: sorted, on any clock.
    """
    count = min(arrived_s.size, due_s.size)
    after: Array = np.sort(arrived_s)[:count] - due_s[:count]
    if not count:
        return after
    late: Array = np.maximum(after - np.quantile(after, EARLIEST, method="lower"), 0.0)
    return late


def punctuality(arrived_s: Array, due_s: Array) -> Punctuality:
    """Lateness and share of what was sent."""
    late = lateness_s(arrived_s, due_s)
    if not late.size:
        return Punctuality(lateness_p50_s=None, lateness_p99_s=None, sent_share=0.0)
    zero_s = np.sort(arrived_s)[0] - due_s[0] - late[0]
    in_time = np.count_nonzero(arrived_s <= zero_s + due_s[-1] + GRACE_S)
    p50_s, p99_s = (float(np.quantile(late, share, method="higher")) for share in (0.5, 0.99))
    return Punctuality(
        lateness_p50_s=p50_s,
        lateness_p99_s=p99_s,
        sent_share=min(1.0, float(in_time) / due_s.size),
    )


def count_difference(arrived_s: Array, due_s: Array, tolerance_s: float) -> int:
    """The greatest difference of the counts of arrivals and of due times, over all instants.

    Both are on one clock. An arrival within `tolerance_s` of a due time may stand for it: the count
    is behind only by what was due longer than that ago, ahead only by what is due later than that.
    """
    arrived, due = np.sort(arrived_s), np.sort(due_s)
    if not arrived.size or not due.size:
        return int(max(arrived.size, due.size))
    # behind: just before the k-th instant by which something must have arrived
    behind = np.arange(1, due.size + 1) - np.searchsorted(arrived, due + tolerance_s, "right")
    ahead = np.arange(1, arrived.size + 1) - np.searchsorted(due, arrived + tolerance_s, "right")
    return int(max(behind.max(), ahead.max(), 0))


def highest(
    holds: Callable[[float], bool], start: float, most: float, ratio: float
) -> float | None:
    """The highest rate that holds, to within `ratio`; None if not even `start`/16 does.

    Doubles from `start` (halves, if that does not hold) up to `most`, then bisects geometrically.
    """
    low, high = 0.0, start
    if holds(start):
        low = start
        while low < most:
            high = min(2 * low, most)
            if not holds(high):
                break
            low = high
        else:
            return low
    else:
        while not low and high > start / 16:
            if holds(high / 2):
                low = high / 2
            else:
                high /= 2
        if not low:
            return None
    while high / low > ratio:
        middle = float(round((low * high) ** 0.5))
        if middle in (low, high):
            break
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
