"""Whether a run can be trusted: what makes it INVALID, and what a reader is only warned of. Pure.

Every reason is a full sentence that ends with what to do about it.
"""

from collections.abc import Sequence

import numpy as np

from profiles.record.columns import Gpu, Recorded
from profiles.requests import approximations, threshold
from profiles.requests.attempts import Tally
from profiles.requests.rates import LoadWindow
from profiles.requests.threshold import Measurements, Threshold
from profiles.schema import EndReason, Outcome
from profiles.stats import arrays
from profiles.summary.generator_validity import lateness_reason, self_accusations
from profiles.telemetry.energy import Energy
from profiles.telemetry.hardware import lost_spans

SAMPLE_GAP_S = 5.0
SAMPLER_LAG_S = 0.1  # one period of the 10 Hz sampler
COMPRESSION_LIMIT = 10.0  # above it autoscaling looks worse than it is
ENERGY_DISAGREEMENT = 0.05
GENERATOR_CPU_PCT = 80.0  # of one core

_ENDS = {
    EndReason.GENERATOR_DIED: (
        "the load generator died",
        "see its log in the run folder, and run again",
    ),
    EndReason.SAMPLER_DIED: (
        "the sampler died, so the readings of the hardware stop short",
        "see its log in the run folder, and run again",
    ),
    EndReason.SERVER_DIED: (
        "the server died under the load",
        "see its log in the run folder; a smaller batch or queue may keep it alive",
    ),
    EndReason.ERROR: ("the run ended with an error", "mend it and run again"),
}


def invalid_reasons(
    recorded: Recorded,
    tally: Tally,
    window: LoadWindow | None,
    lateness_p99_s: float | None,
    clock_uncertainty_s: float | None = None,
) -> list[str]:
    """Why the run cannot be trusted; empty if it can. A stop by the user is not among them."""
    manifest = recorded.manifest
    reasons = _end_reasons(recorded)
    interrupted = manifest.end_reason is EndReason.INTERRUPTED
    if (manifest.plan is None or not tally.scheduled) and not interrupted:
        reasons.append(
            "Nothing was scheduled: the run ended before its load was planned; "
            "see the events and logs in the run folder for the cause."
        )
    reasons += _sum_reasons(tally) + _image_reasons(recorded, tally)
    if lateness_p99_s is None and tally.scheduled and not interrupted:
        reasons.append(
            "Nothing was sent: no request left the generator; see its log in the run folder."
        )
    reasons += lateness_reason(recorded, lateness_p99_s, clock_uncertainty_s)
    reasons += self_accusations(recorded, window)
    if window is not None and window.duration_s > 0:
        reasons += _gap_reasons(recorded, window)
    if not reasons and not interrupted:
        reasons += _witness_reasons(recorded, window)
    return reasons


def threshold_reasons(unread: Sequence[str]) -> list[str]:
    """Why the thresholds of run.json cannot judge it: what could not be read of them."""
    return [f"A threshold cannot be held against this run: {fault}." for fault in unread]


def too_little(
    thresholds: Sequence[Threshold],
    measured: Measurements,
    window: LoadWindow | None,
    latency_p50_s: float | None,
) -> list[str]:
    """Why a run that kept its thresholds says too little to pass.

    MLPerf's LoadGen, too, takes no run for VALID that was too short or had too few queries
    (inference rules: 600 s, and queries by the percentile). The least here follows from what is
    asked: the answers from which a percentile is a figure of its own (`threshold.answers_least`),
    and a load as long as half of its answers took, in which at least some came back.
    """
    reasons = []
    few = threshold.too_few(thresholds, measured, threshold.answers_least)
    if few:
        reasons.append(
            f"Too few answers to pass: {'; '.join(few)} needed at least; send more (--peak, or a "
            "longer load), or hold a lower percentile."
        )
    if window is not None and latency_p50_s is not None and window.planned_s < latency_p50_s:
        reasons.append(
            f"Too short to pass: the load lasted {window.planned_s:,.3g} s, and half of the "
            f"answers took {latency_p50_s:,.3g} s or more; let it last longer (--compress-to, or "
            "the scenario's duration)."
        )
    return reasons


def little(
    thresholds: Sequence[Threshold], measured: Measurements, window: LoadWindow | None
) -> list[str]:
    """What the thresholds that were kept are to be read with: few answers, or a short load."""
    found = []
    few = threshold.too_few(thresholds, measured, threshold.answers_needed)
    if few:
        found.append(
            f"Few answers: {'; '.join(few)} needed for "
            f"{100 * threshold.CONFIDENCE:.0f}% confidence; another run may differ."
        )
    limits = [
        one.limit for one in thresholds if one.metric == "latency" and one.operator in ("<", "<=")
    ]
    if window is not None and window.planned_s < max(limits, default=0.0):
        found.append(
            f"A short load: it lasted {window.planned_s:,.3g} s, and a latency may be up to "
            f"{max(limits):,.3g} s: a server that falls behind may not have had the time to show."
        )
    return found


