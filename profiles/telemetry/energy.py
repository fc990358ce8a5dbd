"""Energy, measured twice: by the driver's counter and by power integrated over time. Pure.

    counter     E = C(end) - C(start)           C: what the GPU has used since the driver was loaded
    power       E = integral of P dt            trapezoids between samples: of the driver's mean of
                                                the second before each, or of instant power where
                                                there is no mean (a square wave aliases then)

A counter moves in steps, so its samples between two moves say nothing: C is read where it moved and
is linear between. It may wrap at 32 bits of mJ, and begin anew when the driver is loaded again (the
sampled power bridges that interval, unless it is long: a GPU that was lost meanwhile); one that
stands while the GPU is read is no measure at all.
A100 and H100 sample power a quarter of the time (arXiv 2312.02741), so the counter is the better
one, and only over windows far longer than its step; the two are compared, and a reader is told when
they disagree.
"""

from dataclasses import dataclass

import numpy as np

from profiles.record.columns import Gpu
from profiles.stats import arrays
from profiles.stats.arrays import Floats

COUNTER = "counter"
INTEGRATED = "integrated power"

MIN_COMPARABLE_S = 10.0  # the two are compared over at least so long
AVERAGE_S = 1.0  # what the driver's average power is over; so it stands for half of it earlier
EDGE_S = 1.0  # samples must reach this near both ends, else energy over the window is unknown
WRAP_J = 2**32 / 1e3  # of a counter with 32 bits of mJ
WRAP_NEAR = 0.1  # a wrap falls from within this share of the top to within it of 0
FROZEN_S = 5.0  # a counter that is read for so long without moving stands
GAP_PERIODS = 5.0  # samples so many usual distances apart are a gap ...
GAP_MIN_S = 1.0
MAX_UNSEEN = 0.05  # ... and power is not integrated where gaps are more than this of the window


@dataclass(frozen=True)
class Meter:
    """Energy since some instant, known at some instants and linear between; shape (points,)."""

    t_s: Floats
    joules: Floats
    step_s: float  # the usual distance of its points
    seen: tuple[float, float]  # the first and last sample

    def between(self, start_s: float, end_s: float) -> float | None:
        """What was used from start to end.

        None for a window shorter than the meter's step, or one that the samples do not reach.
        """
        if end_s - start_s < self.step_s:
            return None
        if self.seen[0] > start_s + EDGE_S or self.seen[1] < end_s - EDGE_S:
            return None
        return self._at(end_s) - self._at(start_s)

    def _at(self, t_s: float) -> float:
        """Linear, and beyond both ends at the rate of the last step there, for a step or EDGE_S."""
        t, joules = self.t_s, self.joules
        value = float(np.interp(t_s, t, joules))
        if t_s > t[-1]:
            beyond_s = min(t_s - t[-1], max(self.step_s, EDGE_S))
            value += float((joules[-1] - joules[-2]) / (t[-1] - t[-2]) * beyond_s)
        elif t_s < t[0]:
            before_s = min(t[0] - t_s, max(self.step_s, EDGE_S))
            value -= float((joules[1] - joules[0]) / (t[1] - t[0]) * before_s)
        return value


@dataclass(frozen=True)
class Metered:
    """One GPU's two meters, and what was found amiss with them."""

    counter: Meter | None
    power: Meter | None
    wraps: int = 0
    resets: int = 0
    frozen: bool = False  # the counter stood while the GPU was read


@dataclass(frozen=True)
class GpuEnergy:
    """What one GPU used over a window, by each meter; None where unknown."""

    counter_j: float | None
    integrated_j: float | None
    disagreement: float | None  # |counter - integrated| / counter
    metered: Metered


@dataclass(frozen=True)
class Energy:
    """What all GPUs used over a window; None where any GPU's is unknown."""

    joules: float | None
    basis: str | None  # COUNTER, or INTEGRATED where a GPU has no counter that moves
    disagreement: float | None  # of the worst GPU
    by_gpu: tuple[GpuEnergy, ...]

    @property
    def by_gpu_j(self) -> tuple[float | None, ...]:
        """By the meter that counts; where the sum is unknown, by whichever a GPU has."""
        if self.basis == INTEGRATED:
            return tuple(one.integrated_j for one in self.by_gpu)
        return tuple(
            one.integrated_j if one.counter_j is None else one.counter_j for one in self.by_gpu
        )

    def between(self, start_s: float, end_s: float) -> float | None:
        """All GPUs' energy over another window, by the same meter."""
        total = 0.0
        for gpu in self.by_gpu:
            meter = gpu.metered.counter if self.basis == COUNTER else gpu.metered.power
            used = meter.between(start_s, end_s) if meter else None
            if used is None:
                return None
            total += used
        return total

    @property
    def step_s(self) -> float:
        """The longest step of the meters that count."""
        used = [
            one.metered.counter if self.basis == COUNTER else one.metered.power
            for one in self.by_gpu
        ]
        return max((meter.step_s for meter in used if meter), default=0.0)


