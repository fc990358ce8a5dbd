"""Where the share of missed requests crosses what the SLO allows: the fit and its interval. Pure.

Near the crossing the miss share p of the rate r is taken as

    ln (p - f) = a + b ln r,    b > 0,

f the share that misses at light load, where nobody waits: services that alone take longer than the
limit. It is told by the windows far below the crossing, and bends ln p where it is near what is
allowed (M/M/16 at 90% within three services: f = 0.05). Where f is 0, tails of queues are nearly
straight: for M/D/8 at 95% within two service times the local b is 17.1 to 18.0 from 12% below the
crossing to 6% above, for M/M/4 within six 13 to 18 from 9% below. Misses come in clusters whose
size grows with the rate: over windows of equal length the coefficient of variation of the miss
share is about constant (0.6 to 1.3 for those queues in windows of 400 service times), far above
binomial. So windows are fitted by quasi-likelihood with variance phi p^2 / w (Wedderburn,
Biometrika 61, 1974), w the window's requests over the mean window's. A window is one batch of the
batch-means method: the spread of the residuals q_i / p_i - 1 between windows holds the
autocorrelation within them; that between neighbours, where positive, is added,

    phi = sum w_i (q_i / p_i - 1)^2 / (K - 2) (1 + 2 rho_1),    Cov(a, b) = phi (X' W X)^-1,

W_ii = w_i ((p_i - f) / p_i)^2.

A mean of skewed shares is skewed: of K gamma variates with variance v = phi / K, ln mean has mean
-v / 2, skewness -sqrt(v), and 95% of it lies in -v +- z sqrt(v) (Cornish and Fisher, 1938). So the
estimate takes ln p as v / 2 higher than fitted, and the interval as v higher (with f, of which v is
1 - f / allowed times the variance of a). The interval is every x = ln r with (a + v + b x -
ln(allowed - f))^2 <= t^2 Var(a + b x) (Fieller, JRSS B 16, 1954). It is unbounded where b is not
clearly above 0, and it stays honest for few windows, which the delta method does not.

A search ends at the first look at which its interval is narrow, and chance makes intervals narrow
and wrong together. So each is a repeated confidence interval (Jennison and Turnbull, JRSS B 51,
1989), of 95% at whichever of four looks it ends: t is the quantile of Student with K - 2 degrees
that stands where the normal one is 2.361, Pocock's boundary of four looks (1.960 of a single one).
"""

import itertools
import math
from collections.abc import Sequence

import msgspec
import numpy as np

from profiles.stats.arrays import Floats
from profiles.stats.student_t import t_quantile

SIGHT = 2.0  # in ln p from what is allowed: windows beyond would bend the line
FAR = 2.0  # of ln p: farther pools are taken to lie so far
USUAL, UNUSUAL = 20.0, 10.0  # a slope as queues have it, and how far from it they often are
FLATTEST, STEEPEST = 5.0, 60.0
LIGHT = 0.7  # of the crossing's rate: at most so much is light load
# a floor as a share of what is allowed: less bends the line by less than chance does, and taking it
# in costs windows; more is chance, where a crossing is bracketed at all
MIN_FLOOR, MAX_FLOOR = 0.2, 0.8
STRIDE = 0.06  # most that one round moves the guess, in ln r
ROUNDS = 60
MIN_WINDOWS = 6  # in sight; below, Student's t says nothing
Z = 2.361  # Pocock, Biometrika 64, 1977, table 1: four looks, 5%
LEVEL = math.erf(Z / math.sqrt(2.0))  # of a single look with that z


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """One window after its warm-up."""

    rate_per_s: float
    requests: int
    missed: int
    short: bool = False  # of the ramp: tells where to look, and nothing of the crossing

    @property
    def share(self) -> float:
        """The miss share, never 0: half a request is put on either side."""
        return (self.missed + 0.5) / (self.requests + 1.0)


class Crossing(msgspec.Struct, frozen=True, kw_only=True):
    """The rate at which the allowed share is missed, with its 95% interval."""

    rate_per_s: float
    low_per_s: float
    high_per_s: float
    slope: float  # of ln p over ln r
    dispersion: float  # phi, of a window of mean length
    windows: int

    @property
    def half_width(self) -> float:
        """Of the interval, relative to the rate."""
        return (self.high_per_s - self.low_per_s) / (2 * self.rate_per_s)


