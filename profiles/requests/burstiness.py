"""How a load's requests came around its curve: the arrivals that a cell must bear. Pure.

    dispersion(w) = sum_k (N_k - E_k)^2 / E_k / (K - 1)    N_k came in the k-th of K windows of w
                                                           seconds, of which the curve expects E_k

is the index of dispersion about the curve (Cox and Lewis, The Statistical Analysis of Series of
Events, 1966): 1 for Poisson arrivals whatever the curve, more in bursts, 0 where they are even.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from profiles.record.columns import Requests
from profiles.requests.rates import LoadWindow
from profiles.schema import LoadPlan
from profiles.stats.arrays import Floats

PARTS = 60  # windows of a load ...
LONGEST_S = 60.0  # ... of at most so long
MIN_WINDOWS = 10
GRID = 1001
BLOCKS = 12  # of a load, for another draw of it
LEVEL = 1.1  # peak over mean of a curve that is flat


@dataclass(frozen=True)
class Arrivals:
    """The requests of one cell over a load, or over its busiest stretch."""

    times_s: Floats  # sorted, from the beginning; shape (requests,)
    duration_s: float
    peak_per_s: float  # the curve's highest rate, requests/s
    dispersion: float | None  # about the curve, in windows of window_s; None: too short to tell
    window_s: float
    told: str  # whose they are, in words
    reached: Floats  # share of the curve by equally spaced instants, 0 to 1; shape (GRID,)
    compression: float = 1.0  # of the curve's time: above 1 its peak is so much shorter

    @property
    def bursty(self) -> bool:
        """Whether more than chance sets them apart from Poisson arrivals, by more than a half."""
        if self.dispersion is None:
            return False
        windows = max(1.0, self.duration_s / self.window_s)
        return self.dispersion > max(1.5, 1.0 + 3.0 * math.sqrt(2.0 / windows))

    @property
    def words(self) -> str:
        """`the run's own 600 arrivals: peak 1.5 times the mean, dispersion 16 at 10 s`."""
        mean = self.times_s.size / self.duration_s
        words = f"{self.told}: peak {self.peak_per_s / mean:.3g} times the mean"
        if self.dispersion is None:
            return words
        return f"{words}, dispersion {self.dispersion:.3g} at {self.window_s:.3g} s"

    @property
    def level(self) -> bool:
        """Whether the curve is flat, so that the load might as well go on."""
        return self.peak_per_s < LEVEL * self.times_s.size / self.duration_s

    def resampled(self, random: np.random.Generator, copies: int = 1) -> "Arrivals":
        """Another draw of such arrivals around the same curve, `copies` times over: a bootstrap.

        Blocks of the arrivals, each a twelfth of what the curve expects, put in random order with
        replacement; neighbours stay neighbours, so bursts stay bursts.
        """
        grid = np.linspace(0.0, self.duration_s, self.reached.size)
        rescaled_times = np.interp(self.times_s, grid, self.reached)
        ring = np.concatenate([rescaled_times, rescaled_times + 1.0])
        starts = random.random(BLOCKS * copies)
        firsts, ends = np.searchsorted(ring, starts), np.searchsorted(ring, starts + 1.0 / BLOCKS)
        moved = np.concatenate([
            ring[first:end] - start + place / BLOCKS
            for place, (first, end, start) in enumerate(zip(firsts, ends, starts, strict=True))
        ])  # fmt: skip
        copy = np.minimum(np.floor(moved), copies - 1)
        times = copy * self.duration_s + np.interp(moved - copy, self.reached, grid)
        return replace(
            self,
            times_s=np.sort(times),
            duration_s=copies * self.duration_s,
            peak_per_s=self.peak_per_s * times.size / (copies * self.times_s.size),
            reached=np.concatenate([(c + self.reached) / copies for c in range(copies)]),
        )

    def busiest(self, most: int) -> "Arrivals":
        """The stretch of at most `most` arrivals in the least time; the peak stays the whole's."""
        if self.times_s.size <= most:
            return self
        spans = self.times_s[most - 1 :] - self.times_s[: 1 - most]
        first = int(np.argmin(spans))
        times = self.times_s[first : first + most]
        return replace(
            self,
            times_s=times - times[0],
            duration_s=float(times[-1] - times[0]),
            told=f"{self.told}, the busiest {most:,} of {self.times_s.size:,}",
        )


def arrivals(
    times_s: Floats, duration_s: float, curve_t_s: Floats, curve: Floats, told: str
) -> Arrivals | None:
    """Instants around a curve, given at equal distances in any unit; None where none came."""
    times = np.sort(times_s[(times_s >= 0.0) & (times_s < duration_s)])
    mean = float(curve.mean()) if curve.size else 0.0
    if times.size == 0 or duration_s <= 0.0 or mean <= 0.0:
        return None
    window_s = min(duration_s / PARTS, LONGEST_S)
    count = max(1, round(duration_s / window_s))
    edges = np.linspace(0.0, duration_s, count + 1)
    came = np.histogram(times, edges)[0]
    shape = np.maximum(np.interp((edges[:-1] + edges[1:]) / 2.0, curve_t_s, curve), 0.0)
    expected = shape * (times.size / max(float(shape.sum()), 1e-300))
    there = expected > 0.0
    windows = int(there.sum())
    dispersion = None
    if windows >= MIN_WINDOWS:
        apart = (came[there] - expected[there]) ** 2 / expected[there]
        dispersion = float(apart.sum()) / (windows - 1)
    return Arrivals(
        times_s=times,
        duration_s=duration_s,
        peak_per_s=float(curve.max()) / mean * times.size / duration_s,
        dispersion=dispersion,
        window_s=duration_s / count,
        told=told,
        reached=_reached(curve_t_s, curve, duration_s),
    )


def _reached(curve_t_s: Floats, curve: Floats, duration_s: float) -> Floats:
    edges = np.linspace(0.0, duration_s, GRID)
    rate = np.maximum(np.interp((edges[:-1] + edges[1:]) / 2.0, curve_t_s, curve), 0.0)
    reached = np.concatenate([[0.0], np.cumsum(rate)])
    share: Floats = reached / max(float(reached[-1]), 1e-300)
    return share


def own_arrivals(requests: Requests, plan: LoadPlan | None, window: LoadWindow) -> Arrivals | None:
    """When a run's requests were due, around its plan's curve; None where there is no plan."""
    if plan is None or len(plan.curve_t_s) == 0:
        return None
    due = requests.scheduled_s - window.start_s
    found = arrivals(
        due[~np.isnan(due)],
        window.duration_s,
        np.array(plan.curve_t_s),
        np.array(plan.curve_images_per_s),
        f"the run's own {due.size:,} arrivals",
    )
    return None if found is None else replace(found, compression=plan.time_compression)
