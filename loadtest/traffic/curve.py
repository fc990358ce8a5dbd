"""Rate curves: how fast a crowd arrives, as a pure function of time.

Every curve is a frozen value with

    duration_s       seconds; the curve is 0 outside [0, duration_s]
    rate(t)          arrivals/s at the times t (float64 array, seconds) -> array of the same shape
    integral(t)      expected arrivals in [0, t]: the exact integral of rate, in closed form

A rate is in the curve's own unit (people/s for an event, requests/s or images/s for a stress test);
what it means on this node is decided by `loadtest.plan.plan`.
"""

import math
from collections.abc import Iterable
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.units import Duration

SUDDEN_S = 1e-9  # a rise of 0 is taken as this long

Array = npt.NDArray[np.float64]
MAX_RATE = 1e12  # of a rate or a weight: no infinity, and sums and products of them are numbers
NonNegative = Annotated[float, msgspec.Meta(ge=0, le=MAX_RATE)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=MAX_RATE)]


class _Curve(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings common to all curves: they are told apart by `kind`."""

    @property
    def duration_s(self) -> float:
        raise NotImplementedError

    def rate(self, t: Array) -> Array:
        raise NotImplementedError

    def integral(self, t: Array) -> Array:
        raise NotImplementedError

    def _clip(self, t: Array) -> Array:
        clipped: Array = np.clip(t, 0.0, self.duration_s)
        return clipped

    def _inside(self, t: Array) -> npt.NDArray[np.bool_]:
        return (t >= 0) & (t <= self.duration_s)


class Constant(_Curve, tag="constant", tag_field="kind", frozen=True, kw_only=True):
    """The same rate throughout: rate(t) = r."""

    rate_per_s: NonNegative
    duration: Duration

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return float(self.duration)

    def rate(self, t: Array) -> Array:
        """Arrivals/s at t."""
        return np.where(self._inside(t), self.rate_per_s, 0.0)

    def integral(self, t: Array) -> Array:
        """r·t."""
        return self.rate_per_s * self._clip(t)


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One stair of `Steps`."""

    rate_per_s: NonNegative
    duration: Duration


class Steps(_Curve, tag="steps", tag_field="kind", frozen=True, kw_only=True):
    """Stairs: each step holds its rate for its duration."""

    steps: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1)]

    @property
    def _edges(self) -> Array:
        return np.concatenate([[0.0], np.cumsum([float(s.duration) for s in self.steps])])

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return float(self._edges[-1])

    def rate(self, t: Array) -> Array:
        """Arrivals/s at t."""
        index = np.clip(np.searchsorted(self._edges, t, side="right") - 1, 0, len(self.steps) - 1)
        rates = np.array([s.rate_per_s for s in self.steps])
        return np.where(self._inside(t), rates[index], 0.0)

    def integral(self, t: Array) -> Array:
        """Sum of the stairs' areas up to t."""
        areas = [s.rate_per_s * float(s.duration) for s in self.steps]
        return interpolate(t, self._edges, np.concatenate([[0.0], np.cumsum(areas)]))


class Ramp(_Curve, tag="ramp", tag_field="kind", frozen=True, kw_only=True):
    """A straight line from one rate to another: rate(t) = a + (b - a)·t/T."""

    from_per_s: NonNegative
    to_per_s: NonNegative
    duration: Duration

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return float(self.duration)

    def rate(self, t: Array) -> Array:
        """Arrivals/s at t."""
        slope = (self.to_per_s - self.from_per_s) / max(self.duration_s, SUDDEN_S)
        return np.where(self._inside(t), self.from_per_s + slope * t, 0.0)

    def integral(self, t: Array) -> Array:
        """a·t + (b - a)·t²/2T."""
        t = self._clip(t)
        slope = (self.to_per_s - self.from_per_s) / max(self.duration_s, SUDDEN_S)
        return self.from_per_s * t + slope * t * t / 2


class Bass(_Curve, tag="bass", tag_field="kind", frozen=True, kw_only=True):
    """Adoption by innovators and imitators (Bass, Management Science 15(5), 1969).

    With M adopters in the end, innovation p and imitation q, both per `per`, the adopted share is

        F(x) = (1 - e^{-(p+q)x}) / (1 + (q/p)·e^{-(p+q)x})

    the rate is M·dF/dx, and it peaks at x = ln(q/p)/(p+q). The curve shows the window of length
    `duration` that begins `begin` after the launch.
    """

    adopters: Positive
    p: Positive
    q: NonNegative
    per: Duration
    begin: Duration = Duration(0.0)
    duration: Duration

    def __post_init__(self) -> None:
        if self.per <= 0:
            raise ValueError('per: expected a duration above 0, such as "1h"')

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return float(self.duration)

    def _share(self, t: Array) -> Array:
        decay = np.exp(-(self.p + self.q) * (t + self.begin) / self.per)
        share: Array = (1 - decay) / (1 + self.q / self.p * decay)
        return share

    def rate(self, t: Array) -> Array:
        """M·(p + q)²/p · e / (1 + (q/p)·e)² with e = e^{-(p+q)x}, per second."""
        pq = self.p + self.q
        decay = np.exp(-pq * (t + self.begin) / self.per)
        per_unit: Array = (
            self.adopters * pq**2 / self.p * decay / (1 + self.q / self.p * decay) ** 2
        )
        return np.where(self._inside(t), per_unit / self.per, 0.0)

    def integral(self, t: Array) -> Array:
        """M·(F(begin + t) - F(begin))."""
        adopted: Array = self._share(self._clip(t)) - self._share(np.zeros(1))
        return self.adopters * adopted