def crossing(counts: Sequence[Count], allowed: float) -> Crossing | None:
    """The crossing as the windows tell it; None while they do not."""
    at = guess(counts, allowed)
    if at is None:
        return None
    near = in_sight(counts, *at)
    if len(near) < MIN_WINDOWS:
        return None
    return _crossing(near, allowed, floor(counts, allowed, at[0]))


def guess(counts: Sequence[Count], allowed: float) -> tuple[float, float] | None:
    """Roughly the crossing and the slope there, from however few windows; None before a bracket.

    The fit is drawn towards a slope of USUAL, so that chance cannot make it flat or falling. What
    is in sight of the crossing follows this fit, and never what chance made of a window.
    """
    at = between(counts, allowed)
    if at is None:
        return None
    rate, slope = at, USUAL
    for _ in range(3):
        near = in_sight(counts, rate, min(slope, USUAL))
        if len(near) < 2:
            break
        x, w, y = _columns(near, allowed)
        least = floor(counts, allowed, rate)
        fit = _fit(x - math.log(rate), w, y, least, prior=(USUAL, 1 / UNUSUAL**2))
        if fit is None or fit[0][1] <= 0:
            break
        a, slope = float(fit[0][0]), _plausible(float(fit[0][1]))
        rate *= math.exp(min(max(-a / slope, -STRIDE), STRIDE))
    return rate, slope


def floor(counts: Sequence[Count], allowed: float, rate_per_s: float) -> float:
    """What misses at light load, as a share of what is allowed; 0 where it is little or not known.

    Of the windows at no more than LIGHT of a crossing at `rate_per_s`.
    """
    light = [each for each in counts if each.rate_per_s <= LIGHT * rate_per_s]
    requests = sum(each.requests for each in light)
    if not requests:
        return 0.0
    share = sum(each.missed for each in light) / requests / allowed
    return min(share, MAX_FLOOR) if share >= MIN_FLOOR else 0.0


def between(counts: Sequence[Count], allowed: float) -> float | None:
    """The crossing between windows that met the SLO and that did not; None without both.

    The miss shares, made monotone in the rate, are read straight, in ln p over ln r, between the
    two pools around what is allowed.
    """
    for (x0, y0), (x1, y1) in itertools.pairwise(_monotone(counts, allowed)):
        if y0 <= 0 < y1:
            y0, y1 = max(y0, -FAR), min(y1, FAR)
            return math.exp(x0 - y0 * (x1 - x0) / (y1 - y0))
    return None


def all_met(counts: Sequence[Count], allowed: float) -> bool:
    """Whether the windows met the SLO at every rate, made monotone in it."""
    return _monotone(counts, allowed)[-1][1] <= 0


def none_met(counts: Sequence[Count], allowed: float) -> bool:
    """Whether the windows met it at no rate."""
    return _monotone(counts, allowed)[0][1] > 0


def _monotone(counts: Sequence[Count], allowed: float) -> list[tuple[float, float]]:
    """(ln rate, ln of the miss share over what is allowed), both rising, of pooled windows.

    Pool adjacent violators: Ayer et al., Ann. Math. Stat. 26, 1955. Where long windows were played
    the ramp's short ones, which a mishap can fill, say nothing any more.
    """
    long = [each.rate_per_s for each in counts if not each.short] or [math.inf]
    told = [
        each for each in counts if not (each.short and min(long) <= each.rate_per_s <= max(long))
    ]
    pools: list[tuple[float, float, float]] = []  # requests, missed, requests x ln rate
    for each in sorted(told, key=lambda one: one.rate_per_s):
        size = each.requests + 1.0
        pool = (size, each.missed + 0.5, size * math.log(each.rate_per_s))
        while pools and pools[-1][1] / pools[-1][0] >= pool[1] / pool[0]:
            last = pools.pop()
            pool = (pool[0] + last[0], pool[1] + last[1], pool[2] + last[2])
        pools.append(pool)
    return [(x / n, math.log(m / n / allowed)) for n, m, x in pools]


