"""What a simulation will take, before it starts: seconds by a short self-test, bytes by counting.

The self-test plays one cell for a while, under the rules and the mean rate asked for; the whole
takes that many seconds a request, on the cores there are. Memory is that of the cells in flight,
one a thread, each at the largest backlog its rules allow.
"""

import math
import os
import time
from collections.abc import Callable

import msgspec

from profiles.fleet.kernel.memory import FIRST_SLOTS, cell_bytes, minute_rows, stride_of
from profiles.fleet.simulate import MAX_SLOTS, Demand, simulate, steady
from profiles.fleet.sizing import part_of, sizes_at_most
from profiles.schema.fleet import Fleet, FleetError, People

PROCESS_BYTES = 250 * 2**20  # Python, numpy, numba and its compiler
PROBE_REQUESTS = 200_000
MAX_REQUESTS = 1000  # of one person
RESTS = 8.0  # people at rest (thinking, backing off) to one being served, allowed for
A_SLOT = (cell_bytes(0, 1, 1000, 0) - cell_bytes(0, 1, 0, 0)) / 1000  # bytes


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be simulated, and what for."""

    fleet: Fleet
    demand: Demand
    people: People = People()
    search_most: int | None = None  # GPUs at most of a search that comes after; None: no search
    cores: int = 1

    @property
    def requests(self) -> float:
        """Expected."""
        return self.demand.expected * requests_a_person(self.people)

    def of(self, gpus: int) -> "Asked":
        """The same rules on fewer GPUs, with their share of the load."""
        share = gpus / self.fleet.gpus
        rates = tuple(rate * share for rate in self.demand.rates_per_s)
        times_s = self.demand.times_s
        demand = msgspec.structs.replace(
            self.demand,
            rates_per_s=rates,
            times_s=None if times_s is None else times_s[: int(times_s.size * share)],
        )
        cell_gpus = min(self.fleet.cell_gpus, gpus)
        fleet = msgspec.structs.replace(self.fleet, gpus=gpus, cell_gpus=cell_gpus)
        return msgspec.structs.replace(self, fleet=fleet, demand=demand)

    def in_cells(self, gpus: int) -> "Asked":
        """The same in cells of so many GPUs."""
        fleet = msgspec.structs.replace(self.fleet, cell_gpus=gpus)
        return msgspec.structs.replace(self, fleet=fleet)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected."""

    requests: float
    seconds_each: float  # of a request on one core
    seconds: float
    search_seconds: float  # of the search of GPUs needed, at most
    memory_bytes: float
    most_slots: int  # of one cell: what the memory given has room for


def estimate(
    asked: Asked, *, memory_bytes: float, clock: Callable[[], float] = time.perf_counter
) -> Cost:
    """The cost of `simulate(fleet, demand, people=people)`, and of `gpus_needed` after it.

    Raises:
        FleetError: the fleet cannot be simulated at all.
    """
    fleet, demand, people = asked.fleet, asked.demand, asked.people
    probe = msgspec.structs.replace(fleet, gpus=min(fleet.gpus, fleet.cell_gpus))
    rate = demand.expected / demand.duration_s * probe.gpus / fleet.gpus
    seconds_each = 0.0
    if rate > 0:
        span_s = min(demand.duration_s, PROBE_REQUESTS / rate)

        def play(seconds: float) -> int:
            load = steady(rate, seconds)
            return simulate(probe, load, seed=0, slo_s=1.0, people=people, threads=1).requests

        play(span_s / 1000)  # compiles
        begin_s = clock()
        requests = play(span_s)
        seconds_each = (clock() - begin_s) / max(1, requests)
    room = (memory_bytes - _held_bytes(asked, 0.0)) / _threads(asked)
    return Cost(
        requests=asked.requests,
        seconds_each=seconds_each,
        seconds=_seconds(asked, seconds_each),
        search_seconds=_search_seconds(asked, seconds_each),
        memory_bytes=_held_bytes(asked, _slots(asked)),
        most_slots=int(min(max(room / A_SLOT, FIRST_SLOTS), MAX_SLOTS)),
    )


