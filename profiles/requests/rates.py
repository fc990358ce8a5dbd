"""Images a second over the load window. Pure."""

from dataclasses import dataclass

import numpy as np

from profiles.record.columns import Recorded, Requests, load_start_s
from profiles.schema import EndReason, Outcome, RunManifest
from profiles.stats import arrays
from profiles.stats.arrays import Bools, Floats

CUTS = ("load_end", "interrupted", "generator_died", "sampler_died", "server_died", "error")


@dataclass(frozen=True)
class LoadWindow:
    """When the load was on, on the run's clock."""

    start_s: float
    end_s: float  # as planned, or where the run was cut short
    planned_s: float  # plan.duration_s

    @property
    def duration_s(self) -> float:
        """As played."""
        return self.end_s - self.start_s

    def inside(self, t_s: Floats) -> Bools:
        """Which instants lie in the window, edges included; NaN does not."""
        return (t_s >= self.start_s) & (t_s <= self.end_s)


@dataclass(frozen=True)
class Rates:
    """Images a second over the load window; None without one."""

    offered: float | None = None
    sent: float | None = None
    completed: float | None = None
    goodput: float | None = None


def load_window(recorded: Recorded) -> LoadWindow | None:
    """When the load was on; a run that was cut short ends at its first cut. None before any load.

    A completed run's window is as long as planned, also if its last answers came later.
    """
    manifest, plan = recorded.manifest, recorded.manifest.plan
    start_s = load_start_s(manifest, recorded.events)
    if start_s is None or plan is None:
        return None
    end_s = start_s + plan.duration_s
    if manifest.end_reason is not EndReason.COMPLETED:
        cuts = [event.t_s for event in recorded.events if event.kind in CUTS]
        if not cuts and manifest.end_reason is None:
            cuts = [_last_s(recorded)]
        end_s = min([end_s, *(cut for cut in cuts if cut >= start_s)])
    return LoadWindow(start_s=start_s, end_s=end_s, planned_s=plan.duration_s)


def _last_s(recorded: Recorded) -> float:
    """The last instant anything was recorded; minus infinity for nothing."""
    instants = [recorded.requests.done_s, recorded.requests.sent_s]
    instants += [gpu.t_s for gpu in recorded.gpus] + [host.t_s for host in recorded.hosts]
    ends = [arrays.largest(values) for values in instants]
    return max((end for end in ends if end is not None), default=-np.inf)


def good(requests: Requests, manifest: RunManifest) -> Bools:
    """Which requests were ok within the SLO; shape (requests,), bool."""
    return requests.where(Outcome.OK) & (requests.latency_s <= manifest.slo_latency_s)


def scheduled_images(requests: Requests, manifest: RunManifest) -> int:
    """Images the schedule holds; without a plan, those recorded."""
    return manifest.plan.images if manifest.plan is not None else int(requests.images.sum())


def mean_rates(
    requests: Requests, attempts: Requests, manifest: RunManifest, window: LoadWindow | None
) -> Rates:
    """Images / seconds of the load window; what was done after it does not count.

    Every attempt counts as sent; a request is offered once, however often it is tried. A run that
    was cut short offered what was due until then.
    """
    if window is None or window.duration_s <= 0:
        return Rates()
    whole = window.duration_s >= window.planned_s
    due = requests.images[window.inside(requests.scheduled_s)]
    offered = scheduled_images(requests, manifest) if whole else float(due.sum())
    done = window.inside(requests.done_s)
    return Rates(
        offered=offered / window.duration_s,
        sent=float(attempts.images[window.inside(attempts.sent_s)].sum()) / window.duration_s,
        completed=float(requests.images[done & requests.where(Outcome.OK)].sum())
        / window.duration_s,
        goodput=float(requests.images[done & good(requests, manifest)].sum()) / window.duration_s,
    )