def in_sight(counts: Sequence[Count], rate_per_s: float, slope: float) -> list[Count]:
    """The long windows whose rate is near a crossing of this slope."""
    reach = SIGHT / slope
    return [
        each
        for each in counts
        if not each.short and abs(math.log(each.rate_per_s / rate_per_s)) <= reach
    ]


def _plausible(slope: float) -> float:
    return min(max(slope, FLATTEST), STEEPEST)


def _crossing(near: Sequence[Count], allowed: float, least: float) -> Crossing | None:
    x, w, y = _columns(near, allowed)
    middle = float(np.average(x, weights=w))
    fit = _fit(x - middle, w, y, least)
    if fit is None:
        return None
    (a, b), inverse, ratio = fit
    if b <= 0:
        return None
    residual = np.sqrt(w) * (ratio - 1)
    phi = float((residual**2).sum() / (len(near) - 2))
    follows = float((residual[1:] * residual[:-1]).sum() / (residual**2).sum())
    covariance = phi * (1 + 2 * max(follows, 0.0)) * inverse
    skew = (1 - least) * float(covariance[0, 0])
    t2 = t_quantile(LEVEL, len(near) - 2) ** 2
    middle_gap = a + skew
    roots = _roots(
        b**2 - t2 * covariance[1, 1],
        middle_gap * b - t2 * covariance[0, 1],
        middle_gap**2 - t2 * covariance[0, 0],
    )
    if roots is None:
        return None
    return Crossing(
        rate_per_s=math.exp(middle - (a + skew / 2) / b),
        low_per_s=math.exp(middle + roots[0]),
        high_per_s=math.exp(middle + roots[1]),
        slope=float(b),
        dispersion=phi,
        windows=len(near),
    )


def _columns(near: Sequence[Count], allowed: float) -> tuple[Floats, Floats, Floats]:
    """Ln rate, weight, and miss share over what is allowed; each of shape (windows,)."""
    size = np.array([each.requests for each in near], dtype=np.float64)
    share = np.array([each.missed for each in near]) / size
    return np.log([each.rate_per_s for each in near]), size / size.mean(), share / allowed


def _fit(
    x: Floats, w: Floats, y: Floats, least: float, prior: tuple[float, float] = (0.0, 0.0)
) -> tuple[Floats, Floats, Floats] | None:
    """(a, b) of y = f + (1 - f) exp(a + b x), (X' W X)^-1, and y / fitted y.

    f is `least`, and `prior` a value of b and its weight. None where nothing converges.
    """
    design: Floats = np.column_stack((np.ones_like(x), x))
    above = max(float(np.average(y, weights=w)) - least, 0.1 * (1 - least))
    beta: Floats = np.array([math.log(above / (1 - least)), prior[0]])
    if not y.any():
        return None
    for _ in range(ROUNDS):  # Fisher scoring
        rising: Floats = (1 - least) * np.exp(np.clip(design @ beta, -30.0, 30.0))
        ratio: Floats = y / (least + rising)
        tells: Floats = rising / (least + rising)  # d ln y / d eta
        information = design.T @ ((w * tells**2)[:, None] * design) + np.diag([0.0, prior[1]])
        if np.linalg.cond(information) > 1e12:
            return None
        inverse = np.linalg.inv(information).astype(np.float64)
        drawn = np.array([0.0, prior[1] * (prior[0] - beta[1])])
        step = inverse @ (design.T @ (w * tells * (ratio - 1)) + drawn)
        beta = beta + step / max(1.0, float(np.abs(design @ step).max()))
        if float(np.abs(design @ step).max()) < 1e-8:
            return beta, inverse, ratio
    return None


def _roots(square: float, half: float, rest: float) -> tuple[float, float] | None:
    """Where square x^2 + 2 half x + rest = 0, in order; None unless it is negative between them."""
    inside = half**2 - square * rest
    if square <= 0 or inside < 0:
        return None
    return (-half - math.sqrt(inside)) / square, (-half + math.sqrt(inside)) / square
