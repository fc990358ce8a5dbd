"""Between a GPU that was measured and a block of them: factors with value and spread. Pure.

    C = N x1 A h rho eta s c       block goodput, images/s (N GPUs)
    ln C is the sum of the logs; Var ln C the sum of the variances
    C in exp(ln C -+ r),  r^2 = sum_i (t(level, v_i) sd_i)^2

A factor's own reach is t sd: t is Student's where sd was told by few values (v_i degrees of
freedom), the normal's where it is published or assumed. The reaches add as variances do (Howe, JASA
69, 1974; Zou and Donner, Statistics in Medicine 27, 2008): `python -m benchmarks.capacity` finds
that this covers 95% of worlds where Satterthwaite's pooled degrees of freedom cover 94, and 93 to
94 of those with few repeats. The interval is predictive: where the goodput of the next such block
would lie, not where a mean would.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from profiles.schema import Factor, Stand
from profiles.stats.queueing import Routing, admissible_load
from profiles.stats.student_t import t_quantile

LEVEL = 0.95
Z = 1.959964  # of 95%
SPARE = 0.05
INTERRUPTIONS_PER_GPU_H = 1.0 / 50_677.0
NODE_GPUS = 8  # that a drained node takes with it
DRAINED_H = (4.0, 72.0)
GPU_SPREAD = 0.08
REPEAT_SPREAD = 0.05
SITE_SPREAD = 0.05
DOUBLING_SPREAD = 0.05


@dataclass(frozen=True)
class Interval:
    """A figure and where it would lie, at a level."""

    value: float
    low: float
    high: float


def combined(scale: float, factors: Sequence[Factor], level: float = LEVEL) -> Interval:
    """`scale` times every factor, with the predictive interval at `level`."""
    value = scale * math.prod(one.value for one in factors)
    reach = math.hypot(*(_reach(one, level) for one in factors))
    return Interval(value, value * math.exp(-reach), value * math.exp(reach))


def _reach(factor: Factor, level: float) -> float:
    """How far the factor alone takes the logarithm, to either side."""
    degrees = math.inf if factor.degrees is None else factor.degrees
    return t_quantile(level, degrees) * factor.log_sd


def alone(factor: Factor, level: float = LEVEL) -> Interval:
    """The factor by itself: what would move a figure if nothing else did."""
    return combined(1.0, [factor], level)


def tornado(factors: Sequence[Factor], level: float = LEVEL) -> list[tuple[Factor, float, float]]:
    """Each factor that has a spread with how far it moves the figure, as shares; widest first."""
    swings = []
    for one in factors:
        if one.log_sd > 0.0:
            span = alone(one, level)
            swings.append((one, span.low / one.value - 1.0, span.high / one.value - 1.0))
    return sorted(swings, key=lambda swing: swing[1] - swing[2])


def known(
    name: str, value: float, log_sd: float, stand: Stand, source: str, degrees: float | None = None
) -> Factor:
    """A factor; `degrees` None where its spread is not an estimate from few values."""
    return Factor(
        name=name, value=value, log_sd=log_sd, stand=stand, source=source, degrees=degrees
    )


# -- the factors -----------------------------------------------------------------------------


def gpu_spread(gpus: int) -> Factor:
    """h: the GPUs measured are a sample of the block's, so their mean is off by sigma / sqrt(n)."""
    return known(
        "GPU to GPU",
        1.0,
        GPU_SPREAD / math.sqrt(gpus),
        "published",
        f"spread within one model of GPU 8% mean, 22% at most (SC22, arXiv 2208.11035); the 8% "
        f"are read as a standard deviation, over the {gpus} measured",
    )


def site() -> Factor:
    """s: another hall, cooling and power than the measured node's; 5% between the two."""
    return known(
        "site",
        1.0,
        SITE_SPREAD,
        "assumed",
        "another site's cooling, power and drivers move goodput by 5% (one standard deviation); "
        "measure on two sites to replace it",
    )


def between_repeats() -> Factor:
    """Where there is one run only: it and the next are two draws, so they differ by sqrt(2) sd."""
    return known(
        "the next repeat",
        1.0,
        math.sqrt(2.0) * REPEAT_SPREAD,
        "assumed",
        "one run says nothing of the next: repeats scatter by 5% (one standard deviation), two "
        "of them differ by 7.1%; repeat the run to measure it",
    )


