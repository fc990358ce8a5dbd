"""A block's goodput against its size and against the SLO: what-if as curves. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from profiles.capacity.block import ExtrapolationOptions, block_factors
from profiles.capacity.evidence import Evidence, estimate
from profiles.capacity.factors import combined
from profiles.capacity.goodput import goodput_of
from profiles.record.columns import Recorded
from profiles.requests.counted import count_run
from profiles.requests.slo import EvidenceError, Slo
from profiles.requests.target import servers_in_use

SIZES = (0.1, 10.0, 13)  # least and most of the size asked for, and how many between
LIMITS = 12


@dataclass(frozen=True)
class Point:
    """One what-if: x with the block's goodput and its interval; None where it cannot be."""

    x: float
    value: float | None = None
    low: float | None = None
    high: float | None = None


def by_size(evidence: Evidence, asked: ExtrapolationOptions) -> list[Point]:
    """Goodput of blocks from a tenth to ten times as large; x in GPUs.

    Raises:
        EvidenceError: see `block_factors`.
    """
    least, most, count = SIZES
    found = block_factors(evidence, asked)
    points = []
    for gpus in np.geomspace(least * asked.gpus, most * asked.gpus, count):
        span = combined(float(gpus), found, asked.level)
        points.append(Point(float(gpus), span.value, span.low, span.high))
    return points


def by_slo(runs: Sequence[Recorded], slo: Slo, asked: ExtrapolationOptions) -> list[Point]:
    """Goodput against the SLO's seconds, each counted afresh from the records; x in seconds.

    From the least latency that any window met to three times the SLO; None where it was never met.
    """
    counted = [count_run(one) for one in runs]
    points = []
    for limit_s in np.geomspace(slo.latency_s / 8.0, 3.0 * slo.latency_s, LIMITS):
        at = replace(slo, latency_s=float(limit_s), text=f"{slo.share:g} within {limit_s:.3g} s")
        try:
            evidence = estimate(
                [goodput_of(one, at, max(1, servers_in_use(one.manifest))) for one in counted]
            )
            span = combined(float(asked.gpus), block_factors(evidence, asked), asked.level)
        except EvidenceError:
            points.append(Point(float(limit_s)))
        else:
            points.append(Point(float(limit_s), span.value, span.low, span.high))
    return points
