"""From this run's goodput to a block of 100,000 GPUs, first form: linear, every assumption said.

    x1 = goodput / n                goodput per GPU at the SLO, images/s (n GPUs)
    C  = N x1                       block of N GPUs, images/s
    blocks for the peak = peak / C; GPUs for it = ceil(peak / x1)
    event GPU-hours = images / x1 / 3600
    $ per 1000 images = 1000 price / (3600 x1)

The full form is C = N A h eta x1 rho (availability, heterogeneity, routing, admissible
utilization); here all four are 1, which the assumptions say. Pure.
"""

import math
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from profiles.schema import Capacity, RunManifest

BLOCK_GPUS = 100_000
# The server's toy models are called tiny, tiny-sdxl, ...
TOY_MODEL = re.compile(r"tiny(-.*)?")


def block_capacity(
    manifest: RunManifest,
    goodput_images_per_s: float | None,
    *,
    valid: bool,
    interrupted: bool = False,
    duration_s: float | None = None,
) -> Capacity:
    """This run's goodput carried to a block, or the reason why it is not."""
    withheld = _why_withheld(manifest, goodput_images_per_s, valid, interrupted)
    if withheld is not None or goodput_images_per_s is None:
        return Capacity(block_gpus=BLOCK_GPUS, withheld=withheld)
    gpus = gpus_in_use(manifest)
    per_gpu = goodput_images_per_s / gpus
    demand = manifest.demand
    block = BLOCK_GPUS * per_gpu
    price = manifest.gpu_price_usd_per_h
    return Capacity(
        block_gpus=BLOCK_GPUS,
        goodput_images_per_s_per_gpu=per_gpu,
        block_images_per_s=block,
        blocks_for_peak=demand.peak_images_per_s / block if demand else None,
        gpus_for_peak=math.ceil(demand.peak_images_per_s / per_gpu) if demand else None,
        event_gpu_hours=demand.images / per_gpu / 3600.0 if demand else None,
        usd_per_1000_images=1000.0 * price / (3600.0 * per_gpu),
        price_usd_per_gpu_h=price,
        assumptions=_assumptions(manifest, goodput_images_per_s, gpus, duration_s),
    )


def gpus_in_use(manifest: RunManifest) -> int:
    """How many GPUs the figure is divided by: one a replica, never more than there are."""
    there = len(manifest.gpus)
    replicas = manifest.target.replicas
    if manifest.target.embedded and replicas:
        return min(there, replicas)
    return there


def target_shares_machine(manifest: RunManifest) -> bool:
    """Whether the GPUs this run sampled can be the target's."""
    host = (urlsplit(manifest.target.url).hostname or "").lower()
    return manifest.target.embedded or host in {"localhost", "::1"} or host.startswith("127.")


def _why_withheld(
    manifest: RunManifest, goodput: float | None, valid: bool, interrupted: bool
) -> str | None:
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
    if not goodput:
        return "No image came back within the SLO, so there is no goodput to carry over."
    return None


def _assumptions(
    manifest: RunManifest, goodput: float, gpus: int, duration_s: float | None
) -> list[str]:
    names = sorted({gpu.name for gpu in manifest.gpus}) or ["GPU"]
    over = f" over {duration_s:,.0f} s" if duration_s is not None else ""
    sentences = [
        (
            f"Measured: {goodput:.3g} images/s within {manifest.slo_latency_s:g} s on {gpus} × "
            f"{', '.join(names)}, the mean{over} of this run's load."
        ),
        (
            "Measured: because it is the mean over the curve, a node that was not saturated "
            "throughout could have done more; the figure understates such a node and overstates "
            "none."
        ),
    ]
    if not manifest.target.embedded:
        sentences.append(
            f"Assumed: the server at {manifest.target.url} uses all {gpus} GPUs of this machine."
        )
    if _weights(manifest.target.settings) == "random":
        sentences.append(
            "Assumed: random weights cost what trained ones do; the images are noise, but the "
            "FLOPs are the real architecture's."
        )
    sentences += [
        (
            f"Assumed: linear scaling, {BLOCK_GPUS:,} GPUs do {BLOCK_GPUS:,} times what one does; "
            "nothing is lost to routing, ingress or slower GPUs (published spread within one model "
            "of GPU: 8 % mean, 22 % at most, SC22, arXiv 2208.11035)."
        ),
        (
            "Assumed: no spare, every GPU is up (published: one interruption per 50,677 GPU-hours, "
            "Llama 3; the rule of thumb is 5 % spare)."
        ),
        (
            f"Assumed: a GPU-hour costs {manifest.gpu_price_usd_per_h:.2f} $ "
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


def _weights(settings: Mapping[str, str | int | float | bool | None] | None) -> object:
    return (settings or {}).get("weights")
