"""How requests come, in figures: of a trace as recorded, and of a schedule as sent. Pure."""

import numpy as np
import numpy.typing as npt

from loadtest.traffic.arrivals import dispersion, gap_cv
from loadtest.traffic.curve import Bins, total
from loadtest.traffic.recorded import MAX_PARTS, MIN_IN_PEAK, Arrivals, busiest_part
from profiles.schema import Traffic

Array = npt.NDArray[np.float64]

BURSTY_CV = 1.3  # a gap CV that chance does not explain
KEPT = 0.8  # of the file's gap CV: what is sent with less has lost bursts


def of_arrivals(times_s: Array, duration_s: float) -> Traffic:
    """The figures of sorted instants within `duration_s`."""
    peak_per_s, parts = busiest_part(times_s, duration_s)
    return Traffic(
        requests=float(times_s.size),
        duration_s=duration_s,
        peak_per_s=peak_per_s,
        peak_over_s=duration_s / parts,
        gap_cv=gap_cv(times_s) if times_s.size > 2 and times_s[-1] > times_s[0] else None,
        dispersion_1s=dispersion(times_s, duration_s, 1.0),
        dispersion_60s=dispersion(times_s, duration_s, 60.0),
    )


def of_bins(bins: Bins) -> Traffic:
    """The figures of recorded bins, which do not tell how arrivals come within them."""
    peak_per_s, over_s = peak_of_bins(bins)
    return Traffic(
        requests=total(bins), duration_s=bins.duration_s, peak_per_s=peak_per_s, peak_over_s=over_s
    )


def of_shape(shape: Arrivals | Bins) -> Traffic:
    """The figures of a trace."""
    return of_bins(shape) if isinstance(shape, Bins) else of_arrivals(
        shape.times_s, shape.duration_s
    )  # fmt: skip


def peak_of_bins(bins: Bins) -> tuple[float, float]:
    """Arrivals/s at the peak of recorded bins, and over how many seconds.

    The busiest bin's rate; where it holds fewer than MIN_IN_PEAK arrivals, that of the busiest of
    equal parts, halved in number until one holds as many, though not below MAX_PARTS of them.
    """
    rates, widths = np.asarray(bins.rates_per_s), np.diff(bins.edges_s)
    at, parts = int(np.argmax(rates)), rates.size
    peak_per_s, over_s = float(rates[at]), float(widths[at])
    while peak_per_s * over_s < MIN_IN_PEAK and parts >= 2 * MAX_PARTS:
        parts //= 2
        counts = np.diff(bins.integral(np.linspace(0.0, bins.duration_s, parts + 1)))
        over_s = bins.duration_s / parts
        peak_per_s = float(counts.max()) / over_s
    return peak_per_s, over_s


def loses_bursts(recorded: Traffic, sent: Traffic) -> bool:
    """Whether a bursty trace is sent with clearly less of its bursts."""
    if recorded.gap_cv is None or recorded.gap_cv < BURSTY_CV:
        return False
    return sent.gap_cv is None or sent.gap_cv < KEPT * recorded.gap_cv