def stopped_reason(recorded: Recorded, window: LoadWindow | None) -> str:
    """The reason an interrupted run gives."""
    if window is None:
        return "The run was stopped by the user before its load began; run it again to the end."
    return (
        f"The run was stopped by the user after {window.duration_s:,.0f} s of the planned "
        f"{window.planned_s:,.0f} s; run it again to the end."
    )


def warnings(recorded: Recorded, window: LoadWindow | None, energy: Energy | None) -> list[str]:
    """What a reader should know though the run is valid."""
    manifest, found = recorded.manifest, []
    if manifest.target.is_stub:
        found.append(
            "The target was a stub without a model: latencies and rates are those of the serving "
            "layer and a stated service time, not of image generation."
        )
    if manifest.plan is not None and manifest.plan.time_compression > COMPRESSION_LIMIT:
        found.append(
            f"Time was compressed {manifest.plan.time_compression:,.0f} times: the curve rises "
            "that much faster than the event did while start-up and service times stay real, so "
            "autoscaling looks worse than it is."
        )
    found += approximations.sentences(manifest)
    if (manifest.target.settings or {}).get("fp8"):
        found.append(
            "The denoiser computed its large layers in 8 bits, while the percentages of a limit "
            "refer to bf16: above 100% is possible."
        )
    if recorded.damaged:
        found.append(
            f"{recorded.damaged:,} lines of the run folder do not decode and were left out."
        )
    found += _answer_warnings(recorded)
    if window is not None:
        found += _measuring_warnings(recorded, window)
    if energy is not None and (energy.disagreement or 0.0) > ENERGY_DISAGREEMENT:
        found.append(
            f"The GPU's energy counter and its integrated power disagree by "
            f"{100 * (energy.disagreement or 0.0):.0f}%: read energy figures with that in mind."
        )
    return found


def _end_reasons(recorded: Recorded) -> list[str]:
    manifest, reasons = recorded.manifest, []
    if manifest.end_reason is None:
        reasons.append(
            "The run's driver was killed before it could finish the record; run it again."
        )
    elif manifest.end_reason in _ENDS:
        what, remedy = _ENDS[manifest.end_reason]
        detail = f" ({manifest.end_detail.rstrip('.')})" if manifest.end_detail else ""
        reasons.append(f"{what[0].upper()}{what[1:]}{detail}; {remedy}.")
    unhealthy = [event for event in recorded.events if event.kind == "server_unhealthy"]
    if manifest.target.embedded and unhealthy:
        detail = f" ({unhealthy[0].detail.rstrip('.')})" if unhealthy[0].detail else ""
        reasons.append(
            f"The server was unhealthy from {_load_time(recorded, unhealthy[0].t_s)}{detail}; "
            "see its log in the run folder."
        )
    return reasons


def _image_reasons(recorded: Recorded, tally: Tally) -> list[str]:
    """That the records ask for other images than the schedule does."""
    plan, requests = recorded.manifest.plan, recorded.requests
    if plan is None or tally.missing or tally.duplicates or tally.strangers:
        return []
    images = int(requests.images[requests.attempt == 1].sum())
    if images == plan.images:
        return []
    said = (
        f"The record does not add up: its requests asked for {images:,} images, the schedule for "
        f"{plan.images:,}; the record was damaged: run again."
    )
    return [said]


def _sum_reasons(tally: Tally) -> list[str]:
    reasons = []
    remedy = "see the generator's log, and run again"
    if tally.missing:
        reasons.append(
            f"The record does not add up: {tally.missing:,} of {tally.scheduled:,} scheduled "
            f"requests have no record and are counted as {Outcome.UNSENT.value}; {remedy}."
        )
    if tally.duplicates:
        reasons.append(
            f"The record does not add up: {tally.duplicates:,} records repeat a request that has "
            f"one already (of the same attempt); only the first of each counts; {remedy}."
        )
    if tally.contradictions:
        reasons.append(
            f"The record contradicts itself: of {tally.contradictions:,} requests an attempt is "
            f"missing, follows the request's end, or came before the last one was over; {remedy}."
        )
    if tally.strangers:
        reasons.append(
            f"The record does not add up: {tally.strangers:,} records are of requests the "
            f"schedule does not have and were left out; {remedy}."
        )
    return reasons


