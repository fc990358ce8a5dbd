"""Arrivals that come in bursts: three processes, each with exactly the mean rate of the curve.

Burstiness is said by two numbers. The *gap CV* is the standard deviation of the gaps between
arrivals over their mean; the *index of dispersion* at a window w, IDC(w), is the variance of the
number of arrivals in w over its mean. Both are 1 for Poisson arrivals.

A process here works in *expected arrivals*: a mark at m stands for the instant by which the curve
expects m arrivals, L⁻¹(m). Where the marks are a stationary process of rate 1, the expected number
of arrivals by t is L(t) at every t, whatever the curve's shape. Bursts then hold so many people;
those at twice the curve's mean rate take half the time.

Draws are made of uniforms alone, through formulas, since numpy may change its other streams.
"""

import math
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.traffic.curve import interpolate
from loadtest.units import Duration, format_duration

Array = npt.NDArray[np.float64]

MIN_CV, MAX_CV = 0.001, 100.0
MAX_IDC = 1e12
MAX_WARM_UP = 20_000_000  # arrivals simulated before the load, and changes of state within it
MAX_CHILDREN = 40  # of one arrival: a Poisson count of mean below 1 exceeds it once in 10⁴⁸
FORGOTTEN = math.log(1000)  # the start's influence on the rate has faded to a thousandth


