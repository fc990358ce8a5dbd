"""How far a mean over time may be chance when neighbours resemble each other. Pure.

The stationary bootstrap (Politis and Romano, JASA 89, 1994) draws blocks of random length,
geometric with mean b, from the series taken as a ring, until they are as long as the series, and
looks at how the means of such series spread. Within a block neighbours stay neighbours, so their
likeness counts.

    b = (2 G^2 / D)^(1/3) n^(1/3)
    G = sum_k w(k/M) |k| R(k),   D = 2 g(0)^2,   g(0) = sum_k w(k/M) R(k)

is the block length rule of Politis and White (Econometric Reviews 23, 2004; corrected by Patton,
Politis and White 2009): R is the autocovariance, w the flat-top window (1 up to 1/2, then falling
to 0), M = 2 m, and m the smallest lag after which K_n = max(5, sqrt(log10 n)) autocorrelations in
a row are within 2 sqrt(log10(n) / n) of 0.
"""

import math
from dataclasses import dataclass

import numpy as np

from profiles.stats.arrays import Floats

RESAMPLES = 2000
MIN_WINDOWS = 2


@dataclass(frozen=True)
class Spread:
    """The mean of a series, and what is known of how sure it is."""

    mean: float
    sd: float  # standard error of the mean
    degrees: float  # of freedom of that sd: about one a block, less one
    block: float  # mean block length, in windows


def block_length(values: Floats) -> float:
    """Politis and White's mean block length for the stationary bootstrap, in values; at least 1.

    At most a third of the series: fewer than three blocks tell nothing of how blocks spread.
    """
    n = values.size
    most = max(1.0, n / 3.0)
    centred = values - values.mean()
    variance = float(centred @ centred) / n
    if n < 4 or variance <= 0.0:
        return 1.0
    correlation = np.array(
        [float(centred[k:] @ centred[: n - k]) / n / variance for k in range(n // 2 + 1)]
    )
    lags = _window_lag(correlation, n)
    k = np.arange(1, lags + 1)
    weight = np.clip(2.0 * (1.0 - k / max(lags, 1)), 0.0, 1.0)
    near = correlation[1 : lags + 1]
    g0 = 1.0 + 2.0 * float(weight @ near)
    slope = 2.0 * float(weight @ (k * near))
    if g0 <= 0.0:
        return 1.0
    return float(np.clip((slope**2 / g0**2) ** (1 / 3) * n ** (1 / 3), 1.0, most))


def _window_lag(correlation: Floats, n: int) -> int:
    """M: twice the last lag that still matters, within the lags there are."""
    bound = 2.0 * math.sqrt(math.log10(n) / n)
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    small = np.abs(correlation[1:]) < bound
    last = next(
        (m for m in range(small.size) if small[m : m + run].all()), small.size
    )  # lags m+1 ... m+run are all small
    return int(min(max(1, 2 * last), correlation.size - 1))


def spread(values: Floats, seed: int = 0, resamples: int = RESAMPLES) -> Spread:
    """The mean of `values`, shape (windows,), with its standard error by the stationary bootstrap.

    The error is widened by sqrt(B / (B - 1)) with B = n / b blocks, as a variance of B values is,
    and has B - 1 degrees of freedom.

    Raises:
        ValueError: fewer than two windows.
    """
    n = values.size
    if n < MIN_WINDOWS:
        raise ValueError(f"{n} window: one says nothing of how windows differ")
    block = block_length(values)
    random = np.random.default_rng(seed)
    fresh = random.random((resamples, n)) < 1.0 / block
    fresh[:, 0] = True
    starts = random.integers(0, n, (resamples, n))
    position = np.arange(n)
    since = position - np.maximum.accumulate(np.where(fresh, position, 0), axis=1)
    begun = np.maximum.accumulate(np.where(fresh, position, 0), axis=1)
    rows = (np.take_along_axis(starts, begun, axis=1) + since) % n
    means = values[rows].mean(axis=1)
    blocks = max(MIN_WINDOWS, n / block)
    widened = float(means.std(ddof=1)) * math.sqrt(blocks / (blocks - 1.0))
    return Spread(mean=float(values.mean()), sd=widened, degrees=blocks - 1.0, block=block)
