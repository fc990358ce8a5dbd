"""From measured goodput to a block of 100,000 GPUs, with an interval or a reason why not. Pure.

    x1 = rate / n                    images/s a GPU, of n tested: while the node was saturated, and
                                     then rho is what the SLO leaves of it; or a search's at its SLO
    C  = N x1 A h rho eta s c        block of N GPUs (factors.py)
    GPUs for the peak = ceil(N peak / C);  blocks for it: those over 100,000
    event GPU-hours = images N / C / 3600
    $ per 1000 images = 1000 price N / (3600 C)

A block is made of cells, each as large as what was tested, behind a shared layer. Extrapolating by
a scaling law fitted on 8 GPUs would say nothing at 100,000: 1% of noise leaves its contention
known to about 1.4e-3, which is any efficiency down to 0.7%.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from profiles.capacity import factors
from profiles.capacity.evidence import Evidence
from profiles.capacity.utilization import admissible
from profiles.requests import approximations
from profiles.requests.burstiness import Arrivals
from profiles.requests.slo import EvidenceError, TooLittleError
from profiles.requests.target import target_shares_machine
from profiles.schema import Capacity, Demand, Factor, RunManifest
from profiles.stats.queueing import Routing

BLOCK_GPUS = 100_000
FEW_REPEATS = 3
TOO_SMALL = 1000  # a cell may not be so many times what was tested
# The server's toy models are called tiny, tiny-sdxl, ...
TOY_MODEL = re.compile(r"tiny(-.*)?")


@dataclass(frozen=True)
class ExtrapolationOptions:
    """What is asked of the extrapolation beside the evidence."""

    gpus: int = BLOCK_GPUS
    cell_gpus: int | None = None  # None: as many as were tested
    routing: Routing = "random"
    spare: float = factors.SPARE
    level: float = factors.LEVEL
    price_usd_per_gpu_h: float | None = None
    doublings: factors.Doublings | None = None  # what the ledger's scored predictions missed by
    curve: tuple[Arrivals, ...] = ()  # draws of a cell's arrivals; none: as they were measured


def block_factors(evidence: Evidence, asked: ExtrapolationOptions) -> list[Factor]:
    """Every factor between a measured GPU and the block; the GPU's rate first.

    Raises:
        TooLittleError: a cell a thousand times as large as what was tested.
    """
    tested = evidence.tested_gpus
    cell = asked.cell_gpus or tested
    if cell >= TOO_SMALL * tested:
        raise TooLittleError(
            f"a cell of {cell:,} GPUs is {cell / tested:,.0f} times the {tested:,} that were "
            f"tested: nothing measured says how it does. Test at least "
            f"{math.ceil(cell / (TOO_SMALL - 1)):,} GPUs, or name a smaller --cell"
        )
    late = max(1.0 - evidence.slo.share, 1e-4)
    found = [evidence.rate]
    if evidence.repeats == 1:
        found.append(factors.between_repeats())
    found += [factors.gpu_spread(tested), factors.site(), factors.availability(asked.spare)]
    if cell > tested:
        found.append(factors.larger_cell(tested, cell, asked.doublings))
    rho = admissible(evidence, cell, late, asked.curve)
    return [*found, rho, _routing(evidence, asked, late, cell, rho.value)]


def _routing(
    evidence: Evidence, asked: ExtrapolationOptions, late: float, cell: int, rho: float
) -> Factor:
    draws = [*asked.curve, evidence.arrivals]
    if asked.routing != "random" and draws[0] is not None and draws[0].bursty:
        why = "bursts are taken to hit all cells alike, so no gain of evening them out is counted"
        return factors.routing_unseen(asked.routing, why)
    if not evidence.has_slo:
        why = "the rate is a full GPU's, and no routing makes more of one"
        return factors.routing_unseen(asked.routing, why)
    most = 1.0 / rho if evidence.saturated else math.inf  # of a full node's goodput, all at most
    return factors.routing(asked.routing, late, evidence.slack, cell, most)


def extrapolate(
    evidence: Evidence,
    asked: ExtrapolationOptions,
    demand: Demand | None = None,
    assumptions: Sequence[str] = (),
    event: str | None = None,
) -> Capacity:
    """The block's goodput with its predictive interval, and what it means for an event.

    `event`: the name of the scenario whose `demand` it is.

    Raises:
        TooLittleError: see `block_factors`.
    """
    found = block_factors(evidence, asked)
    block = factors.combined(float(asked.gpus), found, asked.level)
    per_gpu = block.value / asked.gpus
    price = asked.price_usd_per_gpu_h
    peak = demand.peak_images_per_s if demand else None
    a_block = BLOCK_GPUS / asked.gpus  # what was asked for may be half a block
    return Capacity(
        block_gpus=asked.gpus,
        images_per_s_per_gpu=evidence.rate.value,
        block_images_per_s=block.value,
        block_low_images_per_s=block.low,
        block_high_images_per_s=block.high,
        level=asked.level,
        factors=found,
        loud=evidence.loud + _loud(evidence, asked),
        event=event,
        event_peak_images_per_s=peak,
        blocks_for_peak=peak / (a_block * block.value) if peak is not None else None,
        blocks_for_peak_low=peak / (a_block * block.high) if peak is not None else None,
        blocks_for_peak_high=peak / (a_block * block.low) if peak is not None else None,
        gpus_for_peak=math.ceil(peak / per_gpu) if peak is not None else None,
        event_gpu_hours=demand.images / per_gpu / 3600.0 if demand else None,
        usd_per_1000_images=1000.0 * price / (3600.0 * per_gpu) if price is not None else None,
        price_usd_per_gpu_h=price,
        assumptions=list(assumptions),
    )


def _loud(evidence: Evidence, asked: ExtrapolationOptions) -> list[str]:
    told = []
    if 1 < evidence.repeats <= FEW_REPEATS:
        told.append(
            f"{evidence.repeats} repeats say little of how repeats scatter, so the interval is as "
            "wide as their t quantile asks; more of them make it narrower."
        )
    if evidence.repeats == 1 and evidence.rate.degrees is not None:
        told.append("One run: how the next one differs is assumed, not measured; repeat it.")
    cell = asked.cell_gpus or evidence.tested_gpus
    if cell > evidence.tested_gpus:
        told.append(
            f"A cell of {cell:,} GPUs was never tested; {evidence.tested_gpus:,} were. "
            "See what the ledger says of such steps."
        )
    return told


def block_capacity(
    manifest: RunManifest,
    evidence: Evidence | EvidenceError | None,
    *,
    valid: bool,
    interrupted: bool = False,
) -> Capacity:
    """A run's evidence carried to a block, or the reason why it is not; None: nothing was done."""
    withheld = why_withheld(manifest, valid=valid, interrupted=interrupted)
    if withheld is None and evidence is None:
        withheld = "No image came back within the SLO, so there is no goodput to carry over."
    if withheld is None and isinstance(evidence, EvidenceError):
        withheld = f"{evidence}."
        withheld = withheld[:1].upper() + withheld[1:]
    if withheld is not None or not isinstance(evidence, Evidence):
        return Capacity(block_gpus=BLOCK_GPUS, withheld=withheld)
    asked = ExtrapolationOptions(price_usd_per_gpu_h=manifest.gpu_price_usd_per_h)
    assumptions = _assumptions(manifest, evidence)
    return extrapolate(evidence, asked, manifest.demand, assumptions, manifest.scenario)


