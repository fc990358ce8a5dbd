"""How many GPUs a demand needs: the fewest whose simulation meets the SLO. Pure, seeded.

Cells are independent and alike, so a search plays a part of the block, at the load it would get.
"""

import math

import msgspec

from profiles.fleet import Demand, simulate
from profiles.fleet_values import Fleet, FleetError, People

REQUESTS = 2_000_000  # simulated of each size tried, at most; a few servers always
LEAST_GPUS = 50
TOLERANCE = 0.005  # of the number of GPUs


class Needed(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, and what was tried on the way: (GPUs, share of requests within the SLO)."""

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

    Raises:
        FleetError: the demand is given as instants, which no other number of cells can share.
    """
    if demand.times_s is not None:
        raise FleetError("a search needs a rate: arrivals as instants cannot be scaled")
    tried: list[tuple[int, float]] = []

    def suffices(gpus: int) -> bool:
        within = max(LEAST_GPUS, int(gpus * min(1.0, REQUESTS / max(1.0, demand.expected))))
        part = min(gpus, within)
        own = msgspec.structs.replace(fleet, gpus=part)
        rates = tuple(rate * part / gpus for rate in demand.rates_per_s)
        played = simulate(
            own,
            Demand(duration_s=demand.duration_s, rates_per_s=rates),
            seed=seed,
            slo_s=slo_s,
            people=people,
        )
        share = 1.0 if played.slo_share is None else played.slo_share
        tried.append((gpus, share))
        return share >= slo_share

    low, high = 0, max(1, min(most, _enough_for_mean(fleet, demand)))
    while not suffices(high):
        if high >= most:
            return Needed(gpus=None, slo_s=slo_s, slo_share=slo_share, tried=tried)
        low, high = high, min(most, 2 * high)
    while high - low > max(1, TOLERANCE * high):
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return Needed(gpus=high, slo_s=slo_s, slo_share=slo_share, tried=tried)


def _enough_for_mean(fleet: Fleet, demand: Demand) -> int:
    """GPUs whose full batches just carry the mean rate."""
    each = fleet.capacity_images_per_s / fleet.gpus
    return math.ceil(demand.expected / demand.duration_s / each)
