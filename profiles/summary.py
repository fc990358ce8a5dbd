"""A run folder as one Summary: the numbers, whether they can be trusted, and the verdict.

`summarize` reads the folder; `compute` is the pure core on what was read.
"""

from typing import Any

import msgspec
import numpy as np

from profiles import columns, stats, threshold, validity
from profiles.attempts import Counted, Tally, add_up, amplification
from profiles.capacity import block_capacity, gpus_in_use, target_shares_machine, why_withheld
from profiles.columns import CODES, OUTCOMES, Recorded, Requests
from profiles.devices import Energy, gpu_energy, summarize_gpu, summarize_host
from profiles.evidence import Evidence, estimate
from profiles.limits import attained
from profiles.rates import (
    LoadWindow,
    Rates,
    good,
    load_window,
    mean_rates,
    peak_rates,
    scheduled_images,
)
from profiles.run import RunFolder
from profiles.schema import (
    EndReason,
    GpuSummary,
    Outcome,
    RunManifest,
    Summary,
    ThresholdResult,
    Verdict,
)
from profiles.seen import look
from profiles.slo import EvidenceError, own_slo
from profiles.threshold import Measurements

EXIT_CODES = {
    Verdict.PASS: 0,
    Verdict.INVALID: 3,
    Verdict.FAIL: 99,
    Verdict.INTERRUPTED: 130,
}
MAX_ERRORS = 10


def summarize(folder: RunFolder) -> Summary:
    """Read a run folder, finished or not, and sum it up.

    Raises:
        RunError: run.json is unreadable.
    """
    return compute(columns.read(folder))


def verdict_exit_code(summary: Summary) -> int:
    """The exit code a run ends with."""
    return EXIT_CODES[summary.verdict]


def compute(recorded: Recorded) -> Summary:
    """The summary of what was recorded."""
    manifest = recorded.manifest
    counted = add_up(recorded.requests, manifest)
    requests, attempts, tally = counted.requests, counted.attempts, counted.tally
    window = load_window(recorded)
    outcomes = _outcomes(requests, tally)
    ok = requests.where(Outcome.OK)
    latency_s = requests.latency_s[ok]
    lateness_p50_s, lateness_p99_s = stats.quantiles(attempts.lateness_s, (0.5, 0.99))
    rates = mean_rates(requests, attempts, manifest, window)
    energy = _energy(recorded, window)

    interrupted = manifest.end_reason is EndReason.INTERRUPTED
    reasons = validity.invalid_reasons(recorded, tally, window, lateness_p99_s)
    invalid = bool(reasons)
    if interrupted:
        reasons.append(validity.stopped_reason(recorded, window))
    thresholds = threshold.evaluate(
        threshold.parse_all(manifest.thresholds),
        _measurements(counted, outcomes, rates),
    )
    p50, p90, p95, p99 = stats.quantiles(latency_s, (0.5, 0.9, 0.95, 0.99))
    queue_p50_s, queue_p95_s = stats.quantiles(requests.queue_s[ok], (0.5, 0.95))
    service_p50_s, service_p95_s = stats.quantiles(requests.service_s[ok], (0.5, 0.95))
    peak_window_s, peak = peak_rates(requests, manifest, window)
    due_images = scheduled_images(requests, manifest)
    in_time = good(requests, manifest)
    bytes_in, images = requests.bytes_in[ok], requests.images[ok]
    told = ~np.isnan(bytes_in)
    energy_j_per_image = _energy_per_image(requests, manifest, window, energy)
    return Summary(
        run_id=manifest.run_id,
        scenario=manifest.scenario,
        valid=not reasons,
        reasons=reasons,
        warnings=validity.warnings(recorded, window, energy),
        verdict=_verdict(invalid, interrupted, thresholds),
        end_reason=manifest.end_reason,
        is_stub=manifest.target.is_stub,
        time_compression=manifest.plan.time_compression if manifest.plan else None,
        duration_s=window.duration_s if window else None,
        scheduled=tally.scheduled,
        outcomes=outcomes,
        errors=dict(requests.errors.most_common(MAX_ERRORS)),
        scheduled_images=due_images,
        ok_images=int(images.sum()),
        offered_images_per_s=rates.offered,
        sent_images_per_s=rates.sent,
        completed_images_per_s=rates.completed,
        goodput_images_per_s=rates.goodput,
        peak_window_s=peak_window_s,
        peak_offered_images_per_s=peak.offered,
        peak_completed_images_per_s=peak.completed,
        peak_goodput_images_per_s=peak.goodput,
        slo_latency_s=manifest.slo_latency_s,
        slo_share=float(requests.images[in_time].sum()) / due_images if due_images else None,
        latency_p50_s=p50,
        latency_p90_s=p90,
        latency_p95_s=p95,
        latency_p99_s=p99,
        latency_max_s=stats.largest(latency_s),
        lateness_p50_s=lateness_p50_s,
        lateness_p99_s=lateness_p99_s,
        queue_p50_s=queue_p50_s,
        queue_p95_s=queue_p95_s,
        service_p50_s=service_p50_s,
        service_p95_s=service_p95_s,
        batch_mean=stats.mean(requests.batch_mean[ok]),
        image_bytes_mean=float(bytes_in[told].sum() / images[told].sum()) if told.any() else None,
        **_retries(attempts, manifest, window),
        gpus=_gpu_summaries(recorded, window, energy),
        hosts=[summarize_host(host, window.start_s, window.end_s) for host in recorded.hosts]
        if window
        else [],
        energy_j_per_image=energy_j_per_image,
        energy_basis=energy.basis if energy and energy_j_per_image is not None else None,
        **msgspec.structs.asdict(attained(requests, manifest, window, peak_window_s)),
        thresholds=thresholds,
        capacity=block_capacity(
            manifest,
            _evidence(recorded, rates, valid=not reasons),
            valid=not reasons,
            interrupted=interrupted and not invalid,
            duration_s=window.duration_s if window else None,
        ),
    )


