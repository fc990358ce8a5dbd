"""The load joined to the hardware: by phase of the curve, and by GPU. Pure.

A replica is joined to its GPU by the UUID that the server told with each answer.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from profiles.record.columns import Gpu, Recorded, Requests
from profiles.requests.phases import phase_spans
from profiles.requests.rates import LoadWindow
from profiles.schema import GpuSummary, Outcome, PhaseSummary
from profiles.stats.arrays import Bools, Floats
from profiles.telemetry.device_means import averages, level_mean, throttled
from profiles.telemetry.energy import Energy

TERA = 1e12


def summarize_phases(
    recorded: Recorded,
    requests: Requests,
    load: LoadWindow | None,
    energy: Energy | None,
    devices: int | None,
) -> list[PhaseSummary]:
    """Each phase over its own time; `devices` made the images (None: unknown)."""
    plan = recorded.manifest.plan
    if load is None or plan is None:
        return []
    used = used_gpus(recorded.gpus, requests)
    return [
        _phase(name, (load.start_s, start_s, end_s), used, requests, energy, devices)
        for name, start_s, end_s in phase_spans(plan, load.duration_s)
    ]


def join_gpu(
    summary: GpuSummary, recorded: Recorded, requests: Requests, load: LoadWindow
) -> GpuSummary:
    """The GPU's summary with what its replicas made in the load, and the memory they held."""
    mine = [at for at, (uuid, _) in enumerate(requests.devices) if uuid == summary.uuid]
    held = [
        process
        for process in recorded.processes
        if process.uuid == summary.uuid and process.ours and process.mem_used_bytes is not None
    ]
    at_once: dict[float, int] = {}
    for process in held:
        at_once[process.t_s] = at_once.get(process.t_s, 0) + (process.mem_used_bytes or 0)
    summary = msgspec.structs.replace(
        summary, replica_mem_max_bytes=max(at_once.values(), default=None)
    )
    if not mine:
        return summary
    rows = _done(requests, load.start_s, load.end_s) & np.isin(requests.device, mine)
    return msgspec.structs.replace(
        summary,
        replicas=sorted({requests.devices[at][1] or "?" for at in mine}),
        images=int(requests.images[rows].sum()),
        images_per_s=float(requests.images[rows].sum()) / load.duration_s,
        tflops=_tflops(requests, rows, load.duration_s, 1),
    )


def _phase(
    name: str,
    span: tuple[float, float, float],
    gpus: Sequence[Gpu],
    requests: Requests,
    energy: Energy | None,
    devices: int | None,
) -> PhaseSummary:
    zero_s, since_s, until_s = span
    start_s, end_s = zero_s + since_s, zero_s + until_s
    rows = _done(requests, start_s, end_s)
    images = float(requests.images[rows].sum())
    joules = energy.between(start_s, end_s) if energy and energy.basis else None
    means: dict[str, list[float]] = {}
    for gpu in gpus:
        told = averages(gpu, start_s, end_s) | throttled(gpu, start_s, end_s)
        told["util_mean_pct"] = level_mean(gpu, "util_pct", start_s, end_s)
        told["power_mean_w"] = level_mean(gpu, "power_w", start_s, end_s)
        told.pop("sm_occupancy_mean_pct", None)
        for key, value in told.items():
            if value is not None:
                means.setdefault(key, []).append(value)
    return PhaseSummary(
        name=name,
        start_s=since_s,
        end_s=until_s,
        images=int(images),
        images_per_s=images / (until_s - since_s),
        tflops=_tflops(requests, rows, until_s - since_s, devices),
        energy_j=joules,
        energy_j_per_image=joules / images if joules is not None and images else None,
        **{key: sum(values) / len(values) for key, values in means.items()},
    )


def used_gpus(gpus: list[Gpu], requests: Requests) -> list[Gpu]:
    """The GPUs that made images, as far as the server told; else all."""
    uuids = {uuid for uuid, _ in requests.devices}
    return [gpu for gpu in gpus if gpu.uuid in uuids] or gpus


def _done(requests: Requests, start_s: float, end_s: float) -> Bools:
    done: Bools = (requests.done_s >= start_s) & (requests.done_s <= end_s)
    return done & requests.where(Outcome.OK)


def _tflops(
    requests: Requests, rows: Bools, duration_s: float, devices: int | None
) -> float | None:
    """TFLOP/s a device of these requests; None where one did not tell its FLOP."""
    flop: Floats = requests.flop[rows]
    if not devices or not flop.size or bool(np.isnan(flop).any()):
        return None
    return float(flop.sum()) / duration_s / devices / TERA
