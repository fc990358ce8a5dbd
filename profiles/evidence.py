"""What runs say of a GPU's goodput at an SLO: the first factor of a block's capacity. Pure.

EvidenceError
├── MixedError      runs of different scenarios, models, settings or GPUs in one estimate
├── SloError        an SLO that is none, or that no run ever met
└── TooLittleError  evidence that cannot bear a figure, such as one window

One run is cut into windows, whose mean has a standard error by the stationary bootstrap; several
runs are repeats, whose scatter holds everything that differs from one to the next.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from profiles import bootstrap, stats, threshold
from profiles.attempts import add_up
from profiles.columns import Recorded, Requests
from profiles.factors import known
from profiles.rates import LoadWindow, load_window
from profiles.schema import Factor, Outcome, RunManifest
from profiles.stats import Floats
from profiles.threshold import Threshold, ThresholdError

WINDOWS = 60  # a load is cut into about so many ...
WINDOW_LEAST_S = 1.0  # ... of at least this length
FEW_WINDOWS = 12
UNEVEN = 1.5  # peak over mean of a curve from which the windows' scatter is the curve's too
HARMLESS = {"port", "host", "metrics_port", "cache", "replicas"}  # settings that move no goodput


class EvidenceError(ValueError):
    """Runs from which no figure follows; the text says why and what would help."""


class MixedError(EvidenceError):
    """Runs that do not measure one thing."""


class SloError(EvidenceError):
    """An SLO that cannot be read, or was never met."""


class TooLittleError(EvidenceError):
    """Too few or too short measurements."""


@dataclass(frozen=True)
class Slo:
    """At least `share` of the ok requests within `latency_s`."""

    latency_s: float
    share: float  # 0.95 of p(95); 1 of max
    text: str


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
    slack: float | None  # services that may be waited for within the SLO
    completed_per_gpu: float
    joules_per_image: float | None = None


@dataclass(frozen=True)
class Evidence:
    """The goodput of a GPU with its doubt, and what to say loudly beside it."""

    goodput: Factor
    tested_gpus: int
    repeats: int
    saturated: bool  # lost more than the SLO allows: the goodput of a full node
    slo: Slo
    slack: float
    loud: list[str] = field(default_factory=list)


def parse_slo(text: str) -> Slo:
    """`p(95) < 30s`, `max < 30s` or `med < 30s`: a share of the latencies below a limit.

    Raises:
        SloError: not the grammar of thresholds, or no such share.
    """
    try:
        read = threshold.parse("latency", text)
    except ThresholdError as err:
        raise SloError(f"--slo: {str(err).removeprefix('thresholds.latency: ')}") from err
    share = _share(read)
    if share is None or read.operator not in ("<", "<=") or read.limit <= 0.0:
        raise SloError(
            f'--slo: "{text}" is no share of latencies below a limit above 0; write "p(95) < 30s"'
        )
    return Slo(latency_s=read.limit, share=share, text=text)


def _share(read: Threshold) -> float | None:
    if read.percent is not None:
        return read.percent / 100.0
    return {"max": 1.0, "med": 0.5}.get(read.aggregator)


def own_slo(manifest: RunManifest) -> Slo:
    """The run's own: its latency, at 95 % unless a threshold of it says another share."""
    for text in manifest.thresholds.get("latency", []):
        read = threshold.parse("latency", text)
        share = _share(read)
        if share is not None and math.isclose(read.limit, manifest.slo_latency_s):
            return Slo(manifest.slo_latency_s, share, text)
    return Slo(manifest.slo_latency_s, 0.95, f"p(95) < {manifest.slo_latency_s:g}s")


def look(recorded: Recorded, slo: Slo, gpus: int, joules_per_image: float | None = None) -> Seen:
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
    if not good.any() or not per_gpu.any():
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
        slack=_slack(requests, slo, completed),
        completed_per_gpu=completed,
        joules_per_image=joules_per_image,
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
    """(SLO - time in service) x images/s a GPU; None where the server told no times."""
    service_s = stats.quantile(requests.service_s[requests.where(Outcome.OK)], 0.5)
    if service_s is None or not per_gpu:
        return None
    return max(0.0, slo.latency_s - service_s) * per_gpu


def _least(latency_s: Floats) -> str:
    return f"{latency_s.min():.3g} s" if latency_s.size else "forever: none was ok"


