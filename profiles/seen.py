"""A run, looked at for one SLO: its goodput afresh from the records, whole and in windows. Pure."""

import math
from dataclasses import dataclass

import numpy as np

from profiles import stats
from profiles.attempts import add_up
from profiles.bursts import Arrivals, own_arrivals
from profiles.columns import Recorded, Requests
from profiles.mix import Mix, mix_of
from profiles.rates import LoadWindow, load_window
from profiles.schema import Outcome, RunManifest
from profiles.slo import Slo, SloError, TooLittleError
from profiles.stats import Floats

WINDOWS = 60  # a load is cut into about so many ...
WINDOW_LEAST_S = 1.0  # ... of at least this length


@dataclass(frozen=True)
class Seen:
    """One run, looked at for one SLO."""

    manifest: RunManifest
    slo: Slo
    gpus: int  # or replicas, where the run used no GPU
    goodput_per_gpu: float  # images/s a GPU, ok and within the SLO
    windows: Floats  # the same in each window; shape (windows,)
    window_s: float
    lost_share: float  # of the scheduled images: not within the SLO
    percentile_s: float | None  # of the SLO's share, over ok requests
    slack: float | None  # services of a request that may be waited for within the SLO
    completed_per_gpu: float
    images_a_request: float = 1.0
    arrivals: Arrivals | None = None  # None: of a search, steady and Poisson
    mix: Mix | None = None  # None: not told
    found_log_sd: float | None = None  # of a search: sd of the log of its rate; None for a run


def look(recorded: Recorded, slo: Slo, gpus: int) -> Seen:
    """A run's goodput at `slo`, afresh from its records.

    Raises:
        TooLittleError: the run has no load, or no image was done in time.
        SloError: the SLO was met in no window of the run.
    """
    window = load_window(recorded)
    if window is None or window.duration_s <= 0 or gpus < 1:
        raise TooLittleError(f"{recorded.manifest.run_id}: no load was on; run it again")
    requests = add_up(recorded.requests, recorded.manifest).requests
    latency_s = requests.latency_s
    good = requests.where(Outcome.OK) & (latency_s <= slo.latency_s)
    edges = window_edges(window)
    width_s = float(edges[1] - edges[0])
    done = stats.binned_sum(requests.done_s, np.where(good, requests.images, 0.0), edges)
    per_gpu = done / width_s / gpus
    ok_s = stats.known(latency_s[requests.where(Outcome.OK)])
    if good.any() and not per_gpu.any():
        raise TooLittleError(
            f"{recorded.manifest.run_id} had no answer within its load of {window.duration_s:.3g} "
            "s: they all came after it. Run it for longer"
        )
    if not good.any():
        raise SloError(
            f"{recorded.manifest.run_id} never met {slo.text}: its fastest answer took "
            f"{_least(ok_s)}. Name a longer limit with --slo, or run it at a lower rate"
        )
    _check_met(recorded.manifest, requests, slo, edges)
    images = float(requests.images.sum())
    planned = recorded.manifest.plan.images if recorded.manifest.plan else images
    inside = window.inside(requests.done_s)
    ok = requests.where(Outcome.OK) & inside
    completed = float(requests.images[ok].sum()) / window.duration_s / gpus
    answered_per_s = float(ok.sum()) / window.duration_s
    goodput = float(requests.images[good & inside].sum()) / window.duration_s / gpus
    return Seen(
        manifest=recorded.manifest,
        slo=slo,
        gpus=gpus,
        goodput_per_gpu=goodput,
        windows=per_gpu,
        window_s=width_s,
        lost_share=1.0 - float(requests.images[good].sum()) / max(planned, 1.0),
        percentile_s=stats.quantile(ok_s, slo.share),
        slack=_slack(requests, slo, answered_per_s / gpus),
        completed_per_gpu=completed,
        images_a_request=completed * gpus / answered_per_s if answered_per_s else 1.0,
        arrivals=own_arrivals(requests, recorded.manifest.plan, window),
        mix=mix_of(requests),
    )


def window_edges(window: LoadWindow) -> Floats:
    """Edges of equal windows over the load: WINDOWS of them, or fewer of WINDOW_LEAST_S."""
    count = max(1, min(WINDOWS, int(window.duration_s / WINDOW_LEAST_S)))
    return np.linspace(window.start_s, window.end_s, count + 1)


def _check_met(manifest: RunManifest, requests: Requests, slo: Slo, edges: Floats) -> None:
    ok = requests.where(Outcome.OK)
    curves = stats.binned_quantiles(
        requests.done_s[ok], requests.latency_s[ok], edges, [slo.share]
    )[0]
    if not np.any(curves[~np.isnan(curves)] <= slo.latency_s):
        best_s = float(np.nanmin(curves)) if not np.isnan(curves).all() else math.nan
        raise SloError(
            f"{manifest.run_id} never met {slo.text}: in its best window it was {best_s:.3g} s. "
            "Name a longer limit with --slo, or run it at a lower rate"
        )


def _slack(requests: Requests, slo: Slo, per_gpu: float) -> float | None:
    """(SLO - time in service) x requests/s a GPU; None where the server told no times."""
    service_s = stats.quantile(requests.service_s[requests.where(Outcome.OK)], 0.5)
    if service_s is None or not per_gpu:
        return None
    return max(0.0, slo.latency_s - service_s) * per_gpu


def _least(latency_s: Floats) -> str:
    return f"{latency_s.min():.3g} s" if latency_s.size else "forever: none was ok"
