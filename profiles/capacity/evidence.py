"""What runs say of a GPU's rate: the first factor of a block's capacity. Pure.

A run tells what a GPU does while the node is saturated, in windows whose mean has a standard error
by the stationary bootstrap; a search tells its goodput at the SLO. Several of either are repeats,
whose scatter holds everything that differs from one to the next.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from profiles.capacity.factors import known
from profiles.capacity.goodput import GoodputAtSlo
from profiles.requests.burstiness import Arrivals
from profiles.requests.request_mix import Mix
from profiles.requests.slo import MixedError, Slo, TooLittleError
from profiles.schema import Factor, RunManifest
from profiles.stats import bootstrap
from profiles.stats.arrays import Floats

SEARCHED = "found"  # a search's `Subject.peak`, for it has no schedule

SATURATED = "saturated rate per GPU"  # of runs: what a full node does
GOODPUT = "goodput per GPU"  # of searches, and as published: at an SLO
FEW_WINDOWS = 12
HARMLESS = {"port", "host", "metrics_port", "cache", "replicas"}  # settings that move no goodput


@dataclass(frozen=True)
class Evidence:
    """The rate of a GPU with its doubt, and what to say loudly beside it."""

    rate: Factor  # named SATURATED or GOODPUT
    tested_gpus: int
    repeats: int
    saturated: bool  # the rate of a full node, of which an SLO leaves a part
    slo: Slo
    slack: float
    loud: list[str] = field(default_factory=list)
    has_slo: bool = True  # False: a published rate of which no SLO is known
    images_a_request: float = 1.0
    arrivals: Arrivals | None = None  # under which it was measured; None: steady Poisson, unknown
    mix: Mix | None = None  # what was asked for; None: not told

    @property
    def service_s(self) -> float:
        """Seconds that a request keeps a GPU busy, where it is all busy."""
        return self.images_a_request / self.rate.value


def estimate(runs: Sequence[GoodputAtSlo]) -> Evidence:
    """The rate of a GPU from one run's saturated windows, or from several runs as repeats.

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
    rate, loud = _from_one(first) if len(runs) == 1 else (_from_repeats(runs), [])
    slack = [one.slack for one in runs if one.slack is not None]
    per_s = first.rate_per_gpu / first.images_a_request
    return Evidence(
        rate=rate,
        tested_gpus=first.gpus,
        repeats=len(runs),
        saturated=first.found_log_sd is None,
        slo=first.slo,
        slack=float(np.mean(slack)) if slack else first.slo.latency_s * per_s,
        images_a_request=first.images_a_request,
        arrivals=first.arrivals,
        mix=first.mix,
        loud=loud,
    )


def _from_one(run: GoodputAtSlo) -> tuple[Factor, list[str]]:
    if run.found_log_sd is None:
        return _from_windows(run)
    source = f"the highest rate that met {run.slo.text}, found by {run.manifest.run_id}"
    return known(GOODPUT, run.rate_per_gpu, run.found_log_sd, "measured", source), []


def _from_windows(run: GoodputAtSlo) -> tuple[Factor, list[str]]:
    count = run.windows.size
    spread = bootstrap.spread(run.windows)
    loud = []
    if count < FEW_WINDOWS:
        loud.append(
            f"A queue stood in only {count} windows of {run.window_s:.3g} s: that is short, and "
            "the interval is a guess."
        )
    source = (
        f"saturated: {count} windows of {run.window_s:.3g} s of {run.manifest.run_id} in which a "
        f"queue stood; stationary bootstrap, blocks of {spread.block:.3g} windows (Politis and "
        "White's rule)"
    )
    relative = math.hypot(spread.sd / spread.mean, run.edge_log_sd)
    return known(SATURATED, run.rate_per_gpu, relative, "measured", source, spread.degrees), loud


def _from_repeats(runs: Sequence[GoodputAtSlo]) -> Factor:
    logs = np.log([one.rate_per_gpu for one in runs])
    scenario = runs[0].manifest.scenario
    if runs[0].found_log_sd is None:
        return repeated(logs, f"{len(runs)} runs of {scenario} while saturated", SATURATED)
    return repeated(logs, f"{len(runs)} searches of {scenario}", GOODPUT)


def repeated(logs: Floats, what: str, name: str) -> Factor:
    """The factor told by repeats, as logarithms of shape (m,), m at least 2."""
    m = logs.size
    scatter = float(logs.std(ddof=1))
    return known(
        name,
        float(np.exp(logs.mean())),
        scatter * math.sqrt(1.0 + 1.0 / m),
        "measured",
        f"{what}: they scatter by {100 * scatter:.2g}%, the mean is sure to "
        f"{100 * scatter / math.sqrt(m):.2g}% (one standard deviation)",
        degrees=m - 1.0,
    )


def check_alike(runs: Sequence[GoodputAtSlo]) -> None:
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


def _differences(one: GoodputAtSlo, two: GoodputAtSlo) -> list[tuple[str, object, object]]:
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


def _loads(one: GoodputAtSlo, two: GoodputAtSlo) -> list[tuple[str, object, object]]:
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
        return SEARCHED  # it goes as high as the SLO lets it
    if plan.capacity_images_per_s:
        return f"{plan.peak_images_per_s / plan.capacity_images_per_s:.3g}x"
    return f"{plan.peak_images_per_s / servers:.3g} images/s a server"


def _kind(run: GoodputAtSlo) -> str:
    return "run" if run.found_log_sd is None else "search"


def device(manifest: RunManifest) -> str:
    """What computed: the GPUs' names, or the device the server told."""
    target = manifest.target
    names = sorted({gpu.name for gpu in manifest.gpus})
    if target.device == "cpu" or not names:
        return target.device or "unknown"
    return ", ".join(names)
