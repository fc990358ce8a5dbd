"""A run folder as one Summary: the numbers, whether they can be trusted, and the verdict.

`summarize` reads the folder; `compute` is the pure core on what was read.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from profiles.capacity.block import block_capacity, why_withheld
from profiles.capacity.evidence import Evidence, estimate
from profiles.capacity.goodput import goodput_of
from profiles.record import columns
from profiles.record.columns import CODES, OUTCOMES, Recorded, Requests
from profiles.record.error_groups import most_frequent
from profiles.record.folder import RunFolder
from profiles.requests import groups, threshold
from profiles.requests.attempts import Counted, Tally, amplification
from profiles.requests.counted import CountedRun, count_run
from profiles.requests.peak import peak_fields, peak_of
from profiles.requests.rates import (
    LoadWindow,
    Rates,
    good,
    mean_rates,
    scheduled_images,
)
from profiles.requests.slo import EvidenceError, own_slo
from profiles.requests.target import gpus_in_use, target_shares_machine
from profiles.requests.threshold import Measurements
from profiles.schema import (
    EndReason,
    Outcome,
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
    run = count_run(recorded)
    manifest, window = run.manifest, run.window
    rates = mean_rates(run.counted.requests, run.counted.attempts, manifest, window)
    found = groups.groups(run.counted)
    energy = _energy(recorded, window)
    peak = peak_of(manifest.plan, window)
    measured = _measured(run, rates, found)
    judged = _judged(run, measured, energy)
    valid = not judged["reasons"]
    hardware_part, hardware_warnings = _hardware(run, energy)
    judged["warnings"] += hardware_warnings
    return Summary(
        run_id=manifest.run_id,
        scenario=manifest.scenario,
        end_reason=manifest.end_reason,
        is_stub=manifest.target.is_stub,
        time_compression=manifest.plan.time_compression if manifest.plan else None,
        duration_s=window.duration_s if window else None,
        slo_latency_s=manifest.slo_latency_s,
        **judged,
        **_requests(run, measured),
        **_times(run),
        offered_images_per_s=rates.offered,
        sent_images_per_s=rates.sent,
        completed_images_per_s=rates.completed,
        goodput_images_per_s=rates.goodput,
        **peak_fields(run.counted.requests, manifest, window, peak),
        **_people(run),
        **hardware_part,
        **_energy_part(run, energy),
        **msgspec.structs.asdict(attained(run.counted.requests, manifest, window, peak)),
        groups=groups.summaries(found, manifest),
        capacity=block_capacity(
            manifest,
            _evidence(run, rates, valid=valid),
            valid=valid,
            interrupted=judged["verdict"] is Verdict.INTERRUPTED,
        ),
    )


def _measured(run: CountedRun, rates: Rates, found: Sequence[groups.Group]) -> Measurements:
    """What thresholds speak of, of the whole run and of each of its groups."""
    requests = run.counted.requests
    measured = _measurements(run.counted, rates, found)
    in_time = int(requests.images[good(requests, run.manifest)].sum())
    return msgspec.structs.replace(measured, images_in_time=in_time)


def _judged(run: CountedRun, measured: Measurements, energy: Energy | None) -> dict[str, Any]:
    """The fields of a Summary about trust: valid, reasons, warnings, thresholds, verdict."""
    recorded, manifest, window = run.recorded, run.manifest, run.window
    requests = run.counted.requests
    interrupted = manifest.end_reason is EndReason.INTERRUPTED
    uncertainty_s = clock_uncertainty_s(recorded.clocks)
    lateness_p99_s = arrays.quantile(run.counted.attempts.lateness_s, 0.99)
    reasons = validity.invalid_reasons(
        recorded, run.counted.tally, window, lateness_p99_s, uncertainty_s
    )
    limits, unread = threshold.readable(manifest.thresholds)
    reasons += validity.threshold_reasons(unread)
    invalid = bool(reasons)
    if interrupted:
        reasons.append(validity.stopped_reason(recorded, window))
    thresholds = threshold.evaluate(limits, measured)
    kept = [one for one, held in zip(limits, thresholds, strict=True) if held.passed]
    if not reasons and len(kept) == len(limits):
        median_s = arrays.quantile(requests.latency_s[requests.where(Outcome.OK)], 0.5)
        reasons += validity.too_little(limits, measured, window, median_s)
        invalid = bool(reasons)
    thresholds += threshold.evaluate(
        threshold.parse_all(manifest.default_thresholds), measured, default=True
    )
    warned = validity.warnings(recorded, window, energy)
    if not reasons:
        warned += validity.little(kept, measured, window)
    return {
        "valid": not reasons,
        "reasons": reasons,
        "warnings": warned,
        "thresholds": thresholds,
        "verdict": _verdict(invalid, interrupted, thresholds),
        "clock_uncertainty_s": uncertainty_s,
    }


def _requests(run: CountedRun, measured: Measurements) -> dict[str, Any]:
    """The fields of a Summary that count: requests, images, errors, bytes."""
    requests = run.counted.requests
    ok = requests.where(Outcome.OK)
    due_images = scheduled_images(requests, run.manifest)
    bytes_in, images = requests.bytes_in[ok], requests.images[ok]
    sized = ~np.isnan(bytes_in)
    mean = float(bytes_in[sized].sum() / images[sized].sum()) if sized.any() else None
    return {
        "scheduled": run.counted.tally.scheduled,
        "outcomes": measured.outcomes,
        "errors": most_frequent(requests.errors, MAX_ERRORS),
        "scheduled_images": due_images,
        "ok_images": int(images.sum()),
        "decoded": _decoded(requests.decoded[ok]),
        "slo_share": (measured.images_in_time or 0) / due_images if due_images else None,
        "batch_mean": arrays.mean(requests.batch_mean[ok]),
        "image_bytes_mean": mean,
    }


def _times(run: CountedRun) -> dict[str, Any]:
    """The fields of a Summary in seconds: latency, its stages, the generator's lateness."""
    requests = run.counted.requests
    ok = requests.where(Outcome.OK)
    latency_s = requests.latency_s[ok]
    times = {"latency_max_s": arrays.largest(latency_s)}
    for name, values, shares in (
        ("latency", latency_s, (0.5, 0.9, 0.95, 0.99)),
        ("lateness", run.counted.attempts.lateness_s, (0.5, 0.99)),
        ("queue", requests.queue_s[ok], (0.5, 0.95)),
        ("service", requests.service_s[ok], (0.5, 0.95)),
    ):
        for share, value in zip(shares, arrays.quantiles(values, shares), strict=True):
            times[f"{name}_p{100 * share:.0f}_s"] = value
    return times


