"""From a curve and a seed to arrival times: exact, and the same in every process.

Poisson arrivals of a varying rate come from a unit-rate Poisson process through the inverse of the
integrated rate, t_i = L⁻¹(E_1 + ... + E_i) with L(t) the expected arrivals by t and E_i unit
exponentials (time-rescaling theorem; Çinlar, Introduction to Stochastic Processes, 1975). L is
evaluated exactly on GRID points and taken as straight between two of them. The bursty processes of
`loadtest.traffic.processes` go through the same inverse.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from loadtest.traffic.curve import interpolate
from loadtest.traffic.processes import Gamma, Hawkes, Mmpp, cumulated, exponentials

Array = npt.NDArray[np.float64]

GRID = 100_001

Word = Literal["poisson", "even", "trace", "smooth", "chat-like", "agent-like"]
Process = Gamma | Hawkes | Mmpp

# chat-like: a chat service's hour (Azure LLM inference trace 2023, conversations) has an index of
# dispersion of 1.39, 3.9 and 16.4 at 1, 10 and 60 s and a gap CV of 1.09; this process has 1.32,
# 4.1 and 15.7. agent-like: an index of 164 with a gap CV of 13, whose square is its limit, 169.
PRESETS: dict[str, Process] = {
    "chat-like": Hawkes(branching=0.85),
    "agent-like": Gamma(cv=13.0),
}


def arrival_times(
    process: Word | Process, integral: Callable[[Array], Array], duration_s: float, seed: int
) -> Array:
    """Arrival times (seconds, sorted) whose expected count by t is exactly `integral(t)`.

    Raises:
        ValueError: "trace", which is no process, or a process too long to simulate.
    """
    if isinstance(process, str):
        if process == "even":
            return even(integral, duration_s)
        if process in ("poisson", "smooth"):
            return poisson(integral, duration_s, seed)
        if process not in PRESETS:
            raise ValueError(f"{process!r} is no process")
        process = PRESETS[process]
    rng = np.random.Generator(np.random.PCG64(seed))
    grid = np.linspace(0.0, duration_s, GRID)
    mass = integral(grid)
    if isinstance(process, Gamma):
        marks = process.marks(float(mass[-1]), rng)
    elif isinstance(process, Hawkes):
        marks = process.marks(float(mass[-1]), duration_s, rng)
    else:
        marks = process.marks(grid, mass, rng)
    return interpolate(marks, mass, grid)


def describe(process: Word | Process) -> str:
    """The process in words, with its figures."""
    if isinstance(process, str):
        return f"{process}: {PRESETS[process].words}" if process in PRESETS else process
    return process.words


def poisson(integral: Callable[[Array], Array], duration_s: float, seed: int) -> Array:
    """Arrival times (seconds, sorted) of a Poisson process with expected arrivals `integral(t)`."""
    grid = np.linspace(0.0, duration_s, GRID)
    mass = integral(grid)
    rng = np.random.Generator(np.random.PCG64(seed))
    marks = cumulated(float(mass[-1]), 0.0, lambda count: exponentials(rng, count))
    return interpolate(marks, mass, grid)


def even(integral: Callable[[Array], Array], duration_s: float) -> Array:
    """Arrival times (seconds, sorted) spaced so that the k-th comes when k - 1/2 are expected."""
    grid = np.linspace(0.0, duration_s, GRID)
    mass = integral(grid)
    return interpolate(np.arange(0.5, mass[-1]), mass, grid)


def resample(times: Array, scale: float, seed: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """Recorded arrival times at `scale` times their rate, their shape kept; and whose row each is.

    Below 1 each arrival is kept with probability `scale`. Above 1 each is repeated floor(scale)
    times, once more with probability of the rest; the repeats fall evenly at random between it and
    the next recorded arrival, so that bursts stay where they were. At 1 the replay is exact.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    copies = np.full(times.size, int(scale)) + (rng.random(times.size) < scale - int(scale))
    gaps = np.diff(times, append=times[-1])
    index = np.repeat(np.arange(times.size), copies)
    first = np.concatenate([[True], np.diff(index) > 0]) if index.size else np.zeros(0, bool)
    jitter = np.where(first, 0.0, rng.random(index.size))
    moved = times[index] + jitter * gaps[index]
    order = np.argsort(moved, kind="stable")
    return moved[order], index[order]


def image_counts(count: int, weights: dict[int, float], seed: int) -> npt.NDArray[np.uint16]:
    """How many images each of `count` requests asks for, drawn with the given weights."""
    sizes = np.array(sorted(weights), dtype=np.uint16)
    if sizes.size == 1:
        return np.full(count, sizes[0])
    shares = np.cumsum([weights[int(size)] for size in sizes])
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    return sizes[np.searchsorted(shares / shares[-1], rng.random(count), side="right")]


def gap_cv(times_s: Array) -> float:
    """Coefficient of variation of the gaps between sorted arrivals: 1 where they are Poisson."""
    gaps = np.diff(times_s)
    return float(gaps.std() / gaps.mean())


def dispersion(times_s: Array, duration_s: float, window_s: float) -> float | None:
    """Index of dispersion: variance over mean of the arrivals in windows of `window_s`.

    1 where they are Poisson at a constant rate; a rate that changes counts as dispersion, too.
    None where fewer than ten windows fit.
    """
    windows = int(duration_s / window_s)
    if windows < 10:
        return None
    inside = np.floor(times_s[times_s < windows * window_s] / window_s)
    starts = np.flatnonzero(np.diff(inside, prepend=-1.0))  # memory by arrivals, not by windows
    counts = np.diff(starts, append=inside.size)
    mean = counts.sum() / windows
    variance = (float(np.dot(counts, counts)) - windows * mean**2) / (windows - 1)
    return float(variance / mean)