def _evidence(recorded: Recorded, rates: Rates, *, valid: bool) -> Evidence | EvidenceError | None:
    """This run as evidence for a block, where it may be, or what is amiss with it."""
    manifest = recorded.manifest
    if why_withheld(manifest, valid=valid) is not None or not rates.goodput:
        return None
    try:
        return estimate([look(recorded, own_slo(manifest), gpus_in_use(manifest))])
    except EvidenceError as err:
        return err


def _retries(
    attempts: Requests, manifest: RunManifest, window: LoadWindow | None
) -> dict[str, Any]:
    """What people's retries made of the demand; nothing where requests are independent."""
    if manifest.plan is None or manifest.plan.people is None:
        return {}
    start_s, duration_s = (window.start_s, window.duration_s) if window else (None, 0.0)
    found = amplification(attempts, start_s, duration_s)
    own_s = attempts.latency_s[attempts.where(Outcome.OK)]
    p50_s, p95_s = stats.quantiles(own_s, (0.5, 0.95))
    return {
        "people": manifest.plan.people,
        "attempts": found.attempts,
        "amplification": found.mean,
        "peak_amplification": found.peak,
        "amplification_window_s": found.window_s,
        "attempt_latency_p50_s": p50_s,
        "attempt_latency_p95_s": p95_s,
    }


def _outcomes(requests: Requests, tally: Tally) -> dict[str, int]:
    counts = np.bincount(requests.outcome, minlength=len(OUTCOMES))
    counts[CODES[Outcome.UNSENT]] += tally.missing
    return {outcome.value: int(count) for outcome, count in zip(OUTCOMES, counts, strict=True)}


def _energy(recorded: Recorded, window: LoadWindow | None) -> Energy | None:
    if window is None or window.duration_s <= 0 or not recorded.gpus:
        return None
    return gpu_energy(recorded.gpus, window.start_s, window.end_s)


def _energy_per_image(
    requests: Requests, manifest: RunManifest, window: LoadWindow | None, energy: Energy | None
) -> float | None:
    """All GPUs' energy over the load window, gross, over the ok images done in it.

    None where the sampled GPUs did not make the images: a CPU or remote target.
    """
    if window is None or energy is None or energy.joules is None:
        return None
    if manifest.target.device == "cpu" or not target_shares_machine(manifest):
        return None
    images = requests.images[window.inside(requests.done_s) & requests.where(Outcome.OK)].sum()
    return energy.joules / float(images) if images else None


def _measurements(counted: Counted, outcomes: dict[str, int], rates: Rates) -> Measurements:
    requests = counted.requests
    ok = requests.where(Outcome.OK)
    return Measurements(
        trends={
            "latency": requests.latency_s[ok],
            "first_byte": (requests.first_byte_s - requests.scheduled_s)[ok],
            "lateness": counted.attempts.lateness_s,
            "queue": requests.queue_s[ok],
            "service": requests.service_s[ok],
        },
        outcomes=outcomes,
        scheduled=counted.tally.scheduled,
        images_per_s={
            "goodput": rates.goodput,
            "offered": rates.offered,
            "sent": rates.sent,
            "completed": rates.completed,
        },
    )


def _verdict(invalid: bool, interrupted: bool, thresholds: list[ThresholdResult]) -> Verdict:
    if invalid:
        return Verdict.INVALID
    if interrupted:
        return Verdict.INTERRUPTED
    return Verdict.PASS if all(one.passed for one in thresholds) else Verdict.FAIL


def _gpu_summaries(
    recorded: Recorded, window: LoadWindow | None, energy: Energy | None
) -> list[GpuSummary]:
    if window is None or energy is None:
        return []
    info = {gpu.uuid: gpu for gpu in recorded.manifest.gpus}
    return [
        summarize_gpu(gpu, info.get(gpu.uuid), window.start_s, window.end_s, energy_j)
        for gpu, energy_j in zip(recorded.gpus, energy.by_gpu_j, strict=True)
    ]
