"""Latencies counted in bins of equal ratio: memory that does not grow with the requests.

Bin i holds LEAST_S·RATIO^i .. LEAST_S·RATIO^(i+1); the ends hold what lies beyond. A percentile is
read at its bin's geometric middle, so it is known to RESOLUTION of itself.
"""

import math

import numpy as np
import numpy.typing as npt

from profiles.fleet_compile import compiled

RATIO = 1.01
LEAST_S = 1e-4
BINS = 1900  # to 1.6e4 s
RESOLUTION = math.sqrt(RATIO) - 1
_SCALE = 1.0 / math.log(RATIO)
_ZERO = math.log(LEAST_S)


@compiled
def bin_of(seconds: float) -> int:
    """Which bin counts a latency."""
    if seconds <= LEAST_S:
        return 0
    return min(int((math.log(seconds) - _ZERO) * _SCALE), BINS - 1)


def edges_s() -> npt.NDArray[np.float64]:
    """The bins' edges, shape (BINS + 1,)."""
    return np.asarray(LEAST_S * np.power(RATIO, np.arange(BINS + 1)), np.float64)


def quantile_s(counts: npt.NDArray[np.int64], share: float) -> float | None:
    """The latency that a share stays at or below, of counts of shape (BINS,); None for none."""
    total = int(counts.sum())
    if total == 0:
        return None
    rank = min(max(math.ceil(share * total), 1), total)
    index = int(np.searchsorted(np.cumsum(counts), rank))
    return float(LEAST_S * RATIO ** (index + 0.5))
