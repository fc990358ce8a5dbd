"""Latencies counted in bins narrow for their size: memory that does not grow with the requests.

Every octave from MIN_S on is cut into PARTS equal bins, as HdrHistogram does it: the bin is then
the leading bits of the number itself, and no logarithm is asked for. The ends hold what lies
beyond. A percentile is read at its bin's geometric middle, so it is known to RESOLUTION of itself.
"""

import math

import numpy as np
import numpy.typing as npt

from profiles.fleet.kernel.jit import compiled

OCTAVES = 27
PARTS = 128
BINS = OCTAVES * PARTS
MIN_S = 2.0**-13  # 0.12 ms; the last bin ends at 2^14 s
RESOLUTION = math.sqrt(1 + 1 / PARTS) - 1
_DROPPED = 52 - int(math.log2(PARTS))  # bits of the significand that tell no bins apart
_ZERO = int(np.float64(MIN_S).view(np.int64)) >> _DROPPED


@compiled
def bin_of(seconds: float) -> int:
    """Which bin counts a latency of 0 or more."""
    index = int(np.float64(seconds).view(np.int64) >> _DROPPED) - _ZERO
    return min(max(index, 0), BINS - 1)


def edges_s() -> npt.NDArray[np.float64]:
    """The bins' edges, shape (BINS + 1,)."""
    octaves, parts = np.divmod(np.arange(BINS + 1), PARTS)
    return np.asarray(MIN_S * np.exp2(octaves) * (1 + parts / PARTS), np.float64)


def quantile_s(counts: npt.NDArray[np.int64], share: float) -> float | None:
    """The latency that a share stays at or below, of counts of shape (BINS,); None for none."""
    total = int(counts.sum())
    if total == 0:
        return None
    rank = min(max(math.ceil(share * total), 1), total)
    index = int(np.searchsorted(np.cumsum(counts), rank))
    edges = edges_s()
    return float(math.sqrt(edges[index] * edges[index + 1]))
