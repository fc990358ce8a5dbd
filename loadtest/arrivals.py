"""From a curve and a seed to arrival times: exact, and the same in every process.

Poisson arrivals of a varying rate come from a unit-rate Poisson process through the inverse of the
integrated rate, t_i = L⁻¹(E_1 + ... + E_i) with L(t) the expected arrivals by t and E_i unit
exponentials (time-rescaling theorem; Çinlar, Introduction to Stochastic Processes, 1975). L is
evaluated exactly on GRID points and taken as straight between two of them.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from loadtest.curve import interpolate

Array = npt.NDArray[np.float64]

GRID = 100_001


def poisson(integral: Callable[[Array], Array], duration_s: float, seed: int) -> Array:
    """Arrival times (seconds, sorted) of a Poisson process with expected arrivals `integral(t)`."""
    grid = np.linspace(0.0, duration_s, GRID)
    mass = integral(grid)
    rng = np.random.Generator(np.random.PCG64(seed))
    marks: list[Array] = []
    reached = 0.0
    while reached <= mass[-1]:
        # uniforms through the logarithm, not numpy's ziggurat, whose stream may change
        gaps = -np.log1p(-rng.random(int(mass[-1] - reached) + 64))
        chunk = reached + np.cumsum(gaps)
        marks.append(chunk)
        reached = float(chunk[-1])
    every = np.concatenate(marks)
    return interpolate(every[every < mass[-1]], mass, grid)


def even(integral: Callable[[Array], Array], duration_s: float) -> Array:
    """Arrival times (seconds, sorted) spaced so that the k-th comes when k - 1/2 are expected."""
    grid = np.linspace(0.0, duration_s, GRID)
    mass = integral(grid)
    return interpolate(np.arange(0.5, mass[-1]), mass, grid)


def resample(times: Array, scale: float, seed: int) -> Array:
    """Recorded arrival times at `scale` times their rate, their shape kept.

    Below 1 each arrival is kept with probability `scale`. Above 1 each is repeated floor(scale)
    times, once more with probability of the rest; the repeats fall evenly at random between it and
    the next recorded arrival, so that bursts stay where they were.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    copies = np.full(times.size, int(scale)) + (rng.random(times.size) < scale - int(scale))
    gaps = np.diff(times, append=times[-1])
    index = np.repeat(np.arange(times.size), copies)
    first = np.concatenate([[True], np.diff(index) > 0]) if index.size else np.zeros(0, bool)
    jitter = np.where(first, 0.0, rng.random(index.size))
    return np.sort(times[index] + jitter * gaps[index])


def image_counts(count: int, weights: dict[int, float], seed: int) -> npt.NDArray[np.uint16]:
    """How many images each of `count` requests asks for, drawn with the given weights."""
    sizes = np.array(sorted(weights), dtype=np.uint16)
    if sizes.size == 1:
        return np.full(count, sizes[0])
    shares = np.cumsum([weights[int(size)] for size in sizes])
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    return sizes[np.searchsorted(shares / shares[-1], rng.random(count), side="right")]