def availability(spare: float = SPARE) -> Factor:
    """A: the larger of what is held back as spare and what failures take out.

    Out of service = interruptions a GPU-hour x GPUs drained with the node x hours drained: 0.06%
    at 4 h to 1.14% at 72 h. Its spread reads 4 h to 72 h as the middle 95% of a lognormal.
    """
    low_h, high_h = DRAINED_H
    out = INTERRUPTIONS_PER_GPU_H * NODE_GPUS * math.sqrt(low_h * high_h)
    log_sd = out / (1.0 - out) * math.log(high_h / low_h) / (2.0 * Z)
    if spare > out:
        source = (
            f"{100 * spare:g}% of the block held back as spare (rule of thumb), more than the "
            "0.06 to 1.14% that failures take out"
        )
    else:
        source = f"no more than {100 * spare:g}% spare; failures take out 0.06 to 1.14%"
    return known(
        "availability",
        1.0 - max(spare, out),
        log_sd,
        "assumed" if spare > out else "published",
        f"{source} (published: an interruption per 50,677 GPU-hours, Llama 3; a node of 8 drained "
        "4 to 72 h). Loss of a whole rack or hall is not in it",
    )


@dataclass(frozen=True)
class Doublings:
    """What scored predictions of more GPUs or replicas missed by."""

    error: float  # root mean square of the logs, a doubling
    runs: int  # that showed it
    largest: int  # GPUs or replicas of the largest of them


def larger_cell(tested: int, cell: int, seen: Doublings | None) -> Factor:
    """c: a cell larger than what was tested; its doubt grows with every doubling.

    What scored predictions missed by holds up to the largest size that scored one. Beyond it what
    fails to scale has not been met yet, so each doubling is doubted by 5% at least.
    """
    doublings = math.log2(cell / tested)
    stand: Stand = "assumed"
    degrees = None
    if seen is None:
        why = "no prediction was scored yet: 5% (one standard deviation) a doubling"
        spread = DOUBLING_SPREAD * doublings
    else:
        why = (
            f"{seen.runs} runs of more GPUs, {seen.largest} at most, scored predictions, which "
            f"missed by {100 * seen.error:.2g}% a doubling (root mean square)"
        )
        within = max(0.0, math.log2(min(cell, seen.largest) / tested))
        beyond = doublings - within
        each = max(seen.error, DOUBLING_SPREAD)
        spread = seen.error * within + each * beyond
        if beyond > 0.0:
            why += f"; beyond, {100 * each:.2g}% a doubling are assumed"
        else:
            stand, degrees = "measured", float(seen.runs)
    return known(
        "cells larger than tested",
        1.0,
        spread,
        stand,
        f"{doublings:.3g} doublings from {tested} to {cell} GPUs; {why}",
        degrees=degrees,
    )


def routing(
    kind: Routing, late_share: float, wait: float, servers: int, most: float = math.inf
) -> Factor:
    """eta: routing between cells, over what a random split of Poisson arrivals gives (1).

    A random split gives each cell arrivals such as it was tested with. Better routing lets cells
    be busier, and the same theory says by how much; `most`: what would fill them.
    """
    if kind == "random":
        return known(
            "routing",
            1.0,
            0.0,
            "assumed",
            "arrivals are split at random between cells, so that each sees such as the tested one "
            "did",
        )
    ratios = [
        admissible_load(
            late_share, wait, servers=servers, routing=kind, service_variability=v
        )
        / admissible_load(late_share, wait, servers=servers, service_variability=v)
        for v in (1.0, 0.0)
    ]  # fmt: skip
    return known(
        "routing",
        min(most, math.sqrt(ratios[0] * ratios[1])),
        abs(math.log(ratios[0] / ratios[1])) / (2.0 * Z),
        "assumed",
        f"{kind} between cells of {servers}, over a random split: theory for {wait:.3g} services "
        "of slack; no router was measured",
    )


def routing_unseen(kind: Routing, why: str) -> Factor:
    """Routing of which no gain is counted."""
    return known("routing", 1.0, 0.0, "assumed", f"{kind} between cells; {why}")
