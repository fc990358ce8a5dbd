"""A block of GPUs, request by request: what a fleet would do under a load. Pure, seeded.

`simulate` plays cell after cell, each by itself, on as many threads as there are cores; the figures
are sums over cells, so they do not depend on the threads. Theory and a plain reference simulator
check it in the tests; `python -m benchmarks.fleet` says how fast it is.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from statistics import NormalDist

import msgspec
import numpy as np

from profiles.fleet.kernel.cell import play
from profiles.fleet.kernel.histogram import BINS
from profiles.fleet.kernel.memory import Memory, minute_rows
from profiles.fleet.kernel.state import CELL as CELL_RECORD
from profiles.fleet.kernel.state import COLUMNS, Floats, Ints, Records
from profiles.fleet.kernel.streams import CELL, SPEED, cell_seed, draw
from profiles.fleet.totals import Totals, simulated
from profiles.schema.fleet import BacklogError, Fleet, FleetError, People, Simulated, check

MAX_SLOTS = 2**30
LOOK_S = 0.5  # between two looks at how far the cells are
DRAIN_S = 600.0  # after the load, what is not answered by then never comes back


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The arrivals at the whole block: a rate in bins of equal width, or the instants themselves.

    Attributes:
        duration_s: How long the load lasts.
        rates_per_s: People/s in each bin, Poisson; the bins fill the duration.
        times_s: Sorted arrivals; where there are any, the rates are not read.
    """

    duration_s: float
    rates_per_s: tuple[float, ...] = ()
    times_s: Floats | None = None

    @property
    def expected(self) -> float:
        """Arrivals, on average."""
        if self.times_s is not None:
            return float(self.times_s.size)
        return sum(self.rates_per_s) * self.duration_s / max(1, len(self.rates_per_s))


def steady(rate_per_s: float, duration_s: float) -> Demand:
    """Poisson arrivals at one rate."""
    return Demand(duration_s=duration_s, rates_per_s=(rate_per_s,))


def simulate(
    fleet: Fleet,
    demand: Demand,
    *,
    seed: int,
    slo_s: float,
    people: People | None = None,
    threads: int | None = None,
    from_s: float = 0.0,
    drain_s: float = DRAIN_S,
    most_slots: int = MAX_SLOTS,
    on_share: Callable[[float], None] = lambda share: None,
) -> Simulated:
    """Play the fleet under the demand.

    Args:
        fleet: The block.
        demand: What arrives.
        seed: Of all chance.
        slo_s: What counts as goodput.
        people: What one arrival does; default: one image, endless patience.
        threads: Default: one a core.
        from_s: Means (not curves) count what was due from here on: leave a warm-up out.
        drain_s: How long answers are waited for after the load.
        most_slots: Requests held at once in a cell, at most.
        on_share: Told every now and then which share of the cells' time is played, 0 .. 1.

    Raises:
        BacklogError: a backlog outgrew `most_slots`.
        FleetError: the fleet cannot be simulated.
    """
    people = people or People()
    check(fleet, people)
    if not 0 < demand.duration_s < math.inf:
        raise FleetError("the demand lasts no time: give a duration above 0")
    rates = np.array(demand.rates_per_s, np.float64)
    if (rates < 0).any() or not np.isfinite(rates).all():
        raise FleetError("the demand has a rate that is negative or no number")
    sizes = cell_sizes(fleet)
    times = shared_out(demand.times_s, sizes, seed)

    span = {"duration_s": demand.duration_s, "slo_s": slo_s, "from_s": from_s, "drain_s": drain_s}

    state: Records = np.zeros(len(sizes), CELL_RECORD)

    def one(index: int) -> tuple[Floats, Ints]:
        own = cell_seed(seed, index)
        memory = Memory(
            fleet,
            people,
            servers=sizes[index],
            seed=own,
            speeds=_speeds(fleet.gpu_spread, sizes[index], own),
            span=span,
            rates_per_s=rates * (sizes[index] / fleet.gpus),
            times_s=times[index],
            most_slots=most_slots,
            cell=state[index : index + 1],
        )
        if not play(memory):
            raise BacklogError(
                "the backlog outgrew the memory given: bound the queue (--max-queue), or give more"
            )
        return memory.minutes, memory.latency

    rows = minute_rows(demand.duration_s)
    minutes, latency = np.zeros((rows, COLUMNS)), np.zeros((rows, BINS), np.int64)
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        left = [pool.submit(one, index) for index in reversed(range(len(sizes)))]
        try:
            while left:  # cell after cell, as sums of floats depend on the order
                is_done = bool(wait([left[-1]], timeout=LOOK_S).done)
                if is_done:
                    of_cell = left.pop().result()  # held by nobody any more
                    minutes += of_cell[0]
                    latency += of_cell[1]
                ahead = state["clock_s"][len(sizes) - len(left) :] / demand.duration_s
                on_share(1.0 - (len(left) - float(np.minimum(ahead, 1.0).sum())) / len(sizes))
        finally:
            pool.shutdown(cancel_futures=True)
    totals = Totals(minutes=minutes, latency=latency, state=state)
    return simulated(fleet, people, totals, seed=seed, duration_s=demand.duration_s,
                     slo_s=slo_s, from_s=from_s)  # fmt: skip


def cell_sizes(fleet: Fleet) -> list[int]:
    """GPUs of each cell: all alike, but for a smaller last one."""
    full, rest = divmod(fleet.gpus, fleet.cell_gpus)
    return [fleet.cell_gpus] * full + ([rest] if rest else [])


def shared_out(times_s: Floats | None, sizes: list[int], seed: int) -> list[Floats]:
    """Each arrival to a cell at random, by its GPUs: the arrivals of every cell, sorted."""
    if times_s is None:
        return [np.zeros(0)] * len(sizes)
    if len(sizes) == 1:
        return [times_s]
    rng = np.random.Generator(np.random.PCG64([seed, CELL]))
    ends = np.cumsum(sizes) / sum(sizes)
    whose = np.searchsorted(ends, rng.random(times_s.size), side="right")
    return [times_s[whose == index] for index in range(len(sizes))]


def _speeds(spread: float, servers: int, seed: np.uint64) -> Floats:
    """Factors on each GPU's seconds, lognormal with mean 1: exp(σz - σ²/2)."""
    if spread == 0:
        return np.ones(servers)
    normal = NormalDist()
    u = [min(max(draw(seed, SPEED, s), 1e-12), 1 - 1e-12) for s in range(servers)]
    z = np.array([normal.inv_cdf(one) for one in u])
    factors: Floats = np.exp(spread * z - spread**2 / 2)
    return factors
