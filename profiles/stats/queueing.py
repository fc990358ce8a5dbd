"""How busy servers may be and still answer in time: theory that needs no simulation. Pure.

Times are in service times (1 / mu = 1), rho is the load a server, 0 to 1. Service is exponential
unless its variability says otherwise.

    one queue, c servers (Erlang C)    P(wait > w) = C(c, rho) exp(-c (1 - rho) w / v)
    least of two queues (Mitzenmacher 1996, Vvedenskaya 1996), many servers:
        a share rho^(2^k - 1) of the queues holds k or more; who joins one of k waits for k services

`v` = (ca^2 + cs^2) / 2 is Allen and Cunneen's factor (Probability, Statistics and Queueing Theory,
1990): ca^2 the variance of the gaps between arrivals over their mean squared (1 for Poisson), cs^2
that of service (1 exponential, 0 constant). Exact for M/M/c, an approximation elsewhere.
"""

import math
from typing import Literal

Routing = Literal["random", "round-robin", "two", "central"]
STEPS = 60  # of a bisection
MAX_JOBS = 60  # a queue of least-of-two is never longer in practice
CENTRAL = 0.995  # a block's one queue: the share of waiting falls to 0 with the number of servers


def erlang_c(servers: int, load: float) -> float:
    """The probability that an arrival waits, M/M/c with `load` a server below 1.

    From Erlang B, whose recursion B(k) = a B(k-1) / (k + a B(k-1)) is stable for any size.
    """
    offered = servers * load
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    return blocked / (1.0 - load * (1.0 - blocked))


def late_share_one_queue(servers: int, load: float, wait: float, variability: float = 1.0) -> float:
    """P(wait > `wait` services) in one queue before `servers` servers."""
    if load >= 1.0:
        return 1.0
    rate = servers * (1.0 - load) / max(variability, 1e-9)
    return erlang_c(servers, load) * math.exp(-rate * wait)


def late_share_two(load: float, wait: float) -> float:
    """P(wait > `wait` services) with the shorter of two random queues, many single servers."""
    if load >= 1.0:
        return 1.0
    late, before = 0.0, 1.0
    for k in range(MAX_JOBS):
        # both of two queues hold k or more: before; k + 1 or more: after
        after = load ** (2.0 * (2.0 ** (k + 1) - 1.0)) if k < 40 else 0.0
        late += (before - after) * _erlang_above(k, wait)
        before = after
        if before < 1e-15:
            break
    return late


def mean_wait_two(load: float) -> float:
    """The mean wait in services with the shorter of two, many single servers: 1.61 at 0.9.

    The sum over i >= 2 of load^(2^i - 2) (Mitzenmacher, The Power of Two Choices in Randomized
    Load Balancing, 1996, theorem 3).
    """
    return math.fsum(math.pow(load, 2.0**i - 2.0) for i in range(1, 40)) - 1.0


def _erlang_above(k: int, wait: float) -> float:
    """P(sum of k exponential services > wait)."""
    term = total = 0.0
    for i in range(k):
        term = math.exp(-wait) if i == 0 else term * wait / i
        total += term
    return total


def admissible_load(
    late_share: float,
    wait: float,
    *,
    servers: int = 1,
    routing: Routing = "random",
    service_variability: float = 1.0,
) -> float:
    """The highest load at which at most `late_share` of the arrivals wait longer than `wait`.

    `servers` share a queue: a cell. Between cells, "random" splits Poisson arrivals into Poisson
    ones, so a cell is an M/M/c of its own; "round-robin" makes each cell's gaps nearly even
    (ca^2 = 1 / cells, here 0); "two" joins the better of two cells, exact for single servers and
    for larger cells the geometric middle of random and central; "central" is one queue before all,
    whose load may come as near 1 as CENTRAL, or nearer where a cell's own may.

    Gives e.g. 0.03 for 1 server, 0.64 for 8, 0.94 for 64, 0.99 for 512 at 1% and one service.
    """
    if routing == "central" or (routing == "two" and servers > 1):
        alone = admissible_load(
            late_share, wait, servers=servers, service_variability=service_variability
        )
        central = max(CENTRAL, alone)
        return central if routing == "central" else math.sqrt(alone * central)
    gaps = 0.0 if routing == "round-robin" else 1.0
    variability = (gaps + service_variability) / 2.0

    def late(load: float) -> float:
        if routing == "two":
            return late_share_two(load, wait)
        return late_share_one_queue(servers, load, wait, variability)

    low, high = 0.0, 0.9999
    for _ in range(STEPS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if late(middle) <= late_share else (low, middle)
    return low
