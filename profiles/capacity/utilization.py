"""rho: how busy a cell may be under given arrivals so that its SLO still holds. Pure.

The arrivals of a curve are thinned at random, a cell's GPUs serve them from one queue, and the most
that may be kept is searched for:

    rho = p peak s / n      p: share kept, at most `late` of which wait longer than the SLO's slack
                            peak: the curve's highest rate, requests/s;  s: seconds a request and
                            GPU;  n: GPUs of the cell

Rho is told at the curve's peak, for that is what a block is set against: a peak that is short
leaves more of it, bursts leave less. Thinning a rate that all cells share makes fewer of the same
bursts, so every burst is taken to hit all cells alike.

Service is constant, as a GPU's nearly is. Exponential service allows less, by as much as theory
says for Poisson arrivals (Erlang C, Allen and Cunneen); the factor lies between the two. What has
no arrivals stands on that theory alone.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from profiles.capacity.evidence import Evidence
from profiles.capacity.factors import LEVEL, Z, known
from profiles.requests.burstiness import Arrivals
from profiles.schema import Factor
from profiles.stats.arrays import Floats
from profiles.stats.queueing import admissible_load
from profiles.stats.student_t import t_quantile

NAME = "admissible utilization"
MAX_ARRIVALS = 200_000  # arrivals simulated at once
SAME_TIME = 1.01  # compression above it makes the curve's peak shorter than a block's would be
DRAWS = 8
LONG = 20_000  # arrivals of a flat load that is made to go on
STEPS = 10  # of a bisection
POISSON = 200_000  # arrivals of the steady load that a curve is held against


def admissible(
    evidence: Evidence, cell: int, allowed: float, curve: Sequence[Arrivals] = ()
) -> Factor:
    """The factor rho of a block's cells of `cell` GPUs.

    A load that met the SLO was admissible as it was: 1, unless another curve is asked for. One that
    did not tells a full node's goodput, and a block must stay below it.

    Args:
        evidence: The goodput, the SLO's slack, and the arrivals it was measured under.
        cell: GPUs of a cell.
        allowed: Share of the requests that may be late by the SLO.
        curve: Draws of a cell's arrivals under the scenario asked for; none: the evidence's own.
    """
    stand = evidence.rate.stand if evidence.has_slo else "assumed"
    if not evidence.saturated and not curve:
        return known(NAME, 1.0, 0.0, stand, _met(evidence, allowed))
    own = evidence.arrivals
    if not curve and (own is None or own.compression > SAME_TIME):
        return _theory(evidence, cell, allowed)
    servers = cell if curve else evidence.tested_gpus  # whose the arrivals are
    service_s = evidence.service_s
    draws = list(curve) if curve or own is None else redrawn(own)
    whose = curve[0] if curve or own is None else own
    bears = np.log([
        max_load(draw, servers, service_s, evidence.slack, allowed, seed=k)
        for k, draw in enumerate(draws)
    ])  # fmt: skip
    high = math.exp(float(bears.mean()))
    scatter = float(bears.std(ddof=1)) * math.sqrt(1.0 + 1.0 / bears.size) if bears.size > 1 else 0
    degrees = max(1.0, bears.size - 1.0)
    source = (
        f"simulated, not measured: {whose.words}; {servers} GPUs behind one queue, "
        f"{evidence.slack:.3g} services of slack, at most {100 * allowed:.2g}% later"
    )
    if servers != cell:
        sizes = [admissible_load(allowed, evidence.slack, servers=n) for n in (cell, servers)]
        high = min(1.0, high * sizes[0] / sizes[1])
        source += f"; from {servers} to {cell} GPUs by Erlang C"
    if not evidence.saturated:  # what was tested was full to its limit, whatever its service
        steady = max_steady_load(servers, service_s, evidence.slack, allowed)
        tested = "as it was tested" if evidence.arrivals is None else "taken for those tested"
        source += f"; over the {steady:.2f} that steady Poisson arrivals allow, {tested}"
        value = min(1.0, high / steady)
        return known(NAME, value, round(scatter, 4), "assumed", source, degrees=degrees)
    low = high * _exponential(cell, evidence.slack, allowed)
    return known(
        NAME,
        math.sqrt(low * high),
        math.hypot(math.log(high / low) / (2.0 * Z), scatter * t_quantile(LEVEL, degrees) / Z),
        "assumed",
        f"{source}; service exponential to constant",
    )


def redrawn(own: Arrivals) -> list[Arrivals]:
    """A run's own arrivals drawn anew, DRAWS times: how far one draw may be chance.

    A flat load goes on for LONG arrivals, for a minute of it starts from an empty queue; each draw
    of it is made of another draw as short as the run, or its scatter would be too small.
    """
    if own.times_s.size > MAX_ARRIVALS:
        return [own] * DRAWS  # told by many; each is thinned apart
    copies = math.ceil(LONG / own.times_s.size) if own.level else 1
    draws = []
    for seed in range(DRAWS):
        random = np.random.default_rng([seed, own.times_s.size])
        draw = own.resampled(random)
        draws.append(draw.resampled(random, copies) if copies > 1 else draw)
    return draws


def _met(evidence: Evidence, allowed: float) -> str:
    if not evidence.has_slo:
        return "the rate is a full GPU's, without an SLO: that all of it comes in time"
    told = (
        f"the load that was {evidence.rate.stand} met the SLO with at most "
        f"{100 * allowed:.2g}% late or lost, so nothing is taken off"
    )
    if evidence.arrivals is not None:
        return f"{told} under {evidence.arrivals.words}"
    return f"{told}; its arrivals were Poisson at a steady rate: name your curve with --curve"


def _theory(evidence: Evidence, cell: int, allowed: float) -> Factor:
    low, high = (
        admissible_load(allowed, evidence.slack, servers=cell, service_variability=v)
        for v in (1.0, 0.0)
    )
    own = evidence.arrivals
    why = (
        "as nothing else is known of them"
        if own is None
        else f"for time was compressed {own.compression:.3g} times, which makes the run's own peak "
        "shorter than a block's (name --curve)"
    )
    return known(
        NAME,
        math.sqrt(low * high),
        math.log(high / low) / (2.0 * Z),
        "assumed",
        f"theory for Poisson arrivals, {why}: the node was full, and "
        f"{100 * allowed:.2g}% late at most needs room; Erlang C over {cell} GPUs, "
        f"{evidence.slack:.3g} services of slack, service exponential to constant",
    )


def _exponential(servers: int, slack: float, allowed: float) -> float:
    """What exponential service allows over what constant service does, under Poisson arrivals."""
    exponential, constant = (
        admissible_load(allowed, slack, servers=servers, service_variability=v) for v in (1.0, 0.0)
    )
    return exponential / constant


def max_load(
    arrivals: Arrivals, servers: int, service_s: float, slack: float, allowed: float, seed: int
) -> float:
    """The highest utilization at the peak under thinned `arrivals`, constant service; at most 1.

    Arrivals that are too few to reach the limit count as far as they go.
    """
    part = arrivals.busiest(MAX_ARRIVALS)
    draws = np.random.default_rng([seed, part.times_s.size]).random(part.times_s.size)
    full = part.peak_per_s * service_s / servers

    def late(kept: float) -> float:
        return late_share(part.times_s[draws < kept], servers, service_s, slack)

    low, high = 0.0, min(1.0, 1.0 / full)
    if late(high) <= allowed:
        return full * high
    for _ in range(STEPS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if late(middle) <= allowed else (low, middle)
    return max(full * 0.5 * (low + high), 1e-3)


@lru_cache(maxsize=64)
def max_steady_load(servers: int, service_s: float, slack: float, allowed: float) -> float:
    """The same under Poisson arrivals at a constant rate."""
    duration_s = POISSON * service_s / servers
    times = np.random.default_rng(0).uniform(0.0, duration_s, POISSON)
    steady = Arrivals(np.sort(times), duration_s, servers / service_s, 1.0, duration_s, "Poisson",
                      np.array([0.0, 1.0]))  # fmt: skip
    return max_load(steady, servers, service_s, slack, allowed, 0)


def late_share(times_s: Floats, servers: int, service_s: float, slack: float) -> float:
    """The share that waits for more than `slack` services, first come first served.

    With constant service whoever starts i-th leaves i-th, so the i-th starts when it has come and
    the (i - n)-th of n servers has left: every n-th arrival is a queue of its own, in which
    start_k = max over m <= k of (t_m + (k - m) s).
    """
    count = times_s.size
    if count == 0:
        return 0.0
    rows = -(-count // servers)
    padded = np.full(rows * servers, times_s[-1])
    padded[:count] = times_s
    come = padded.reshape(rows, servers)
    ahead = service_s * np.arange(rows)[:, None]
    waits = np.maximum.accumulate(come - ahead, axis=0) + ahead - come
    late = waits.ravel()[:count] > slack * service_s * (1.0 + 1e-9)
    return float(np.count_nonzero(late)) / count
