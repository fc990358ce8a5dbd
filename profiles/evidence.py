"""What runs say of a GPU's goodput at an SLO: the first factor of a block's capacity. Pure.

One run is cut into windows, whose mean has a standard error by the stationary bootstrap; several
runs are repeats, whose scatter holds everything that differs from one to the next.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from profiles import bootstrap
from profiles.bursts import Arrivals
from profiles.factors import known
from profiles.mix import Mix
from profiles.schema import Factor, RunManifest
from profiles.seen import Seen
from profiles.slo import MixedError, Slo, TooLittleError
from profiles.stats import Floats

FEW_WINDOWS = 12
UNEVEN = 1.5  # peak over mean of a curve from which the windows' scatter is the curve's too
HARMLESS = {"port", "host", "metrics_port", "cache", "replicas"}  # settings that move no goodput


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
    has_slo: bool = True  # False: a published rate of which no SLO is known
    at_limit: bool = True  # more load would miss the SLO; else the goodput is a floor
    images_a_request: float = 1.0
    arrivals: Arrivals | None = None  # under which it was measured; None: steady Poisson, unknown
    mix: Mix | None = None  # what was asked for; None: not told

    @property
    def service_s(self) -> float:
        """Seconds that a request keeps a GPU busy, where it is all busy."""
        return self.images_a_request / self.goodput.value


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
    goodput, loud = _from_one(first) if len(runs) == 1 else (_from_repeats(runs), [])
    lost = float(np.mean([one.lost_share for one in runs]))
    saturated = lost > 1.0 - first.slo.share
    slack = [one.slack for one in runs if one.slack is not None]
    per_s = first.goodput_per_gpu / first.images_a_request
    return Evidence(
        goodput=goodput,
        tested_gpus=first.gpus,
        repeats=len(runs),
        saturated=saturated,
        at_limit=saturated or first.found_log_sd is not None,
        slo=first.slo,
        slack=float(np.mean(slack)) if slack else first.slo.latency_s * per_s,
        images_a_request=first.images_a_request,
        arrivals=first.arrivals,
        mix=first.mix,
        loud=loud + _missed(runs),
    )


def _from_one(run: Seen) -> tuple[Factor, list[str]]:
    if run.found_log_sd is None:
        return _from_windows(run)
    source = f"the highest rate that met {run.slo.text}, found by {run.manifest.run_id}"
    return known("goodput a GPU", run.goodput_per_gpu, run.found_log_sd, "measured", source), []


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
    if run.arrivals is not None and run.arrivals.bursty:
        loud.append(
            f"Arrivals came in bursts (dispersion {run.arrivals.dispersion:.3g}), so the windows "
            "differ by the bursts as well, and a node that idled between them could have done "
            "more: measure with find for the goodput of the node alone."
        )
    source = (
        f"{count} windows of {run.window_s:.3g} s of {run.manifest.run_id}; stationary bootstrap, "
        f"blocks of {spread.block:.3g} windows (Politis and White's rule)"
    )
    relative = spread.sd / spread.mean
    return known(
        "goodput a GPU", run.goodput_per_gpu, relative, "measured", source, spread.degrees
    ), loud


def _from_repeats(runs: Sequence[Seen]) -> Factor:
    logs = np.log([one.goodput_per_gpu for one in runs])
    kind = "runs" if runs[0].found_log_sd is None else "searches"
    return repeated(logs, f"{len(runs)} {kind} of {runs[0].manifest.scenario}")


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
        ("their kinds are", _kind(one), _kind(two)),
        ("their SLOs are", one.slo.text, two.slo.text),
    ]
    left, right = one.manifest.target.settings or {}, two.manifest.target.settings or {}
    told += _loads(one, two)
    told += [
        (f"their setting {key} is", left.get(key), right.get(key))
        for key in sorted((left.keys() | right.keys()) - HARMLESS)
    ]
    return [difference for difference in told if difference[1] != difference[2]]


def _loads(one: Seen, two: Seen) -> list[tuple[str, object, object]]:
    """What an option of `viralload run` may change of a scenario that keeps its name."""
    told: list[tuple[str, object, object]] = [
        ("their peaks are", peak(one.manifest, one.gpus), peak(two.manifest, two.gpus))
    ]
    left, right = one.manifest.plan, two.manifest.plan
    if left is not None and right is not None:
        told += [
            ("their arrivals are", left.arrivals, right.arrivals),
            (
                "their time is compressed by",
                round(left.time_compression, 2),
                round(right.time_compression, 2),
            ),
        ]
    if one.mix is not None and two.mix is not None and one.mix.differs(two.mix):
        told.append(("their requests are for", one.mix.told, two.mix.told))
    return told


def peak(manifest: RunManifest, servers: int) -> str:
    """`1.5x`, or images/s a server: what stays the same where a load grows with the servers."""
    plan = manifest.plan
    if plan is None:
        return "found"  # a search has no schedule: it goes as high as the SLO lets it
    if plan.capacity_images_per_s:
        return f"{plan.peak_images_per_s / plan.capacity_images_per_s:.3g}x"
    return f"{plan.peak_images_per_s / servers:.3g} images/s a server"


def _kind(run: Seen) -> str:
    return "run" if run.found_log_sd is None else "search"


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
