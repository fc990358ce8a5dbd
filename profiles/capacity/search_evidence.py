"""The result of a search (`viralload find`) as evidence: find.json of its run folder."""

import math
from pathlib import Path

import numpy as np

from profiles.capacity.factors import Z
from profiles.capacity.goodput import GoodputAtSlo
from profiles.record.columns import Requests
from profiles.record.folder import RunFolder
from profiles.requests.request_mix import mix_of
from profiles.requests.slo import Slo, SloError, TooLittleError, parse_slo
from profiles.schema import FindResult, FindVerdict, RunManifest


def read_found(folder: Path) -> FindResult | None:
    """The search's result of a run folder; None for a run that was no search.

    Raises:
        RunError: unreadable, or of a newer schema.
    """
    run = RunFolder(folder)
    return run.find() if run.find_path.is_file() else None


def look_found(
    found: FindResult,
    manifest: RunManifest,
    gpus: int,
    slo: Slo | None,
    requests: Requests | None = None,
) -> GoodputAtSlo:
    """A search as one measurement of goodput a GPU; its interval is its own.

    At the rate it found, as many miss the SLO as may: the goodput is the rate without them.
    `requests`: its records, for what they asked.

    Raises:
        SloError: another SLO is asked than it searched at, or none of its rates met that one.
        TooLittleError: no interval came out, so neither does a figure.
    """
    own = Slo(found.limit_s, 1.0 - found.allowed_share, parse_slo(found.slo).text)
    if slo is not None and not (
        math.isclose(slo.latency_s, own.latency_s) and math.isclose(slo.share, own.share)
    ):
        raise SloError(
            f"{found.run_id} searched at {own.text} and cannot be counted afresh for {slo.text}: "
            "search again at that SLO"
        )
    if found.verdict is FindVerdict.UNMET:
        raise SloError(f"{found.run_id} never met {own.text}, at any rate: name a longer limit")
    rate, low, high = found.images_per_s, found.low_images_per_s, found.high_images_per_s
    if not rate or not low or not high or high <= low:
        raise TooLittleError(
            f"{found.run_id} ended without an interval ({found.verdict}): search for longer, or "
            "with more --processes where the generator was the limit"
        )
    goodput = rate * own.share / gpus
    search = manifest.search
    return GoodputAtSlo(
        manifest=manifest,
        slo=own,
        gpus=gpus,
        rate_per_gpu=goodput,
        windows=np.empty(0),
        window_s=0.0,
        edge_log_sd=0.0,
        slack=None,
        images_a_request=search.images_per_request if search else 1.0,
        mix=mix_of(requests) if requests is not None else None,
        found_log_sd=math.log(high / low) / (2.0 * Z),
    )
