"""The result of a search (`viralload find`) as evidence: find.json of its run folder."""

import math
from pathlib import Path

import msgspec
import numpy as np

from profiles.run import RunError
from profiles.schema import RunManifest
from profiles.seen import Seen
from profiles.slo import Slo, SloError, TooLittleError

NAME = "find.json"
Z = 1.959964  # the interval of a search is at 95 %


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of it; the rest is its own report's."""

    run_id: str
    verdict: str  # "found" | "wide" | "unknown" | "unmet" | "at least"
    valid: bool
    reasons: list[str] = []
    slo: str
    limit_s: float
    allowed_share: float  # of the requests that may miss the limit
    images_per_s: float | None = None
    low_images_per_s: float | None = None
    high_images_per_s: float | None = None


def read_found(folder: Path) -> Found | None:
    """The search's result of a run folder; None for a run that was no search.

    Raises:
        RunError: unreadable.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Found)
    except (OSError, msgspec.DecodeError) as err:
        raise RunError(f"{path} is damaged: {err}") from err


def look_found(found: Found, manifest: RunManifest, gpus: int, slo: Slo | None) -> Seen:
    """A search as one measurement of goodput a GPU; its interval is its own.

    Raises:
        SloError: another SLO is asked than it searched at, or none of its rates met that one.
        TooLittleError: no interval came out, so neither does a figure.
    """
    own = Slo(found.limit_s, 1.0 - found.allowed_share, found.slo)
    if slo is not None and not (
        math.isclose(slo.latency_s, own.latency_s) and math.isclose(slo.share, own.share)
    ):
        raise SloError(
            f"{found.run_id} searched at {own.text} and cannot be counted afresh for {slo.text}: "
            "search again at that SLO"
        )
    if found.verdict == "unmet":
        raise SloError(f"{found.run_id} never met {own.text}, at any rate: name a longer limit")
    rate, low, high = found.images_per_s, found.low_images_per_s, found.high_images_per_s
    if not rate or not low or not high or high <= low:
        raise TooLittleError(
            f"{found.run_id} ended without an interval ({found.verdict}): search for longer, or "
            "with more --processes where the generator was the limit"
        )
    return Seen(
        manifest=manifest,
        slo=own,
        gpus=gpus,
        goodput_per_gpu=rate / gpus,
        windows=np.empty(0),
        window_s=0.0,
        lost_share=0.0,  # the rate it names meets the SLO
        percentile_s=None,
        slack=None,
        completed_per_gpu=rate / gpus,
        found_log_sd=math.log(high / low) / (2.0 * Z),
    )
