"""Chance by count, not by state: the n-th draw of a stream is a function of (seed, stream, n).

A counter goes through the finalizer of SplitMix64 (Steele, Lea and Flood, Fast Splittable
Pseudorandom Number Generators, OOPSLA 2014). So no draw depends on the order of others, threads
cannot change a figure, and two fleets with one seed see the same people.
"""

import math

import numpy as np
import numpy.typing as npt

from profiles.fleet.kernel.jit import compiled

# Streams.
ARRIVAL, ROUTE, WORK, SPEED, CLASS, PATIENCE, THINK, GO_ON, JITTER, COLD, FAILURE, CELL = range(12)
IMAGES, STEPS = 12, 13
WISHES = 1024  # draws kept apart for one person: of each wish one

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_UNIT = 2.0**-53


@compiled
def mixed(z: np.uint64) -> np.uint64:
    """All 64 bits of z stirred into each other; a bijection."""
    z = (z ^ (z >> _S30)) * _FIRST
    z = (z ^ (z >> _S27)) * _SECOND
    return z ^ (z >> _S31)


@compiled
def draw(seed: np.uint64, stream: int, n: int) -> float:
    """The n-th uniform of a stream, from [0, 1)."""
    base = mixed(seed + np.uint64(stream + 1) * _GOLDEN)
    return float(mixed(base + np.uint64(n + 1) * _GOLDEN) >> _S11) * _UNIT


@compiled
def exponential(seed: np.uint64, stream: int, n: int) -> float:
    """The same as an exponential of mean 1."""
    return -math.log(1.0 - draw(seed, stream, n))  # exact to the last bit: u is a multiple of 2⁻⁵³


@compiled
def quantile(table: npt.NDArray[np.float64], u: float) -> float:
    """A quantile function given at equal shares 0 .. 1, straight between; inf for no table."""
    if table.size == 0:
        return math.inf
    at = u * (table.size - 1)
    low = min(int(at), table.size - 1)
    high = min(low + 1, table.size - 1)
    return float(table[low] + (at - low) * (table[high] - table[low]))


@compiled
def picked(mix: npt.NDArray[np.float64], u: float) -> int:
    """The value of a mix at u; rows of (cumulative share, value), shape (values, 2)."""
    at = 0
    while at < mix.shape[0] - 1 and u >= mix[at, 0]:
        at += 1
    return int(mix[at, 1])


def cell_seed(seed: int, cell: int) -> np.uint64:
    """The seed of one cell of a fleet."""
    return np.uint64(int(draw(np.uint64(seed), CELL, cell) * 2.0**53))
