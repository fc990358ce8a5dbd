"""A run folder as one Summary: the numbers, whether they can be trusted, and the verdict.

`summarize` reads the folder; `compute` is the pure core on what was read.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from profiles.capacity.block import block_capacity, why_withheld
from profiles.capacity.evidence import Evidence, estimate
from profiles.capacity.goodput import measure_goodput
from profiles.record import columns
from profiles.record.columns import CODES, OUTCOMES, Recorded, Requests
from profiles.record.error_groups import most_frequent
from profiles.record.folder import RunFolder
from profiles.requests import groups, threshold
from profiles.requests.attempts import Counted, Tally, add_up, amplification
from profiles.requests.peak import peak_fields, peak_of
from profiles.requests.rates import (
    LoadWindow,
    Rates,
    good,
    load_window,
    mean_rates,
    scheduled_images,
)
from profiles.requests.slo import EvidenceError, own_slo
from profiles.requests.target import gpus_in_use, target_shares_machine
from profiles.requests.threshold import Measurements
from profiles.schema import (
    EndReason,
    Outcome,
    RunManifest,
    Summary,
    ThresholdResult,
    Verdict,
)
from profiles.stats import arrays
from profiles.stats.arrays import Floats
from profiles.summary import validity
from profiles.summary.generator_validity import clock_uncertainty_s
from profiles.telemetry import hardware
from profiles.telemetry.device_means import summarize_host
from profiles.telemetry.energy import Energy, gpu_energy
from profiles.telemetry.energy_per_image import PerImage, idle_power_w, per_image
from profiles.telemetry.flop_limits import attained, devices_in_use
from profiles.telemetry.processor_energy import host_energy

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
    lateness_p50_s, lateness_p99_s = arrays.quantiles(attempts.lateness_s, (0.5, 0.99))
    rates = mean_rates(requests, attempts, manifest, window)
    energy = _energy(recorded, window)

    interrupted = manifest.end_reason is EndReason.INTERRUPTED
    uncertainty_s = clock_uncertainty_s(recorded.clocks)
    reasons = validity.invalid_reasons(recorded, tally, window, lateness_p99_s, uncertainty_s)
    limits, unread = threshold.readable(manifest.thresholds)
    reasons += validity.threshold_reasons(unread)
    invalid = bool(reasons)
    if interrupted:
        reasons.append(validity.stopped_reason(recorded, window))
    found = groups.groups(counted)
    in_time = good(requests, manifest)
    measured = _measurements(counted, outcomes, rates, found)
    measured = msgspec.structs.replace(measured, images_in_time=int(requests.images[in_time].sum()))
    thresholds = threshold.evaluate(limits, measured)
    kept = [one for one, held in zip(limits, thresholds, strict=True) if held.passed]
    if not reasons and len(kept) == len(limits):
        reasons += validity.too_little(limits, measured, window, arrays.quantile(latency_s, 0.5))
        invalid = bool(reasons)
    thresholds += threshold.evaluate(
        threshold.parse_all(manifest.default_thresholds), measured, default=True
    )
    p50, p90, p95, p99 = arrays.quantiles(latency_s, (0.5, 0.9, 0.95, 0.99))
    queue_p50_s, queue_p95_s = arrays.quantiles(requests.queue_s[ok], (0.5, 0.95))
    service_p50_s, service_p95_s = arrays.quantiles(requests.service_s[ok], (0.5, 0.95))
    peak = peak_of(manifest.plan, window)
    due_images = scheduled_images(requests, manifest)
    bytes_in, images = requests.bytes_in[ok], requests.images[ok]
    sized = ~np.isnan(bytes_in)
    image_energy = _energy_per_image(recorded, requests, window, energy)
    told = hardware.hardware(recorded, requests, window, energy, devices_in_use(manifest))
    of_hardware = hardware.warnings(
        told.get("gpus", []),
        told["samplers"],
        told["faults"],
        requests,
        told.get("instances", []),
        manifest.load_start_s,
    )
    return Summary(
        run_id=manifest.run_id,
        scenario=manifest.scenario,
        valid=not reasons,
        reasons=reasons,
        warnings=validity.warnings(recorded, window, energy)
        + ([] if reasons else validity.little(kept, measured, window))
        + of_hardware,
        verdict=_verdict(invalid, interrupted, thresholds),
        end_reason=manifest.end_reason,
        is_stub=manifest.target.is_stub,
        time_compression=manifest.plan.time_compression if manifest.plan else None,
        duration_s=window.duration_s if window else None,
        scheduled=tally.scheduled,
        outcomes=outcomes,
        errors=most_frequent(requests.errors, MAX_ERRORS),
        scheduled_images=due_images,
        ok_images=int(images.sum()),
        decoded=_decoded(requests.decoded[ok]),
        offered_images_per_s=rates.offered,
        sent_images_per_s=rates.sent,
        completed_images_per_s=rates.completed,
        goodput_images_per_s=rates.goodput,
        **peak_fields(requests, manifest, window, peak),
        slo_latency_s=manifest.slo_latency_s,
        slo_share=float(requests.images[in_time].sum()) / due_images if due_images else None,
        latency_p50_s=p50,
        latency_p90_s=p90,
        latency_p95_s=p95,
        latency_p99_s=p99,
        latency_max_s=arrays.largest(latency_s),
        lateness_p50_s=lateness_p50_s,
        lateness_p99_s=lateness_p99_s,
        clock_uncertainty_s=uncertainty_s,
        queue_p50_s=queue_p50_s,
        queue_p95_s=queue_p95_s,
        service_p50_s=service_p50_s,
        service_p95_s=service_p95_s,
        batch_mean=arrays.mean(requests.batch_mean[ok]),
        image_bytes_mean=float(bytes_in[sized].sum() / images[sized].sum())
        if sized.any()
        else None,
        **_people(counted, manifest, window),
        **told,
        hosts=[summarize_host(host, window.start_s, window.end_s) for host in recorded.hosts]
        if window
        else [],
        **msgspec.structs.asdict(image_energy),
        energy_basis=energy.basis
        if energy and image_energy.energy_j_per_image is not None
        else None,
        energy_disagreement=energy.disagreement if energy else None,
        host_energy=host_energy(recorded, requests, window),
        **msgspec.structs.asdict(attained(requests, manifest, window, peak)),
        groups=groups.summaries(found, manifest),
        thresholds=thresholds,
        capacity=block_capacity(
            manifest,
            _evidence(recorded, rates, valid=not reasons),
            valid=not reasons,
            interrupted=interrupted and not invalid,
        ),
    )


def _evidence(recorded: Recorded, rates: Rates, *, valid: bool) -> Evidence | EvidenceError | None:
    """This run as evidence for a block, where it may be, or what is amiss with it."""
    manifest = recorded.manifest
    if why_withheld(manifest, valid=valid) is not None or not rates.goodput:
        return None
    try:
        return estimate([measure_goodput(recorded, own_slo(manifest), gpus_in_use(manifest))])
    except EvidenceError as err:
        return err


def _people(counted: Counted, manifest: RunManifest, window: LoadWindow | None) -> dict[str, Any]:
    """Who gave up, and what retries made of the demand; nothing where requests are independent."""
    requests, attempts = counted.requests, counted.attempts
    if manifest.plan is None or manifest.plan.people is None:
        return {}
    start_s, duration_s = (window.start_s, window.duration_s) if window else (None, 0.0)
    found = amplification(attempts, start_s, duration_s)
    own_s = attempts.latency_s[attempts.where(Outcome.OK)]
    p50_s, p95_s = arrays.quantiles(own_s, (0.5, 0.95))
    return {
        "people": manifest.plan.people,
        "people_gave_up": int(np.unique(requests.session[requests.where(Outcome.ABANDONED)]).size),
        "attempts": found.attempts,
        "amplification": found.mean,
        "peak_amplification": found.peak,
        "amplification_window_s": found.window_s,
        "attempt_latency_p50_s": p50_s,
        "attempt_latency_p95_s": p95_s,
    }


def _decoded(decoded: Floats) -> int | None:
    """Answers whose pixels were decoded; None where no record tells."""
    told = arrays.known(decoded)
    return int(told.sum()) if told.size else None


def _outcomes(requests: Requests, tally: Tally) -> dict[str, int]:
    counts = np.bincount(requests.outcome, minlength=len(OUTCOMES))
    counts[CODES[Outcome.UNSENT]] += tally.missing
    return {outcome.value: int(count) for outcome, count in zip(OUTCOMES, counts, strict=True)}


def _energy(recorded: Recorded, window: LoadWindow | None) -> Energy | None:
    if window is None or window.duration_s <= 0 or not recorded.gpus:
        return None
    return gpu_energy(recorded.gpus, window.start_s, window.end_s)


def _energy_per_image(
    recorded: Recorded, requests: Requests, window: LoadWindow | None, energy: Energy | None
) -> PerImage:
    """All GPUs' energy over the load window, over the ok images done in it.

    Unknown where the sampled GPUs did not make the images: a CPU or remote target.
    """
    manifest = recorded.manifest
    if window is None or energy is None:
        return PerImage()
    if manifest.target.device == "cpu" or not target_shares_machine(manifest):
        return PerImage()
    done = window.inside(requests.done_s) & requests.where(Outcome.OK)
    return per_image(
        energy,
        idle_power_w(recorded.gpus, window.start_s),
        requests.done_s[done],
        requests.images[done],
        (window.start_s, window.end_s),
        manifest.carbon_g_per_kwh,
    )


def _measurements(
    counted: Counted, outcomes: dict[str, int], rates: Rates, found: Sequence[groups.Group] = ()
) -> Measurements:
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
        tagged={
            f"{one.tag}:{one.value}": _measurements(
                one.counted, _outcomes(one.counted.requests, one.counted.tally), Rates()
            )
            for one in found
        },
    )


def _verdict(invalid: bool, interrupted: bool, thresholds: list[ThresholdResult]) -> Verdict:
    if invalid:
        return Verdict.INVALID
    if interrupted:
        return Verdict.INTERRUPTED
    return Verdict.PASS if all(one.passed for one in thresholds) else Verdict.FAIL