def estimate(runs: Sequence[Seen]) -> Evidence:
    """The goodput of a GPU from one run's windows, or from several runs as repeats.

    Repeats: the mean of the logs, and sd = s sqrt(1 + 1/m) with m - 1 degrees of freedom, s the
    scatter of the m logs: the estimate's own doubt and the next repeat's in one.

    Raises:
        MixedError: the runs differ in what they measure.
        TooLittleError: one run of one window, or none.
    """
    if not runs:
        raise TooLittleError("no run was given; name at least one run folder")
    check_alike(runs)
    first = runs[0]
    goodput, loud = _from_windows(first) if len(runs) == 1 else _from_repeats(runs)
    lost = float(np.mean([one.lost_share for one in runs]))
    slack = [one.slack for one in runs if one.slack is not None]
    return Evidence(
        goodput=goodput,
        tested_gpus=first.gpus,
        repeats=len(runs),
        saturated=lost > 1.0 - first.slo.share,
        slo=first.slo,
        slack=float(np.mean(slack)) if slack else first.slo.latency_s * first.goodput_per_gpu,
        loud=loud + _missed(runs),
    )


def _from_windows(run: Seen) -> tuple[Factor, list[str]]:
    count = run.windows.size
    if count < bootstrap.LEAST_WINDOWS:
        raise TooLittleError(
            f"{run.manifest.run_id} has one window of {run.window_s:.3g} s: no interval follows "
            "from it. Run for a minute or longer"
        )
    spread = bootstrap.spread(run.windows)
    loud = []
    if count < FEW_WINDOWS:
        loud.append(
            f"Only {count} windows of {run.window_s:.3g} s: a short run; its interval is a guess."
        )
    plan = run.manifest.plan
    if plan is not None and plan.peak_images_per_s > UNEVEN * plan.mean_images_per_s:
        loud.append(
            "The curve moves within the run, so the windows differ by the curve as well as by "
            "chance: measure with find, or at a steady load, for the interval of the node alone."
        )
    source = (
        f"{count} windows of {run.window_s:.3g} s of {run.manifest.run_id}; stationary bootstrap, "
        f"blocks of {spread.block:.3g} windows (Politis and White's rule)"
    )
    relative = spread.sd / spread.mean
    return known(
        "goodput a GPU", run.goodput_per_gpu, relative, "measured", source, spread.degrees
    ), loud


def _from_repeats(runs: Sequence[Seen]) -> tuple[Factor, list[str]]:
    logs = np.log([one.goodput_per_gpu for one in runs])
    return repeated(logs, f"{len(runs)} runs of {runs[0].manifest.scenario}"), []


def repeated(logs: Floats, what: str) -> Factor:
    """The factor told by repeats, as logarithms of shape (m,), m at least 2."""
    m = logs.size
    scatter = float(logs.std(ddof=1))
    return known(
        "goodput a GPU",
        float(np.exp(logs.mean())),
        scatter * math.sqrt(1.0 + 1.0 / m),
        "measured",
        f"{what}: they scatter by {100 * scatter:.2g} %, the mean is sure to "
        f"{100 * scatter / math.sqrt(m):.2g} % (one standard deviation)",
        degrees=m - 1.0,
    )


def check_alike(runs: Sequence[Seen]) -> None:
    """All runs must measure one thing.

    Raises:
        MixedError: names what differs, and between which runs.
    """
    first = runs[0]
    seen = {first.manifest.run_id}
    for other in runs[1:]:
        if other.manifest.run_id in seen:
            raise MixedError(
                f"{other.manifest.run_id} is named twice: a run is no repeat of itself"
            )
        seen.add(other.manifest.run_id)
        for what, one, two in _differences(first, other):
            raise MixedError(
                f"{first.manifest.run_id} and {other.manifest.run_id} cannot be one estimate: "
                f"{what} {one} and {two}. Give runs that repeat each other"
            )


def _differences(one: Seen, two: Seen) -> list[tuple[str, object, object]]:
    told: list[tuple[str, object, object]] = [
        ("their scenarios are", one.manifest.scenario, two.manifest.scenario),
        ("their models are", one.manifest.target.model, two.manifest.target.model),
        ("their devices are", device(one.manifest), device(two.manifest)),
        ("their GPUs or replicas number", one.gpus, two.gpus),
    ]
    left, right = one.manifest.target.settings or {}, two.manifest.target.settings or {}
    told += [
        (f"their setting {key} is", left.get(key), right.get(key))
        for key in sorted((left.keys() | right.keys()) - HARMLESS)
    ]
    return [difference for difference in told if difference[1] != difference[2]]


def device(manifest: RunManifest) -> str:
    """What computed: the GPUs' names, or the device the server told."""
    target = manifest.target
    names = sorted({gpu.name for gpu in manifest.gpus})
    if target.device == "cpu" or not names:
        return target.device or "unknown"
    return ", ".join(names)


def _missed(runs: Sequence[Seen]) -> list[str]:
    return [
        f"{one.manifest.run_id} as a whole missed {one.slo.text}: it was {one.percentile_s:.3g} s. "
        "What came back in time is counted, but the node was past its capacity."
        for one in runs
        if one.percentile_s is not None and one.percentile_s > one.slo.latency_s
    ]
