"""How many GPUs a demand needs: the fewest whose simulation meets the SLO. Pure, seeded.

Cells are independent and alike, so a search plays a part of the block, at the load it would get.
"""

import contextlib
import math
from collections.abc import Callable

import msgspec

from profiles.fleet.simulate import MAX_SLOTS, Demand, simulate
from profiles.schema.fleet import BacklogError, Fleet, FleetError, People

REQUESTS = 2_000_000  # simulated of each size tried, at most; a few servers always
MIN_GPUS = 50
TOLERANCE = 0.005  # of the number of GPUs


class Needed(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, and what was tried on the way: (GPUs, share of requests within the SLO).

    The share is 0 where the backlog outgrew the memory given.
    """

    gpus: int | None  # None: not even `most` suffice
    slo_s: float
    slo_share: float
    tried: list[tuple[int, float]]


def gpus_needed(
    fleet: Fleet,
    demand: Demand,
    *,
    seed: int,
    slo_s: float,
    slo_share: float,
    people: People | None = None,
    most: int,
    most_slots: int = MAX_SLOTS,
    on_share: Callable[[int, float], None] = lambda gpus, share: None,
) -> Needed:
    """The fewest GPUs at which a share of all requests is ok within the SLO, by bisection.

    Args:
        fleet: The rules; its `gpus` are not read.
        demand: Of the whole block.
        seed: Of all chance, the same for every size tried.
        slo_s: What counts as in time.
        slo_share: Of requests, 0..1.
        people: See `simulate`.
        most: GPUs at most.
        most_slots: See `simulate`.
        on_share: Told the size that is being tried, and which share of its time is played.

    Raises:
        FleetError: the demand is given as instants, which no other number of cells can share.
    """
    check_search(demand)
    tried: list[tuple[int, float]] = []

    def suffices(gpus: int) -> bool:
        part = part_of(gpus, demand)
        own = msgspec.structs.replace(fleet, gpus=part)
        rates = tuple(rate * part / gpus for rate in demand.rates_per_s)
        share: float | None = 0.0
        with contextlib.suppress(BacklogError):
            share = simulate(
                own,
                Demand(duration_s=demand.duration_s, rates_per_s=rates),
                seed=seed,
                slo_s=slo_s,
                people=people,
                most_slots=most_slots,
                on_share=lambda played: on_share(gpus, played),
            ).slo_share
        share = 1.0 if share is None else share
        tried.append((gpus, share))
        return share >= slo_share

    low, high = 0, _start(fleet, demand, people or People(), most)
    while not suffices(high):
        if high >= most:
            return Needed(gpus=None, slo_s=slo_s, slo_share=slo_share, tried=tried)
        low, high = high, min(most, 2 * high)
    while high - low > max(1, TOLERANCE * high):
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return Needed(gpus=high, slo_s=slo_s, slo_share=slo_share, tried=tried)


def check_search(demand: Demand) -> None:
    """Make sure that a demand can be shared by other numbers of GPUs.

    Raises:
        FleetError: it is given as instants.
    """
    if demand.times_s is not None:
        raise FleetError(
            "--slo-share: a search needs a rate, and arrivals as instants cannot be scaled: use "
            "--arrivals poisson"
        )


def sizes_at_most(fleet: Fleet, demand: Demand, people: People, most: int) -> tuple[int, int]:
    """How many sizes a search tries at most, and the first of them in GPUs.

    It doubles until a size suffices, then halves what is between down to TOLERANCE.
    """
    start = _start(fleet, demand, people, most)
    doublings = math.ceil(math.log2(most / start))
    return 1 + doublings + math.ceil(math.log2(1.0 / TOLERANCE)), start


def part_of(gpus: int, demand: Demand) -> int:
    """How many of the GPUs are played: enough for REQUESTS people, all or a few at least."""
    within = int(gpus * min(1.0, REQUESTS / max(1.0, demand.expected)))
    return min(gpus, max(MIN_GPUS, within))


def _start(fleet: Fleet, demand: Demand, people: People, most: int) -> int:
    """GPUs whose full batches just carry a request of each who comes, at most `most`."""
    each = fleet.images_per_s(people.mean_steps) / fleet.gpus / people.mean_images
    return max(1, min(most, math.ceil(demand.expected / demand.duration_s / each)))
