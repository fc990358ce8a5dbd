"""Where a window becomes stationary: before, it says more of the past than of its rate. Pure.

MSER-5 (White, Simulation 69, 1997, 323-334): of the means Z_1 ... Z_m of every five observations,
leave out so many first ones that the standard error of what is left is least,

    d* = argmin over d <= m/2 of  sum_{j>d} (Z_j - mean_{j>d} Z)^2 / (m - d)^2.

Alone it also cuts where a stationary series happens to begin with a high excursion, and a miss
share that loses its excursions is too low. So it is asked only where the beginning differs from the
rest: Geweke's diagnostic (Bayesian Statistics 4, 1992, 169-193) compares the mean of the first
tenth with that of the last half, their variances by batch means.
"""

import numpy as np

from profiles.stats.arrays import Floats

BATCH = 5
FIRST, LAST = 0.1, 0.5
BATCHES = 5  # of the last half, for its variance
Z_DIFFERENT = 4.0  # of variances by few, dependent batches
MIN_OBSERVATIONS = 20 * BATCH  # observations; fewer are kept whole


def cut(series: Floats) -> int:
    """How many first observations to leave out, of a series in the order of its arrivals."""
    return mser(series) if series.size >= MIN_OBSERVATIONS and differs(series) else 0


def mser(series: Floats) -> int:
    """The observations that MSER-5 leaves out: at most half."""
    means = series[: series.size // BATCH * BATCH].reshape(-1, BATCH).mean(axis=1)
    left = means.size - np.arange(means.size)
    after = np.cumsum(means[::-1])[::-1]
    squares = np.cumsum(means[::-1] ** 2)[::-1]
    error = (squares - after**2 / left) / left**2
    return BATCH * int(error[: means.size // 2 + 1].argmin())


def differs(series: Floats) -> bool:
    """Whether the first tenth's mean differs from the last half's, by Geweke's diagnostic."""
    first, last = series[: int(FIRST * series.size)], series[int((1 - LAST) * series.size) :]
    size = last.size // BATCHES
    batches = last[: size * BATCHES].reshape(BATCHES, size).mean(axis=1)
    per_batch = float(batches.var(ddof=1))  # of the mean of `size` observations
    error = np.sqrt(per_batch * (size / first.size + 1 / BATCHES))
    rounding = 1e-9 * abs(last.mean())
    return bool(abs(first.mean() - last.mean()) > Z_DIFFERENT * error + rounding)
