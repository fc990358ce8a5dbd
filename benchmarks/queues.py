"""Textbook queues whose capacity at an SLO is known: what `viralload find` is held to. Pure.

Customers arrive by Poisson at rate r and are served first come, first served, by c servers in a
mean time s. The sojourn time T is waiting and service; where a share of the requests may take t or
more, the capacity is the rate at which P(T >= t) is that share.
"""

import heapq
import math
from collections.abc import Callable

import numpy as np

from profiles.stats.arrays import Floats
from profiles.stats.queueing import erlang_c

FULL = 0.9995  # of c / s: the highest utilization looked at
HALVINGS = 40


def mmc_tail(rate_per_s: float, service_s: float, servers: int, t_s: float) -> float:
    """P(T > t) of M/M/c: exponential service with mean s, mu = 1 / s.

    With Erlang's probability of waiting C and d = c - 1 - r s,

        P(T > t) = e^{-mu t} (1 + C (1 - e^{-mu d t}) / d),        d != 0

    (Gross, Shortle, Thompson, Harris, Fundamentals of Queueing Theory, 4th ed., 2.3).
    """
    load = rate_per_s * service_s
    wait, d, x = erlang_c(servers, load / servers), servers - 1 - load, t_s / service_s
    late = x if abs(d) < 1e-9 else -math.expm1(-d * x) / d
    return math.exp(-x) * (1.0 + wait * late)


def mdc_tail(rate_per_s: float, service_s: float, servers: int, t_s: float) -> float:
    """P(T > t) of M/D/c: every service takes s.

    Seen every s, the number N in system is a Markov chain, N' = (N - c)^+ + Poisson(r s)
    (Crommelin, P.O. Electr. Eng. J. 25, 1932). With Q_n the probability that at most n wait, and
    the waiting time x = t - s in [(k-1) s, k s),

        P(W <= x) = e^{-m} sum_{j < k c} Q_{k c - 1 - j} m^j / j!,    m = r (k s - x)

    (Franx, Oper. Res. Lett. 29, 2001), whose terms are all positive.
    """
    x = t_s - service_s
    if x < 0:
        return 1.0
    waiting = np.cumsum(_waiting(rate_per_s * service_s, servers))
    k = math.floor(x / service_s) + 1
    mean = rate_per_s * (k * service_s - x)
    at_most = waiting[np.minimum(np.arange(k * servers), waiting.size - 1)][::-1]
    return float(1.0 - at_most @ _poisson(mean, k * servers))


def capacity(tail: Callable[[float], float], share: float, most_per_s: float) -> float:
    """The rate at which `tail(rate)` is `share`, by bisection up to nearly `most_per_s` = c / s.

    Raises:
        ValueError: it is above the share already when nobody else is there.
    """
    low, high = 1e-3 * most_per_s, FULL * most_per_s
    if tail(low) >= share:
        raise ValueError("the service time alone misses the SLO")
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle) < share else (low, middle)
    return low


def sojourn_times(arrivals_s: Floats, service_s: Floats, free_s: list[float]) -> Floats:
    """Sojourn times of customers in the order of their arrival, by simulation.

    `free_s` is when each server is free, and is left as the last customer leaves it (Kiefer and
    Wolfowitz, Trans. AMS 78, 1955).
    """
    heapq.heapify(free_s)
    sojourn = np.empty(arrivals_s.size)
    customers = zip(arrivals_s.tolist(), service_s.tolist(), strict=True)
    for index, (arrival, service) in enumerate(customers):
        end = max(arrival, free_s[0]) + service
        heapq.heapreplace(free_s, end)
        sojourn[index] = end - arrival
    return sojourn


def _waiting(load: float, servers: int) -> Floats:
    """How many wait in M/D/c: probabilities of 0, 1, ...; by solving the chain, cut off far out."""
    size = servers + max(100, int(40 / (1.0 - load / servers)))
    arriving = _poisson(load, size)
    chain = np.zeros((size, size))
    for present in range(size):
        left = max(present - servers, 0)
        chain[present, left:] = arriving[: size - left]
    chain /= chain.sum(axis=1, keepdims=True)
    balance = chain.T - np.eye(size)
    balance[-1] = 1.0
    right = np.zeros(size)
    right[-1] = 1.0
    there = np.linalg.solve(balance, right)
    return np.concatenate(([there[: servers + 1].sum()], there[servers + 1 :]))


def _poisson(mean: float, count: int) -> Floats:
    """Probabilities of 0 ... count - 1."""
    k = np.arange(count, dtype=np.float64)
    logs = np.concatenate(([0.0], np.cumsum(np.log(k[1:]))))
    return np.exp(-mean + k * math.log(mean) - logs) if mean > 0 else (k == 0).astype(np.float64)
