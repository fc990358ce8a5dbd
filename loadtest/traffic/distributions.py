"""Distributions of a time, by their quantile function: a uniform draw in, seconds out. Pure.

A draw u from (0, 1) becomes Q(u) (inverse transform sampling; Devroye, Non-Uniform Random Variate
Generation, 1986, ch. II.2), so that one uniform a value is all the chance there is, and the same
seed gives the same times on every machine.
"""

from statistics import NormalDist
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.units import Duration

Array = npt.NDArray[np.float64]

_NORMAL = NormalDist()
_GRID = np.linspace(0.0, 1.0, 4097)[1:-1]  # the normal quantile, tabulated and interpolated


class _Spread(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A distribution of seconds."""


class Fixed(_Spread, tag="fixed", tag_field="kind", frozen=True, kw_only=True):
    """Always the same."""

    value: Duration

    def quantile(self, u: Array) -> Array:
        """The value."""
        return np.full_like(u, self.value)


class Exponential(_Spread, tag="exponential", tag_field="kind", frozen=True, kw_only=True):
    """Memoryless, Q(u) = -mean·ln(1 - u)."""

    mean: Duration

    def quantile(self, u: Array) -> Array:
        """Seconds that a share u stays below."""
        return -self.mean * np.log1p(-u)


class LogNormal(_Spread, tag="lognormal", tag_field="kind", frozen=True, kw_only=True):
    """The logarithm is normal, Q(u) = median·exp(sigma·z(u)), z the standard normal quantile."""

    median: Duration
    sigma: Annotated[float, msgspec.Meta(ge=0, le=10)]  # at 10, 1 in 10 waits 370,000 medians

    def quantile(self, u: Array) -> Array:
        """Seconds that a share u stays below."""
        table = np.array([_NORMAL.inv_cdf(float(share)) for share in _GRID])
        seconds: Array = self.median * np.exp(self.sigma * np.interp(u, _GRID, table))
        return seconds


class Quantiles(_Spread, tag="quantiles", tag_field="kind", frozen=True, kw_only=True):
    """Measured percentiles, joined by straight lines in ln Q; the outer lines go on to 0 and 1.

    For measurements that are no log-normal: GenTD26's gaps between one user's requests, 27, 73 and
    704 s, lie 1.0 and 2.3 from their median in logarithms, where a log-normal's would lie alike.
    """

    p10: Duration
    p50: Duration
    p90: Duration

    def quantile(self, u: Array) -> Array:
        """Seconds that a share u stays below."""
        low, middle, high = np.log([self.p10, self.p50, self.p90])
        first, last = (middle - low) / 0.4, (high - middle) / 0.4
        seconds: Array = np.exp(middle + np.where(u < 0.5, first, last) * (u - 0.5))
        return seconds


Spread = Fixed | Exponential | LogNormal | Quantiles


def fault(spread: Spread) -> str | None:
    """What is impossible about a distribution, in words; None if nothing is."""
    if isinstance(spread, Quantiles) and not 0 < spread.p10 <= spread.p50 <= spread.p90:
        return "the percentiles must be above 0 and not fall from p10 to p50 to p90"
    if isinstance(spread, LogNormal) and spread.median <= 0:
        return "the median of a lognormal must be above 0"
    if isinstance(spread, Exponential) and spread.mean <= 0:
        return "the mean of an exponential must be above 0"
    return None


def quantile(spread: Spread, share: float) -> float:
    """One quantile, in seconds."""
    return float(spread.quantile(np.array([share]))[0])


def uniforms(seed: int, stream: int, count: int) -> Array:
    """`count` draws from (0, 1) of a numbered stream; the k-th depends on seed, stream and k only.

    PCG64's doubles, whose stream numpy does not change; 0 itself is moved to the next above it.
    """
    draws = np.random.Generator(np.random.PCG64([seed, stream])).random(count)
    return np.maximum(draws, 2.0**-54)


def pick(weights: dict[int, float], u: Array) -> npt.NDArray[np.int64]:
    """The keys of a mix, key -> weight, at each draw."""
    keys = np.array(sorted(weights), dtype=np.int64)
    shares = np.cumsum([weights[int(key)] for key in keys])
    index = np.searchsorted(shares / shares[-1], u, side="right").clip(max=keys.size - 1)
    picked: npt.NDArray[np.int64] = keys[index]
    return picked