def gpu_energy(gpus: list[Gpu], start_s: float, end_s: float) -> Energy:
    """Energy from start to end by the counters, or by power where a GPU has no counter."""
    found = tuple(_one(gpu, start_s, end_s) for gpu in gpus)
    counted = [one.counter_j for one in found]
    basis = COUNTER if all(one is not None for one in counted) else INTEGRATED
    chosen = counted if basis == COUNTER else [one.integrated_j for one in found]
    there = [one for one in chosen if one is not None]
    known = bool(gpus) and len(there) == len(gpus)
    apart = [one.disagreement for one in found if one.disagreement is not None]
    return Energy(
        joules=sum(there) if known else None,
        basis=basis if known else None,
        disagreement=max(apart, default=None),
        by_gpu=found,
    )


def _one(gpu: Gpu, start_s: float, end_s: float) -> GpuEnergy:
    inside = slice(*np.searchsorted(gpu.t_s, [start_s - EDGE_S, end_s + EDGE_S]))
    columns = (gpu.t_s, gpu.energy_j, gpu.power_w, gpu.power_average_w)
    found = metered(*(column[inside] for column in columns))
    counter = found.counter.between(start_s, end_s) if found.counter else None
    power = found.power.between(start_s, end_s) if found.power else None
    apart = None
    if counter and power is not None and end_s - start_s >= MIN_COMPARABLE_S:
        apart = abs(counter - power) / counter
    return GpuEnergy(counter, power, apart, found)


def metered(
    t_s: Floats, energy_j: Floats, power_w: Floats, average_w: Floats | None = None
) -> Metered:
    """Both meters from sorted samples of the counter and of power, each of shape (samples,)."""
    if average_w is not None and not np.isnan(average_w[~np.isnan(power_w)]).any():
        power = _power_meter(t_s, average_w, AVERAGE_S / 2)
    else:
        power = _power_meter(t_s, power_w, 0.0)
    there = ~np.isnan(energy_j)
    t, counter = t_s[there], energy_j[there]
    if t.size < 2:
        return Metered(None, power)
    rise = np.diff(counter)
    wrapped = (rise < 0) & _near_wrap(counter)
    reset = (rise < 0) & ~wrapped
    rise = np.where(wrapped, rise + WRAP_J, rise)
    for at in np.flatnonzero(reset).tolist():
        rise[at] = _bridge(t, rise, at, power)
    unseen_s = float(np.diff(t)[reset].sum())  # a GPU that was lost: what it used is not known
    if unseen_s > max(GAP_MIN_S, MAX_UNSEEN * (t[-1] - t[0])):
        return Metered(None, power, int(wrapped.sum()), int(reset.sum()))
    lifted = np.concatenate(([0.0], np.cumsum(rise)))
    moved = np.flatnonzero(rise != 0) + 1
    frozen = _longest_stand(t, rise) >= FROZEN_S
    if moved.size < 2 or frozen:
        return Metered(None, power, int(wrapped.sum()), int(reset.sum()), frozen)
    step_s = float(np.median(np.diff(t[moved])))
    meter = Meter(t[moved], lifted[moved], step_s, (float(t[0]), float(t[-1])))
    return Metered(meter, power, int(wrapped.sum()), int(reset.sum()), frozen)


def _power_meter(t_s: Floats, power_w: Floats, behind_s: float) -> Meter | None:
    """Of power told so long after it was drawn; None where too little was seen."""
    there = ~np.isnan(power_w)
    t, watts = t_s[there], power_w[there]
    if t.size < 2:
        return None
    apart_s = np.diff(t)
    usual_s = float(np.median(apart_s))
    gaps_s = apart_s[apart_s > max(GAP_MIN_S, GAP_PERIODS * usual_s)]
    if gaps_s.sum() > MAX_UNSEEN * (t[-1] - t[0]):
        return None
    joules = np.concatenate(([0.0], np.cumsum(apart_s * (watts[1:] + watts[:-1]) / 2)))
    return Meter(t - behind_s, joules, usual_s, (float(t[0]), float(t[-1])))


def _near_wrap(counter: Floats) -> arrays.Bools:
    """Which falls may be a wrap: from near the top of 32 bits to near 0; shape (samples - 1,)."""
    top = (1 - WRAP_NEAR) * WRAP_J
    return (counter[:-1] >= top) & (counter[:-1] <= WRAP_J) & (counter[1:] <= WRAP_NEAR * WRAP_J)


def _bridge(t_s: Floats, rise: Floats, at: int, power: Meter | None) -> float:
    """What was used between two samples with a reset of the counter between them."""
    bridged = power.between(float(t_s[at]), float(t_s[at + 1])) if power else None
    if bridged is not None:
        return bridged
    rate_w = float(np.median(rise[rise > 0] / np.diff(t_s)[rise > 0])) if (rise > 0).any() else 0.0
    return rate_w * float(t_s[at + 1] - t_s[at])


def _longest_stand(t_s: Floats, rise: Floats) -> float:
    """The longest time for which the counter was read and did not move, seconds.

    A gap between two samples counts as one second at most: nobody looked.
    """
    longest = stands = 0.0
    for apart_s, risen in zip(np.diff(t_s).tolist(), rise.tolist(), strict=True):
        stands = 0.0 if risen else stands + min(apart_s, 1.0)
        longest = max(longest, stands)
    return longest
