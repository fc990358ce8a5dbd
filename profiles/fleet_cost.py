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

from profiles.fleet import MOST_SLOTS, Demand, simulate, steady
from profiles.fleet_memory import FIRST_SLOTS, cell_bytes, minute_rows
from profiles.fleet_values import Fleet, FleetError, People

PROCESS_BYTES = 250 * 2**20  # Python, numpy, numba and its compiler
PROBE_REQUESTS = 200_000
RESTS = 8.0  # people at rest (thinking, backing off) to one being served, allowed for


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected."""

    requests: float
    seconds: float
    memory_bytes: float
    most_slots: int  # of one cell: what the memory given has room for


def estimate(
    fleet: Fleet,
    demand: Demand,
    people: People,
    *,
    memory_bytes: float,
    clock: Callable[[], float] = time.perf_counter,
    cores: int | None = None,
) -> Cost:
    """The cost of `simulate(fleet, demand, people=people)`.

    Raises:
        FleetError: the fleet cannot be simulated at all.
    """
    cores = cores or len(os.sched_getaffinity(0))
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
    expected = demand.expected * images_a_person(people)
    rows = minute_rows(demand.duration_s)
    held = demand.times_s.nbytes * 2 if demand.times_s is not None else 0
    threads = min(cores, fleet.cells)
    a_cell = cell_bytes(probe.gpus, fleet.batch_limit, FIRST_SLOTS, rows)
    a_slot = (cell_bytes(0, 1, 1000, 0) - cell_bytes(0, 1, 0, 0)) / 1000
    room = (memory_bytes - PROCESS_BYTES - held) / threads - a_cell
    slots = min(_backlog(fleet, probe, people), demand.expected * probe.gpus / fleet.gpus)
    return Cost(
        requests=expected,
        seconds=expected * seconds_each / threads,
        memory_bytes=PROCESS_BYTES + held + threads * (a_cell + slots * a_slot),
        most_slots=int(min(max(room / a_slot, FIRST_SLOTS), MOST_SLOTS)),
    )


def afford(fleet: Fleet, cost: Cost, *, memory_bytes: float, time_s: float) -> None:
    """Make sure that it fits.

    Raises:
        FleetError: says what it would take, and the largest size that fits.
    """
    if cost.seconds <= time_s and cost.memory_bytes <= memory_bytes:
        return
    wants = f"about {cost.seconds:,.0f} s and {cost.memory_bytes / 2**30:.2f} GiB"
    given = f"{time_s:,.0f} s and {memory_bytes / 2**30:.2f} GiB were given"
    remedies = []
    if cost.memory_bytes > memory_bytes:
        remedies.append("bound the queue (--max-queue) or make cells smaller (--cell-gpus)")
    if cost.seconds > time_s:
        gpus = math.floor(fleet.gpus * time_s / cost.seconds)
        if gpus > fleet.cell_gpus:
            gpus = gpus // fleet.cell_gpus * fleet.cell_gpus
        remedies.append(
            f"at most {gpus:,} GPUs with their share of the load fit (--gpus {gpus})"
            if gpus
            else "not even one GPU's load fits: raise --time"
        )
    raise FleetError(f"simulating it takes {wants}; {given}: {'; '.join(remedies)}")


def _backlog(fleet: Fleet, cell: Fleet, people: People) -> float:
    """The most requests a cell can hold; inf where nothing bounds it."""
    if fleet.max_queue is None:
        return math.inf
    held = cell.gpus * (fleet.max_queue + fleet.batch_limit)
    rests = people.retry != "none" or bool(people.go_on)
    return held * (1 + RESTS if rests else 1)


def images_a_person(people: People) -> float:
    """Expected, whatever cuts it short."""
    expected, reach = 1.0, 1.0
    for share in people.go_on[:-1]:
        reach *= share
        expected += reach
    if people.go_on:
        last = min(people.go_on[-1], 0.999)
        expected += reach * last / (1 - last)
    return expected
