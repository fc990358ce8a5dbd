"""What was recorded as curves over time: at most MAX_BINS points each, however long the run. Pure.

Times are seconds since the load began; `edges` has shape (bins + 1,), every curve (bins,).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from profiles.record.columns import OUTCOMES, Recorded, Requests
from profiles.requests.attempts import Counted, add_up
from profiles.requests.phases import phase_spans
from profiles.requests.rates import load_window
from profiles.schema import Outcome
from profiles.stats import arrays
from profiles.stats.arrays import Bools, Floats

MIN_BINS = 45
MAX_BINS = 180
IMAGES_PER_BIN = 20  # fewer would draw chance and single batches rather than the curve
SHARES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Timeline:
    """The load's own time axis and what was asked for on it."""

    edges: Floats
    load_end_s: float
    planned_t_s: Floats
    planned_images_per_s: Floats
    phases: Sequence[tuple[str, float, float]] = ()  # name, start, end; none if there is but one

    @property
    def width_s(self) -> float:
        """Of one bin."""
        return float(self.edges[1] - self.edges[0])

    @property
    def end_s(self) -> float:
        """The right end of the picture."""
        return float(self.edges[-1])


def timeline(recorded: Recorded) -> Timeline | None:
    """From the load's start to the last answer; None for a run without load."""
    window = load_window(recorded)
    plan = recorded.manifest.plan
    if window is None or plan is None:
        return None
    requests = recorded.requests
    last = [arrays.largest(requests.done_s), arrays.largest(requests.scheduled_s)]
    end_s = max([window.start_s + window.planned_s, *(one for one in last if one is not None)])
    images = float(requests.images.sum())
    bins = int(np.clip(images / IMAGES_PER_BIN, MIN_BINS, MAX_BINS))
    phases = phase_spans(plan, window.duration_s)
    thin = max(1, len(plan.curve_t_s) // arrays.MAX_BINS)
    return Timeline(
        edges=arrays.time_bins(0.0, end_s - window.start_s, bins),
        load_end_s=window.duration_s,
        planned_t_s=np.array(plan.curve_t_s[::thin], dtype=np.float64),
        planned_images_per_s=np.array(plan.curve_images_per_s[::thin], dtype=np.float64),
        phases=phases if len(phases) > 1 else (),
    )


def since_load(recorded: Recorded) -> Counted:
    """The records that count, on the load's time axis."""
    counted = add_up(recorded.requests, recorded.manifest)
    zero_s = recorded.manifest.load_start_s or 0.0
    return replace(
        counted,
        requests=_from(counted.requests, zero_s),
        attempts=_from(counted.attempts, zero_s),
    )


def _from(requests: Requests, zero_s: float) -> Requests:
    return replace(
        requests,
        scheduled_s=requests.scheduled_s - zero_s,
        sent_s=requests.sent_s - zero_s,
        done_s=requests.done_s - zero_s,
        first_byte_s=requests.first_byte_s - zero_s,
    )


def image_rates(counted: Counted, time: Timeline) -> dict[str, Floats]:
    """Images/s offered (by due time), sent (by sent time) and completed (ok, by done time).

    Every attempt counts as sent. NaN after the last thing that happened: a run that was cut short
    has no zeros to show.
    """
    requests, attempts = counted.requests, counted.attempts
    edges, width_s = time.edges, np.diff(time.edges)
    ok = requests.where(Outcome.OK)
    after = _over(attempts, time)
    rates = {
        "offered": arrays.binned_sum(requests.scheduled_s, requests.images, edges) / width_s,
        "sent": arrays.binned_sum(attempts.sent_s, attempts.images, edges) / width_s,
        "completed": arrays.binned_sum(requests.done_s[ok], requests.images[ok], edges) / width_s,
    }
    return {name: np.where(after, np.nan, values) for name, values in rates.items()}


def demand_rates(counted: Counted, slo_latency_s: float, time: Timeline) -> dict[str, Floats]:
    """Images/s of attempts and of first attempts (as sent), and of goodput (by done time)."""
    requests, attempts = counted.requests, counted.attempts
    first = attempts.attempt == 1
    good = requests.where(Outcome.OK) & (requests.latency_s <= slo_latency_s)
    after = _over(attempts, time)
    parts = {
        "attempts": (attempts.sent_s, attempts.images),
        "first": (attempts.sent_s[first], attempts.images[first]),
        "goodput": (requests.done_s[good], requests.images[good]),
    }
    return {
        name: np.where(
            after, np.nan, arrays.binned_sum(t_s, images, time.edges) / np.diff(time.edges)
        )
        for name, (t_s, images) in parts.items()
    }


def in_flight(attempts: Requests, time: Timeline) -> Floats:
    """The most attempts in flight in each bin; NaN after the last thing that happened."""
    level = arrays.in_flight(attempts.sent_s, attempts.done_s, time.edges)
    return np.where(_over(attempts, time), np.nan, level)


def _over(requests: Requests, time: Timeline) -> Bools:
    """The bins that begin after the load and the last answer; shape (bins,)."""
    last = [arrays.largest(requests.done_s), arrays.largest(requests.sent_s), time.load_end_s]
    return time.edges[:-1] >= max(one for one in last if one is not None)


def outcome_rates(requests: Requests, edges: Floats) -> dict[Outcome, Floats]:
    """Requests/s by outcome and by due time; outcomes that never happened are left out."""
    width_s = np.diff(edges)
    ones = np.ones(len(requests))
    rates = {}
    for outcome in OUTCOMES:
        rows = requests.where(outcome)
        if rows.any():
            counts = arrays.binned_sum(requests.scheduled_s[rows], ones[rows], edges)
            rates[outcome] = counts / width_s
    return rates


def latency_quantiles(requests: Requests, edges: Floats) -> Floats:
    """p50, p95, p99 of ok latency by due time; shape (3, bins)."""
    ok = requests.where(Outcome.OK)
    return arrays.binned_quantiles(requests.scheduled_s[ok], requests.latency_s[ok], edges, SHARES)


def lateness_quantiles(attempts: Requests, edges: Floats) -> Floats:
    """p50, p95, p99 of attempts' lateness by due time; shape (3, bins)."""
    return arrays.binned_quantiles(attempts.scheduled_s, attempts.lateness_s, edges, SHARES)


def latency_split(requests: Requests, edges: Floats) -> dict[str, Floats] | None:
    """Mean seconds an ok request spent in service, in the queue and elsewhere, by due time.

    The three add up to the mean latency: elsewhere is what the server did not tell (waiting to be
    sent, network, HTTP). None if the server tells neither queue nor service.
    """
    told = requests.where(Outcome.OK) & ~np.isnan(requests.queue_s) & ~np.isnan(requests.service_s)
    if not told.any():
        return None
    due, queue, service = (
        column[told] for column in (requests.scheduled_s, requests.queue_s, requests.service_s)
    )
    elsewhere = np.maximum(requests.latency_s[told] - queue - service, 0.0)
    return {
        name: arrays.binned_mean(due, values, edges)
        for name, values in (("service", service), ("queue", queue), ("elsewhere", elsewhere))
    }


def fine_edges(time: Timeline, max_bins: int) -> Floats:
    """Edges for the hardware's samples, which are dense however few the requests."""
    return arrays.time_bins(0.0, time.end_s, max_bins)