def _witness_reasons(recorded: Recorded, window: LoadWindow | None) -> list[str]:
    """That a generator's record of itself is missing, without which it cannot be trusted.

    Runs from before generators recorded themselves have no bound on it and are not judged.
    """
    if recorded.manifest.loop_stall_bound_s is None or window is None or window.duration_s <= 0:
        return []
    for name in recorded.generators:
        times = np.array([one.t_s for one in recorded.load if one.generator == name])
        gap_s = arrays.longest_gap(times, window.start_s, window.end_s)
        if not times.size or gap_s > SAMPLE_GAP_S:
            said = (
                f"Generator {name} recorded nothing of itself (load-{name}.jsonl) for {gap_s:.1f} "
                f"s of the load (bound {SAMPLE_GAP_S:.0f} s), so nobody knows whether it stood "
                "still; run again, and keep the whole run folder."
            )
            return [said]
    return []


def _gap_reasons(recorded: Recorded, window: LoadWindow) -> list[str]:
    remedy = "see the sampler's log, and run again on a machine with a core to spare"
    gaps = {
        f"GPU {gpu.index} of {gpu.node}": _gap(recorded, gpu, window)
        for gpu in [*recorded.gpus, *recorded.instances]
    } | {
        f"the machine {host.node}": arrays.longest_gap(host.t_s, window.start_s, window.end_s)
        for host in recorded.hosts
    }
    if not gaps:
        return [f"There are no samples of the hardware at all; {remedy}."]
    sampled = {gpu.uuid for gpu in [*recorded.gpus, *recorded.instances]}
    unseen = [gpu for gpu in recorded.manifest.gpus if gpu.uuid not in sampled]
    if unseen:
        names = ", ".join(f"GPU {gpu.index} of {gpu.node}" for gpu in unseen)
        return [f"There are no samples of {names}; {remedy}."]
    name = max(gaps, key=lambda key: gaps[key])
    if gaps[name] <= SAMPLE_GAP_S:
        return []
    return [
        (
            f"The sampler was silent for {gaps[name]:.1f} s of the load about {name} "
            f"(bound {SAMPLE_GAP_S:.0f} s); {remedy}."
        )
    ]


def _gap(recorded: Recorded, gpu: Gpu, window: LoadWindow) -> float:
    """The longest time without a sample of this GPU, but for when it was lost."""
    gap_s, from_s = 0.0, window.start_s
    spans = lost_spans(recorded.events, gpu.parent_uuid or gpu.uuid)
    for lost_s, back_s in [*spans, (window.end_s, np.inf)]:
        until_s = min(lost_s, window.end_s)
        if until_s > from_s:
            gap_s = max(gap_s, arrays.longest_gap(gpu.t_s, from_s, until_s))
        from_s = max(from_s, back_s)
    return gap_s


def _answer_warnings(recorded: Recorded) -> list[str]:
    """What the server sent that cannot be taken as it came."""
    last = {sample.generator: sample for sample in recorded.load}.values()
    unasked = sum(sample.unasked or 0 for sample in last)
    untrue = sum(sample.untrue or 0 for sample in last)
    found = []
    if unasked:
        found.append(
            f"On {unasked:,} kept connections bytes came after an answer that nobody had asked "
            "for. Those connections were dropped; where such bytes came while the next request was "
            "under way, they were taken for its answer: read the shortest latencies with that in "
            "mind, and see what the server sends twice."
        )
    if untrue:
        found.append(
            f"{untrue:,} answers told figures of themselves that cannot be true (Server-Timing "
            "longer than the request took, X-Flop or X-Batch-Mean beyond anything there is); those "
            "figures were left out."
        )
    return found


def _measuring_warnings(recorded: Recorded, window: LoadWindow) -> list[str]:
    found = []
    lags = [gpu.lag_s for gpu in recorded.gpus] + [host.lag_s for host in recorded.hosts]
    lag_s = arrays.quantile(np.concatenate(lags), 0.99) if lags else None
    if lag_s is not None and lag_s > SAMPLER_LAG_S:
        found.append(
            f"The sampler was late: 1% of its samples came {lag_s:.2f} s or more after their "
            "time, so short peaks of the hardware may be missing."
        )
    busy: dict[str, list[float]] = {}
    for sample in recorded.load:
        if sample.cpu_pct is not None and window.start_s <= sample.t_s <= window.end_s:
            busy.setdefault(sample.generator, []).append(sample.cpu_pct)
    for generator, values in sorted(busy.items()):
        share = sum(values) / len(values)
        if share > GENERATOR_CPU_PCT:
            found.append(
                f"Generator {generator} kept {share:.0f}% of a core busy: latencies may include "
                "its own; use more --processes."
            )
    return found


def _load_time(recorded: Recorded, t_s: float) -> str:
    start_s = recorded.manifest.load_start_s
    if start_s is None or t_s < start_s:
        return "before the load began"
    return f"{t_s - start_s:,.1f} s into the load"