class FlashCrowd(_Curve, tag="flash", tag_field="kind", frozen=True, kw_only=True):
    """A flash crowd: base, straight rise to `magnitude` x base, hold, decay with a half-life.

    The decay is towards the base: base·(1 + (magnitude - 1)·2^{-(t - t₀)/half_life}). Shape after
    Ari et al., MASCOTS 2003; the parameters' range from the World Cup 1998 logs (Arlitt and Jin).
    """

    base_per_s: Positive
    magnitude: Annotated[float, msgspec.Meta(ge=1, le=MAX_RATE)]
    begin: Duration
    rise: Duration
    hold: Duration
    half_life: Duration
    duration: Duration

    def __post_init__(self) -> None:
        if self.half_life <= 0:
            raise ValueError('half_life: expected a duration above 0, such as "12min"')

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return float(self.duration)

    def rate(self, t: Array) -> Array:
        """Arrivals/s at t."""
        since = t - self.begin
        up = np.clip(since / max(self.rise, SUDDEN_S), 0.0, 1.0)
        after = np.maximum(since - self.rise - self.hold, 0.0)
        extra = (self.magnitude - 1) * up * np.exp2(-after / self.half_life)
        return np.where(self._inside(t), self.base_per_s * (1 + extra), 0.0)

    def integral(self, t: Array) -> Array:
        """base·(t + (magnitude - 1)·(triangle + hold + decayed tail))."""
        t = self._clip(t)
        since = np.maximum(t - self.begin, 0.0)
        triangle = np.minimum(since, self.rise) ** 2 / (2 * max(self.rise, SUDDEN_S))
        held = np.clip(since - self.rise, 0.0, self.hold)
        after = np.maximum(since - self.rise - self.hold, 0.0)
        tail = self.half_life / math.log(2) * (1 - np.exp2(-after / self.half_life))
        return self.base_per_s * (t + (self.magnitude - 1) * (triangle + held + tail))


class Bins(_Curve, tag="bins", tag_field="kind", frozen=True, kw_only=True):
    """Measured rates: `rates_per_s[i]` holds between `edges_s[i]` and `edges_s[i + 1]`."""

    edges_s: Annotated[tuple[float, ...], msgspec.Meta(min_length=2)]
    rates_per_s: tuple[float, ...]

    def __post_init__(self) -> None:
        edges, rates = np.asarray(self.edges_s), np.asarray(self.rates_per_s)
        if edges.size != rates.size + 1:
            raise ValueError(f"{rates.size} rates_per_s need one edge more, got {edges.size}")
        if edges[0] != 0 or not (np.diff(edges) > 0).all() or not np.isfinite(edges[-1]):
            raise ValueError("edges_s: expected seconds that rise from 0")
        if not ((rates >= 0) & (rates <= MAX_RATE)).all():
            raise ValueError(f"rates_per_s: expected rates from 0 to {MAX_RATE:g}")

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return self.edges_s[-1]

    def rate(self, t: Array) -> Array:
        """Arrivals/s at t."""
        index = np.searchsorted(self.edges_s, t, side="right") - 1
        rates = np.asarray(self.rates_per_s)[np.clip(index, 0, len(self.rates_per_s) - 1)]
        return np.where(self._inside(t), rates, 0.0)

    def integral(self, t: Array) -> Array:
        """Sum of the bins' areas up to t."""
        areas = np.diff(self.edges_s) * self.rates_per_s
        return interpolate(t, self.edges_s, np.concatenate([[0.0], np.cumsum(areas)]))


Single = Constant | Steps | Ramp | Bass | FlashCrowd | Bins


class Wave(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A curve that begins `at` seconds into the whole."""

    at: Duration = Duration(0.0)
    curve: Single


class Waves(_Curve, tag="waves", tag_field="kind", frozen=True, kw_only=True):
    """The sum of curves, each with a beginning of its own."""

    waves: Annotated[tuple[Wave, ...], msgspec.Meta(min_length=1)]

    @property
    def duration_s(self) -> float:
        """Seconds, to the end of the last wave."""
        return max(wave.at + wave.curve.duration_s for wave in self.waves)

    def rate(self, t: Array) -> Array:
        """Arrivals/s at t."""
        return _total(wave.curve.rate(t - wave.at) for wave in self.waves)

    def integral(self, t: Array) -> Array:
        """Sum of the waves' integrals."""
        return _total(wave.curve.integral(t - wave.at) for wave in self.waves)


Curve = Single | Waves


def _total(parts: Iterable[Array]) -> Array:
    total: Array = np.sum(list(parts), axis=0)
    return total


def interpolate(x: Array, xs: Array | tuple[float, ...], ys: Array) -> Array:
    """Straight lines through the points (xs, ys), at x; the end values beyond them."""
    y: Array = np.interp(x, xs, ys)
    return y


def peak_rate(curve: Curve, points: int = 20_001) -> float:
    """The highest rate, in arrivals/s, on a grid of `points` instants (exact for bins)."""
    if isinstance(curve, Bins):
        return max(curve.rates_per_s)
    return float(curve.rate(np.linspace(0.0, curve.duration_s, points)).max())


def total(curve: Curve) -> float:
    """Expected arrivals over the whole curve."""
    return float(curve.integral(np.array([curve.duration_s]))[0])