def afford(asked: Asked, cost: Cost, *, memory_bytes: float, time_s: float) -> None:
    """Make sure that it fits.

    Raises:
        FleetError: says what it would take, and the largest size that fits.
    """
    seconds = cost.seconds + cost.search_seconds
    if seconds <= time_s and cost.memory_bytes <= memory_bytes:
        return

    def fits(one: Asked) -> bool:
        needs_s = _seconds(one, cost.seconds_each) + _search_seconds(one, cost.seconds_each)
        return needs_s <= time_s and _held_bytes(one, _slots(one)) <= memory_bytes

    wants = f"about {_rounded(seconds)} s and {cost.memory_bytes / 2**30:.2f} GiB"
    if cost.search_seconds:
        wants += f" ({_rounded(cost.search_seconds)} s of it to search the GPUs needed, at most)"
    given = f"{_rounded(time_s)} s and {memory_bytes / 2**30:.2f} GiB were given"
    if memory_bytes < PROCESS_BYTES:
        alone = f"no size fits, the program alone takes {PROCESS_BYTES / 2**30:.2f} GiB"
        raise FleetError(f"simulating it takes {wants}; {given}: {alone}: raise --memory")
    remedies = []
    if cost.search_seconds and fits(msgspec.structs.replace(asked, search_most=None)):
        remedies.append("it fits without --slo-share")
    gpus = _largest(asked.fleet.gpus, lambda n: fits(asked.of(n)))
    if gpus > asked.fleet.cell_gpus:
        gpus = gpus // asked.fleet.cell_gpus * asked.fleet.cell_gpus
    if gpus:
        remedies.append(f"at most {gpus:,} GPUs with their share of the load fit (--gpus {gpus})")
    if cost.memory_bytes > memory_bytes:
        cell = _largest(asked.fleet.cell_gpus, lambda n: fits(asked.in_cells(n)))
        if cell:
            remedies.append(f"cells of at most {cell:,} GPUs fit (--cell-gpus {cell})")
        remedies.append("bound the queue (--max-queue), or raise --memory")
    if seconds > time_s:
        remedies.append("raise --time" if gpus else "not even one GPU's load fits: raise --time")
    raise FleetError(f"simulating it takes {wants}; {given}: {'; '.join(remedies)}")


def _rounded(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.2g}"


def _largest(below: int, fits: Callable[[int], bool]) -> int:
    """The largest whole number under `below` that fits, by bisection; 0: none."""
    low, high = 0, below
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _threads(asked: Asked) -> int:
    return min(asked.cores, asked.fleet.cells)


def _seconds(asked: Asked, seconds_each: float) -> float:
    return asked.requests * seconds_each / _threads(asked)


def _search_seconds(asked: Asked, seconds_each: float) -> float:
    """Of all sizes a search may try, each with the most requests it plays."""
    if asked.search_most is None or asked.demand.expected <= 0:
        return 0.0
    tries, start = sizes_at_most(asked.fleet, asked.demand, asked.people, asked.search_most)
    part = part_of(start, asked.demand)
    cells = math.ceil(part / asked.fleet.cell_gpus)
    requests = asked.requests * part / start
    return tries * requests * seconds_each / min(asked.cores, cells)


def _held_bytes(asked: Asked, slots: float) -> float:
    """Memory with so many slots in each cell that is in flight."""
    fleet, times_s = asked.fleet, asked.demand.times_s
    gpus = min(fleet.gpus, fleet.cell_gpus)
    rows = minute_rows(asked.demand.duration_s)
    a_cell = cell_bytes(gpus, fleet.batch_limit, FIRST_SLOTS, rows) + slots * A_SLOT
    held = 0 if times_s is None else 2 * times_s.nbytes
    return PROCESS_BYTES + held + _threads(asked) * a_cell


def _slots(asked: Asked) -> float:
    """The most slots a cell can need: for what its rules let wait, at most for all who come."""
    fleet, people = asked.fleet, asked.people
    gpus = min(fleet.gpus, fleet.cell_gpus)
    most = asked.demand.expected * gpus / fleet.gpus
    if fleet.max_queue is None:
        return most * stride_of(people)
    rests = people.retry != "none" or bool(people.go_on)
    images = gpus * (fleet.max_queue + fleet.batch_limit)
    held = images / people.mean_images * (1 + RESTS if rests else 1)
    return min(held, most) * stride_of(people)


def cores_here() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0))


def requests_a_person(people: People) -> float:
    """Expected, at most: a limit of n images leaves no more than n requests."""
    reach = [1.0]
    while len(reach) < MAX_REQUESTS and people.go_on:
        reach.append(reach[-1] * people.go_on[min(len(reach), len(people.go_on)) - 1])
    return sum(
        share * sum(reach[:most])
        for share, most in (
            (people.paying_share, people.paying_images),
            (1.0 - people.paying_share, people.free_images),
        )
    )
