"""A run folder without a load: what `viralload sample` saw, as figures. Pure."""

import msgspec
import numpy as np

from profiles.record.columns import Recorded
from profiles.requests.rates import LoadWindow
from profiles.schema import (
    GpuSummary,
    HostSummary,
    RunEvent,
    RunManifest,
    SamplerSummary,
)
from profiles.stats import arrays
from profiles.telemetry import hardware
from profiles.telemetry.device_means import summarize_host
from profiles.telemetry.energy import gpu_energy

SCENARIO = "sample"  # the name in the manifest of such a folder


class Sampled(msgspec.Struct, frozen=True, kw_only=True):
    """What was read from the first sample to the last."""

    run_id: str
    duration_s: float | None = None
    energy_j: float | None = None  # all GPUs
    energy_basis: str | None = None
    energy_disagreement: float | None = None
    gpus: list[GpuSummary] = []
    instances: list[GpuSummary] = []  # of MIG
    hosts: list[HostSummary] = []
    samplers: list[SamplerSummary] = []
    faults: list[RunEvent] = []
    warnings: list[str] = []


def is_sampled(manifest: RunManifest) -> bool:
    """Whether the folder holds readings alone."""
    return manifest.scenario == SCENARIO and manifest.plan is None


def summarize_sampled(recorded: Recorded) -> Sampled:
    """Every device from the first sample to the last."""
    devices = [gpu.t_s for gpu in recorded.gpus] + [host.t_s for host in recorded.hosts]
    edges = [edge for t_s in devices for edge in _ends(t_s)]
    start_s, end_s = (min(edges), max(edges)) if edges else (0.0, 0.0)
    load = LoadWindow(start_s=start_s, end_s=end_s, planned_s=end_s - start_s)
    energy = gpu_energy(recorded.gpus, start_s, end_s) if recorded.gpus else None
    told = hardware.hardware(recorded, recorded.requests, load, energy, None)
    told.pop("phases", None)
    warnings = hardware.warnings(
        told.get("gpus", []), told["samplers"], told["faults"], recorded.requests, []
    )
    return Sampled(
        run_id=recorded.manifest.run_id,
        duration_s=load.duration_s if edges else None,
        energy_j=energy.joules if energy else None,
        energy_basis=energy.basis if energy else None,
        energy_disagreement=energy.disagreement if energy else None,
        hosts=[summarize_host(host, start_s, end_s) for host in recorded.hosts],
        warnings=warnings,
        **told,
    )


def _ends(t_s: arrays.Floats) -> list[float]:
    return [float(np.min(t_s)), float(np.max(t_s))] if t_s.size else []