def _hardware(run: CountedRun, energy: Energy | None) -> tuple[dict[str, Any], list[str]]:
    """The fields of a Summary about GPUs, samplers, hosts, and what a reader must know of them."""
    recorded, window, requests = run.recorded, run.window, run.counted.requests
    told = hardware.hardware(recorded, requests, window, energy, devices_in_use(run.manifest))
    told["hosts"] = (
        [summarize_host(host, window.start_s, window.end_s) for host in recorded.hosts]
        if window
        else []
    )
    warned = hardware.warnings(
        told.get("gpus", []),
        told["samplers"],
        told["faults"],
        requests,
        told.get("instances", []),
        run.manifest.load_start_s,
    )
    return told, warned


def _energy_part(run: CountedRun, energy: Energy | None) -> dict[str, Any]:
    """The fields of a Summary about energy."""
    image = _energy_per_image(run, energy)
    basis = energy.basis if energy and image.energy_j_per_image is not None else None
    return {
        **msgspec.structs.asdict(image),
        "energy_basis": basis,
        "energy_disagreement": energy.disagreement if energy else None,
        "host_energy": host_energy(run.recorded, run.counted.requests, run.window),
    }


def _evidence(run: CountedRun, rates: Rates, *, valid: bool) -> Evidence | EvidenceError | None:
    """This run as evidence for a block, where it may be, or what is amiss with it."""
    manifest = run.manifest
    if why_withheld(manifest, valid=valid) is not None or not rates.goodput:
        return None
    try:
        return estimate([goodput_of(run, own_slo(manifest), gpus_in_use(manifest))])
    except EvidenceError as err:
        return err


def _people(run: CountedRun) -> dict[str, Any]:
    """Who gave up, and what retries made of the demand; nothing where requests are independent."""
    manifest, window = run.manifest, run.window
    requests, attempts = run.counted.requests, run.counted.attempts
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


def _energy_per_image(run: CountedRun, energy: Energy | None) -> PerImage:
    """All GPUs' energy over the load window, over the ok images done in it.

    Unknown where the sampled GPUs did not make the images: a CPU or remote target.
    """
    manifest, window, requests = run.manifest, run.window, run.counted.requests
    if window is None or energy is None:
        return PerImage()
    if manifest.target.device == "cpu" or not target_shares_machine(manifest):
        return PerImage()
    done = window.inside(requests.done_s) & requests.where(Outcome.OK)
    return per_image(
        energy,
        idle_power_w(run.recorded.gpus, window.start_s),
        requests.done_s[done],
        requests.images[done],
        (window.start_s, window.end_s),
        manifest.carbon_g_per_kwh,
    )


def _measurements(
    counted: Counted, rates: Rates, found: Sequence[groups.Group] = ()
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
        outcomes=_outcomes(requests, counted.tally),
        scheduled=counted.tally.scheduled,
        images_per_s={
            "goodput": rates.goodput,
            "offered": rates.offered,
            "sent": rates.sent,
            "completed": rates.completed,
        },
        tagged={f"{one.tag}:{one.value}": _measurements(one.counted, Rates()) for one in found},
    )


def _verdict(invalid: bool, interrupted: bool, thresholds: list[ThresholdResult]) -> Verdict:
    if invalid:
        return Verdict.INVALID
    if interrupted:
        return Verdict.INTERRUPTED
    return Verdict.PASS if all(one.passed for one in thresholds) else Verdict.FAIL
