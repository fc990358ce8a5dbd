"""The peak of a run, on one clock: what was planned, what came due, what was done meanwhile. Pure.

The peak is the phase of the planned curve of that name (`profiles.requests.phases`), and all that
is told of it is of that time. Beside it stands what the busiest stretch in it had, which arrivals
by chance make more than the plan: of PEAK_MIN_S or a tenth of the load, and at most a quarter of
the peak, so that it is not the peak's mean nor reaches beyond it. Where so short a stretch holds
fewer than MIN_IMAGES at the planned rate (a Poisson count of n varies by 1/sqrt(n): 10% of 100),
its maximum would be noise, and the plan alone is told.
"""

from dataclasses import dataclass
from typing import Any

from profiles.record.columns import Requests
from profiles.requests.phases import phase_spans
from profiles.requests.rates import LoadWindow, good
from profiles.schema import LoadPlan, Outcome, RunManifest
from profiles.stats import arrays
from profiles.stats.arrays import Bools, Floats

PEAK_MIN_S = 10.0
PEAK_SHARE = 1 / 10  # of the load
MAX_OF_PEAK = 1 / 4
MIN_IMAGES = 100


@dataclass(frozen=True)
class Peak:
    """When the peak was on, in seconds since the load began."""

    start_s: float
    end_s: float
    window_s: float | None  # of the busiest stretch; None: the plan alone is told

    @property
    def duration_s(self) -> float:
        """How long it was."""
        return self.end_s - self.start_s


def peak_of(plan: LoadPlan | None, window: LoadWindow | None) -> Peak | None:
    """The peak of the curve as far as it was played; None where the load ended before it."""
    if plan is None or window is None or window.duration_s <= 0:
        return None
    spans = phase_spans(plan, window.duration_s)
    for name, start_s, end_s in spans:
        if name == "peak":
            width_s = max(PEAK_MIN_S, PEAK_SHARE * window.duration_s)
            width_s = min(width_s, MAX_OF_PEAK * (end_s - start_s))
            enough = plan.peak_images_per_s * width_s >= MIN_IMAGES
            return Peak(start_s, end_s, width_s if enough else None)
    return None


def peak_fields(
    requests: Requests, manifest: RunManifest, window: LoadWindow | None, peak: Peak | None
) -> dict[str, Any]:
    """The fields of a Summary about the peak; images/s, None for what is not known."""
    plan = manifest.plan
    told: dict[str, Any] = {"peak_planned_images_per_s": plan.peak_images_per_s if plan else None}
    if peak is None or window is None:
        return told
    start_s, end_s = window.start_s + peak.start_s, window.start_s + peak.end_s
    ok = requests.where(Outcome.OK)
    due = _between(requests.scheduled_s, start_s, end_s)
    done = _between(requests.done_s, start_s, end_s)

    def rate(rows: Bools) -> float:
        return float(requests.images[rows].sum()) / peak.duration_s

    busiest = None
    if peak.window_s is not None:
        found = arrays.busiest_window(
            requests.scheduled_s[due], requests.images[due], peak.window_s
        )
        busiest = found[1] / peak.window_s if found else None
    return told | {
        "peak_start_s": peak.start_s,
        "peak_end_s": peak.end_s,
        "peak_window_s": peak.window_s,
        "peak_offered_images_per_s": busiest,
        "peak_due_images_per_s": rate(due),
        "peak_completed_images_per_s": rate(done & ok),
        "peak_goodput_images_per_s": rate(done & good(requests, manifest)),
    }


def _between(t_s: Floats, start_s: float, end_s: float) -> Bools:
    """Which instants lie in the stretch, edges included as in every phase; NaN does not."""
    return (t_s >= start_s) & (t_s <= end_s)
