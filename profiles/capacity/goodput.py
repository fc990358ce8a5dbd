"""A run, looked at for one SLO: what a GPU of it did while the node was full. Pure.

What a full node does is no rate at an SLO: how far below it a block must stay follows from the
slack that the SLO leaves beside the service (`utilization`). A search's rate is at its SLO
(`search_evidence`).
"""

import math
from dataclasses import dataclass

from profiles.record.columns import Recorded, Requests
from profiles.requests.burstiness import Arrivals, own_arrivals
from profiles.requests.counted import CountedRun, count_run
from profiles.requests.request_mix import Mix, mix_of
from profiles.requests.saturation import QUICK, Saturated, saturated
from profiles.requests.slo import Slo, SloError, TooLittleError
from profiles.schema import Outcome, RunManifest
from profiles.stats import arrays
from profiles.stats.arrays import Floats

MIN_WINDOWS = 5  # saturated ones ...
MIN_S = 10.0  # ... and of together: fewer are no figure
REMEDY = "Use `viralload find`, or run it with a higher --peak"


@dataclass(frozen=True)
class GoodputAtSlo:
    """One run, looked at for one SLO."""

    manifest: RunManifest
    slo: Slo
    gpus: int  # or replicas, where the run used no GPU
    rate_per_gpu: float  # ok images/s a GPU while saturated; of a search, at the SLO
    windows: Floats  # the same in each saturated window; shape (windows,)
    window_s: float
    edge_log_sd: float  # of the rate: what is being made as a stretch of windows begins and ends
    slack: float | None  # services of a request that may be waited for within the SLO
    images_a_request: float = 1.0
    arrivals: Arrivals | None = None  # None: of a search, steady and Poisson
    mix: Mix | None = None  # None: not told
    found_log_sd: float | None = None  # of a search: sd of the log of its rate; None for a run


def measure_goodput(recorded: Recorded, slo: Slo, gpus: int) -> GoodputAtSlo:
    """`goodput_of` of a run that nobody has counted yet."""
    return goodput_of(count_run(recorded), slo, gpus)


def goodput_of(run: CountedRun, slo: Slo, gpus: int) -> GoodputAtSlo:
    """What a GPU of a run did while a queue stood before it, and the slack that `slo` leaves.

    Raises:
        TooLittleError: the run has no load, or the node was saturated in none or too few windows.
        SloError: no answer met the SLO, or a full node's service alone does not.
    """
    manifest, window, counted = run.manifest, run.window, run.counted
    if window is None or window.duration_s <= 0 or gpus < 1:
        raise TooLittleError(f"{manifest.run_id}: no load was on; run it again")
    requests = counted.requests
    _check_met(manifest, requests, slo)
    full = saturated(counted.attempts, window)
    _check_enough(manifest, full)
    per_gpu = full.rates / gpus
    rate_per_gpu = float(per_gpu.mean())
    ok = requests.where(Outcome.OK)
    images_a_request = float(requests.images[ok].mean())
    service_s = _service_s(manifest, counted.attempts, full, slo)
    edge_s = service_s * math.sqrt(full.stretches / 6.0)  # sd of two uniform phases, a stretch
    return GoodputAtSlo(
        manifest=manifest,
        slo=slo,
        gpus=gpus,
        rate_per_gpu=rate_per_gpu,
        windows=per_gpu,
        window_s=full.window_s,
        edge_log_sd=edge_s / (full.rates.size * full.window_s),
        slack=(slo.latency_s - service_s) * rate_per_gpu / images_a_request,
        images_a_request=images_a_request,
        arrivals=own_arrivals(requests, manifest.plan, window),
        mix=mix_of(requests),
    )


def _check_met(manifest: RunManifest, requests: Requests, slo: Slo) -> None:
    latency_s = arrays.known(requests.latency_s[requests.where(Outcome.OK)])
    if not latency_s.size or latency_s.min() > slo.latency_s:
        least = f"{latency_s.min():.3g} s" if latency_s.size else "forever: none was ok"
        raise SloError(
            f"{manifest.run_id} never met {slo.text}: its fastest answer took {least}. "
            "Name a longer limit with --slo, or run it at a lower rate"
        )


def _check_enough(manifest: RunManifest, full: Saturated) -> None:
    count, window_s = int(full.counts.sum()), full.window_s
    if not count:
        raise TooLittleError(
            f"no queue stood in any window of {manifest.run_id}: it shows what was asked for, "
            f"not what the node can do. {REMEDY}"
        )
    if count < MIN_WINDOWS or count * window_s < MIN_S:
        raise TooLittleError(
            f"a queue stood in only {count} of {full.counts.size} windows of {window_s:.3g} s of "
            f"{manifest.run_id}: a figure takes {MIN_WINDOWS} of them and {MIN_S:g} s. "
            f"{REMEDY} or for longer"
        )


def _service_s(manifest: RunManifest, attempts: Requests, full: Saturated, slo: Slo) -> float:
    """Seconds a request is served for on a full node; where not told, what the quick ones took."""
    ok = attempts.where(Outcome.OK)
    served_s = arrays.known(attempts.service_s[ok & full.inside(attempts.done_s)])
    if not served_s.size:
        return min(arrays.quantile(attempts.latency_s[ok], QUICK) or 0.0, slo.latency_s)
    share_s = arrays.quantile(served_s, slo.share) or 0.0
    if share_s > slo.latency_s:
        raise SloError(
            f"{manifest.run_id}: a full node never meets {slo.text}, for service alone took "
            f"{share_s:.3g} s. Name a longer limit with --slo, or use `viralload find`, which "
            "searches for the rate that meets it"
        )
    return arrays.quantile(served_s, 0.5) or 0.0
