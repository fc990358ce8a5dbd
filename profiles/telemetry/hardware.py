"""What the hardware did over the load, as fields of a Summary; and what a reader must know of it.

Pure. A GPU that was lost and came back is told, and its silence in between is not the sampler's.
"""

from typing import Any

from profiles import formats
from profiles.record.columns import Recorded, Requests
from profiles.requests.rates import LoadWindow
from profiles.schema import GpuSummary, RunEvent, SamplerSummary
from profiles.telemetry.device_means import summarize_gpu
from profiles.telemetry.energy import Energy
from profiles.telemetry.phases import join_gpu, summarize_phases
from profiles.telemetry.sampler_timing import summarize_samplers

FAULTS = {
    "gpu_absent",
    "gpu_unreadable",
    "gpu_unknown",
    "gpu_lost",
    "gpu_back",
    "gpu_error",
    "xid",
    "xids_unread",
    "processes_hidden",
}
WARNED = FAULTS - {"gpu_absent", "gpu_back", "xids_unread"}
TIMED = {"gpu_lost", "gpu_error", "gpu_unreadable", "xid"}
MISSED_SHARE = 0.01  # of the planned cycles
MAX_TOLD = 3  # of one kind of fault


def hardware(
    recorded: Recorded,
    requests: Requests,
    load: LoadWindow | None,
    energy: Energy | None,
    devices: int | None,
) -> dict[str, Any]:
    """The fields of a Summary about GPUs and samplers; `devices` made the images."""
    faults = [event for event in recorded.events if event.kind in FAULTS]
    if load is None or energy is None:
        return {"faults": faults, "samplers": summarize_samplers(recorded, load)}
    info = {gpu.uuid: gpu for gpu in recorded.manifest.gpus}
    span = (load.start_s, load.end_s)
    gpus = [
        summarize_gpu(gpu, info.get(gpu.uuid), *span, joules, one, recorded.states)
        for gpu, joules, one in zip(recorded.gpus, energy.by_gpu_j, energy.by_gpu, strict=True)
    ]
    instances = [summarize_gpu(one, info.get(one.uuid), *span, None) for one in recorded.instances]
    return {
        "gpus": [join_gpu(gpu, recorded, requests, load) for gpu in gpus],
        "instances": [join_gpu(one, recorded, requests, load) for one in instances],
        "phases": summarize_phases(recorded, requests, load, energy, devices),
        "samplers": summarize_samplers(recorded, load),
        "faults": faults,
    }


def warnings(
    gpus: list[GpuSummary],
    samplers: list[SamplerSummary],
    faults: list[RunEvent],
    requests: Requests,
    instances: list[GpuSummary],
    load_start_s: float | None = None,
) -> list[str]:
    """What a reader should know of the hardware though the run is valid."""
    found = []
    for kind in sorted(WARNED):
        own = [event for event in faults if event.kind == kind]
        found += [_befell(event, faults, load_start_s) for event in own[:MAX_TOLD]]
        if len(own) > MAX_TOLD:
            found.append(f"… and {len(own) - MAX_TOLD:,} more events of kind {kind}.")
    for gpu in gpus:
        found += _of_gpu(gpu)
    for one in samplers:
        if one.missed > MISSED_SHARE * one.planned:
            found.append(
                f"The sampler of {one.node} fell behind: {one.missed:,} of {one.planned:,} cycles "
                "have no sample; give it a core, or sample less often."
            )
    known = {gpu.uuid for gpu in [*gpus, *instances]}
    told = {uuid for uuid, _ in requests.devices if uuid}
    strangers = sorted(told - known) if gpus else []
    if strangers:
        found.append(
            f"Replicas told {len(strangers)} GPUs that were not sampled ({strangers[0]}): their "
            "readings are missing; sample every node that serves."
        )
    return found


def _befell(event: RunEvent, faults: list[RunEvent], load_start_s: float | None) -> str:
    """What happened, when on the load's clock, and of a lost GPU when it came back."""
    said = event.detail.rstrip(".")
    if event.kind not in TIMED:
        return f"{said}."
    at = formats.load_time(event.t_s, load_start_s)
    if event.kind != "gpu_lost":
        return f"{said} ({at})."
    until_s = next((end for begin, end in lost_spans(faults, event.gpu_uuid) if begin == event.t_s))
    if until_s == float("inf"):
        return f"{said} ({at}, and it did not come back)."
    back = formats.load_time(until_s, load_start_s)
    return f"{said} (from {at} until {back}, when it came back)."


def _of_gpu(gpu: GpuSummary) -> list[str]:
    found, name = [], f"GPU {gpu.index} of {gpu.node}"
    if gpu.counter_frozen:
        found.append(f"The energy counter of {name} stood still: its energy is integrated power.")
    if gpu.counter_resets:
        bridged = "power bridges those moments"
        if gpu.energy_counter_j is None:
            bridged = "what it used meanwhile is not known, and the counter left out"
        found.append(
            f"The energy counter of {name} began anew {gpu.counter_resets} times (the driver was "
            f"loaded again): {bridged}."
        )
    if gpu.ecc_uncorrected or gpu.rows_uncorrected:
        found.append(
            f"{name} had {gpu.ecc_uncorrected or 0:,} uncorrectable memory errors and remapped "
            f"{gpu.rows_uncorrected or 0:,} rows for them during the run: reset it, and replace it "
            "if they come back."
        )
    if gpu.rows_failed:
        found.append(f"{name} could not remap a memory row: replace it.")
    elif gpu.rows_pending:
        found.append(f"{name} remaps a memory row at its next reset: reset it when convenient.")
    return found


def lost_spans(events: list[RunEvent], uuid: str | None) -> list[tuple[float, float]]:
    """When a GPU was lost: from each `gpu_lost` to the `gpu_back` after it, or for ever."""
    spans: list[tuple[float, float]] = []
    for event in events:
        if event.gpu_uuid != uuid:
            continue
        if event.kind == "gpu_lost":
            spans.append((event.t_s, float("inf")))
        elif event.kind == "gpu_back" and spans:
            spans[-1] = (spans[-1][0], event.t_s)
    return spans