def why_withheld(manifest: RunManifest, *, valid: bool, interrupted: bool = False) -> str | None:
    """Why nothing about a block follows from this run, whatever it measured; None if it may."""
    target = manifest.target
    if target.is_stub:
        return "The target was a stub: it has no model, so its rate says nothing about a GPU."
    if not target_shares_machine(manifest):
        return (
            "The target is another machine whose GPUs this run could not see; "
            "run viralload on the GPU node itself for a block figure."
        )
    if not manifest.gpus or target.device == "cpu":
        return "The run used no GPU: a CPU says nothing about a block of GPUs."
    if TOY_MODEL.fullmatch(target.model or ""):
        return (
            f"The model {target.model} is a toy: its rate says nothing about a real image model; "
            "run with a real one, such as --model sd15 or sdxl."
        )
    if interrupted:
        return "The run was stopped before its end; a block figure needs a whole run."
    if not valid:
        return "The run is INVALID, so nothing is concluded from it."
    return None


def _assumptions(manifest: RunManifest, evidence: Evidence) -> list[str]:
    names = sorted({gpu.name for gpu in manifest.gpus}) or ["GPU"]
    gpus = evidence.tested_gpus
    sentences = [
        (
            f"Measured: {gpus * evidence.rate.value:.3g} images/s on {gpus} × {', '.join(names)} "
            "while a queue stood before them, which is what they can do; the mean of a load is "
            "what was asked for."
        )
    ]
    if not manifest.target.embedded:
        sentences.append(
            f"Assumed: the server at {manifest.target.url} uses all {gpus} GPUs of this machine."
        )
    if evidence.mix is not None:
        sentences.append(
            f"Assumed: the block is asked for what this run was, {evidence.mix.told}; other "
            "requests cost other."
        )
    if (manifest.target.settings or {}).get("weights") == "random":
        sentences.append(
            "Assumed: random weights cost what trained ones do; the images are noise, but the "
            "FLOPs are the real architecture's."
        )
    sentences += approximations.sentences(manifest)
    sentences += [
        (
            f"Assumed: {BLOCK_GPUS:,} GPUs are {BLOCK_GPUS // gpus:,} cells of the {gpus} tested, "
            "and a layer before them that holds none up; measure that layer with --model stub."
        ),
        (
            f"Assumed: a GPU-hour costs ${manifest.gpu_price_usd_per_h:.2f} "
            f"({manifest.gpu_price_basis}), busy or not."
        ),
    ]
    if manifest.demand is not None:
        sentences.append(
            f"Published, and derived from it: the event peaks at "
            f"{manifest.demand.peak_images_per_s:,.0f} images/s ({manifest.demand.basis}); its "
            "images are taken to cost what this run's do."
        )
    return sentences