class _Process(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Told apart by `kind`."""


class Gamma(_Process, tag="gamma", tag_field="kind", frozen=True, kw_only=True):
    """Renewal arrivals: independent gaps of a Gamma distribution with the coefficient `cv`.

    The shape is k = 1/cv²; cv = 1 is Poisson, below 1 more even, above 1 bursty. IDC(w) tends to
    cv² (Cox and Lewis, The Statistical Analysis of Series of Events, 1966, 4.6). The first gap has
    the equilibrium distribution, U·G with U uniform and G ~ Gamma(k + 1)/k, so that the process is
    stationary from the first instant on.
    """

    cv: float

    def __post_init__(self) -> None:
        if not MIN_CV <= self.cv <= MAX_CV:
            raise ValueError(
                f"cv: expected a gap CV from {MIN_CV:g} to {MAX_CV:g} (1 is Poisson), "
                f'got {self.cv:g}; without any chance, arrivals are "even"'
            )

    @property
    def words(self) -> str:
        """For people."""
        return f"Gamma renewal, gap CV {self.cv:g}, index of dispersion towards {self.cv**2:.3g}"

    def marks(self, expected: float, rng: np.random.Generator) -> Array:
        """Arrivals in [0, `expected`), in units of expected arrivals, sorted."""
        shape = self.cv**-2
        first = float(rng.random() * gammas(rng, shape + 1, 1)[0] / shape)
        rest = cumulated(expected, first, lambda count: gammas(rng, shape, count) / shape)
        return np.concatenate([[first], rest]) if first < expected else np.zeros(0)


class Hawkes(_Process, tag="hawkes", tag_field="kind", frozen=True, kw_only=True):
    """Self-exciting arrivals: each causes `branching` more on average, after `decay` on average.

    The rate at t is (1 - n)·λ(t) of arrivals on their own account, plus n·b·e^{-b·s} from each
    arrival s ago: n is `branching`, 1/b is `decay`, λ the curve (Hawkes, Biometrika 58(1), 1971).
    Say either n or the index of dispersion `idc` it tends to: n = 1 - 1/√idc. At constant rate

        IDC(w) = 1 + n(2 - n)/(1 - n)² · (1 - (1 - e^{-g·w})/(g·w)),   g = (1 - n)·b

    `decay` is in seconds at the curve's mean rate. The load begins amid older bursts: what arrivals
    before it cause within it is there, what it would cause after its end is dropped; both are equal
    in expectation, so the mean rate is λ(t) from the first second to the last.
    """

    branching: float | None = None
    idc: float | None = None
    decay: Duration = Duration(10.0)

    def __post_init__(self) -> None:
        if (self.branching is None) == (self.idc is None):
            raise ValueError("give either branching or idc")
        if self.branching is not None and not 0 <= self.branching < 1:
            raise ValueError(
                f"branching: expected at least 0 and below 1, got {self.branching:g}: "
                "from 1 on, arrivals cause each other without end"
            )
        if self.idc is not None and not 1 <= self.idc <= MAX_IDC:
            raise ValueError(
                f"idc: expected an index of dispersion of at least 1, which is Poisson, and at "
                f"most {MAX_IDC:g}, got {self.idc:g}; for more even arrivals use kind gamma with "
                "a cv below 1"
            )
        if self.decay <= 0:
            raise ValueError('decay: expected a duration above 0, such as "10s"')

    @property
    def ratio(self) -> float:
        """The branching ratio n."""
        return 1 - self.idc**-0.5 if self.idc is not None else (self.branching or 0.0)

    @property
    def words(self) -> str:
        """For people."""
        n = self.ratio
        return (
            f"Hawkes, branching {n:.3g}, decay {format_duration(self.decay)}, "
            f"index of dispersion towards {(1 - n) ** -2:.3g}"
        )

    def marks(self, expected: float, duration_s: float, rng: np.random.Generator) -> Array:
        """Arrivals in [0, `expected`), in units of expected arrivals, sorted.

        Branching: arrivals of their own account are Poisson, each has a Poisson number of children
        at exponential distances, these have theirs (Hawkes and Oakes, J. Appl. Probab. 11, 1974).

        Raises:
            ValueError: its bursts last so long that they cannot be simulated.
        """
        n, decay = self.ratio, self.decay * expected / duration_s
        before = FORGOTTEN * decay / (1 - n) if n else 0.0
        if before > MAX_WARM_UP:
            raise ValueError(
                f"branching {n:.6g} with a decay of {format_duration(self.decay)} makes bursts "
                "too long to simulate: lower branching (or idc) or decay"
            )
        own = (1 - n) * (expected + before)
        born = cumulated(own, 0.0, lambda count: exponentials(rng, count)) / (1 - n) - before
        generations = []
        chances = _poisson_chances(n)
        while born.size:
            generations.append(born[born >= 0])
            children = np.searchsorted(chances, rng.random(born.size), side="right")
            parents = np.repeat(born, children)
            born = parents + decay * exponentials(rng, parents.size)
            born = born[born < expected]
        return np.sort(np.concatenate([*generations, np.zeros(0)]))


class Mmpp(_Process, tag="mmpp", tag_field="kind", frozen=True, kw_only=True):
    """Markov-modulated Poisson arrivals: busy and quiet spells around the curve.

    Spells are exponential with means `busy` and `quiet`, in seconds; in a busy one the rate is
    `ratio` times that of a quiet one. The rates are λ(t)·h and λ(t)·q with h = ratio·q and
    q = (busy + quiet)/(ratio·busy + quiet), so that the mean is λ(t). At constant rate λ, with
    p = busy/(busy + quiet) and k = 1/busy + 1/quiet,

        IDC(w) = 1 + 2λ·p(1 - p)(h - q)²/k · (1 - (1 - e^{-k·w})/(k·w))

    (Fischer and Meier-Hellstern, Performance Evaluation 18(2), 1993).
    """

    ratio: float
    busy: Duration
    quiet: Duration

    def __post_init__(self) -> None:
        if not 1 <= self.ratio < math.inf:
            raise ValueError(
                f"ratio: expected the busy rate over the quiet one, at least 1, got {self.ratio:g}"
            )
        for name in ("busy", "quiet"):
            if getattr(self, name) <= 0:
                raise ValueError(f'{name}: expected a mean spell above 0, such as "30s"')

    @property
    def words(self) -> str:
        """For people."""
        busy, quiet = format_duration(self.busy), format_duration(self.quiet)
        return f"MMPP, {self.ratio:g} x the rate for {busy} after {quiet}, on average"

    def marks(self, grid: Array, mass: Array, rng: np.random.Generator) -> Array:
        """Arrivals in units of expected arrivals, sorted; `mass` is expected by `grid` (seconds).

        Raises:
            ValueError: the spells are too short for the load's length.
        """
        edges, busy_first = self._spells(float(grid[-1]), rng)
        quiet_rate = (self.busy + self.quiet) / (self.ratio * self.busy + self.quiet)
        busy = (np.arange(edges.size - 1) % 2 == 0) == busy_first
        expected = interpolate(edges, grid, mass)
        areas = np.diff(expected) * np.where(busy, self.ratio * quiet_rate, quiet_rate)
        reached = np.concatenate([[0.0], np.cumsum(areas)])
        marks = cumulated(float(reached[-1]), 0.0, lambda count: exponentials(rng, count))
        return interpolate(marks, reached, expected)

    def _spells(self, duration_s: float, rng: np.random.Generator) -> tuple[Array, bool]:
        """Instants at which the state changes, both ends included; whether the first is busy."""
        pairs = int(duration_s / (self.busy + self.quiet)) + 16
        if pairs > MAX_WARM_UP:
            raise ValueError(
                f"spells of {format_duration(self.busy)} and {format_duration(self.quiet)} are too "
                "short for this load: lengthen busy or quiet"
            )
        busy_first = bool(rng.random() < self.busy / (self.busy + self.quiet))
        means = np.array([self.busy, self.quiet] if busy_first else [self.quiet, self.busy])

        def spells(count: int) -> Array:
            pairwise: Array = exponentials(rng, 2 * count) * np.tile(means, count)
            return pairwise

        inner = cumulated(duration_s, 0.0, spells, pairs)
        return np.concatenate([[0.0], inner, [duration_s]]), busy_first


def cumulated(
    until: float, start: float, draw: Callable[[int], Array], at_once: int | None = None
) -> Array:
    """Running sums of drawn gaps from `start` on, those below `until`.

    `draw(count)` gives gaps; it is asked for about as many as are left at a mean gap of 1, or for
    `at_once`.
    """
    sums: list[Array] = [np.zeros(0)]
    reached = start
    while reached <= until:
        chunk = reached + np.cumsum(draw(at_once or int(until - reached) + 64))
        sums.append(chunk)
        reached = float(chunk[-1])
    every: Array = np.concatenate(sums)
    below: Array = every[every < until]
    return below


def exponentials(rng: np.random.Generator, count: int) -> Array:
    """`count` draws of mean 1: through the logarithm, not numpy's ziggurat."""
    draws: Array = -np.log1p(-rng.random(count))
    return draws


def gammas(rng: np.random.Generator, shape: float, count: int) -> Array:
    """`count` draws of a Gamma distribution of mean and variance `shape`.

    Marsaglia and Tsang, ACM TOMS 26(3), 2000: with d = a - 1/3, c = 1/√(9d), v = (1 + c·x)³ for a
    normal x, d·v is Gamma(a) if ln u < x²/2 + d - d·v + d·ln v. Below 1, Gamma(a + 1)·u^{1/a}.
    """
    a = shape if shape >= 1 else shape + 1
    d = a - 1 / 3
    kept: list[Array] = []
    while (missing := count - sum(part.size for part in kept)) > 0:
        tries = missing + missing // 16 + 8
        x = np.sqrt(-2 * np.log1p(-rng.random(tries))) * np.cos(2 * np.pi * rng.random(tries))
        v = np.maximum(1 + x / np.sqrt(9 * d), 1e-12) ** 3
        good = np.log1p(-rng.random(tries)) < x * x / 2 + d - d * v + d * np.log(v)
        kept.append((d * v)[good][:missing])
    draws = np.concatenate([*kept, np.zeros(0)])
    return draws if shape >= 1 else draws * (1 - rng.random(count)) ** (1 / shape)


def _poisson_chances(mean: float) -> Array:
    """P(at most k) of a Poisson count, k = 0 ... MAX_CHILDREN."""
    k = np.arange(1, MAX_CHILDREN + 1)
    chances: Array = np.cumsum(np.concatenate([[1.0], np.cumprod(mean / k)])) * math.exp(-mean)
    return chances
