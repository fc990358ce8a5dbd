"""GPU and host samples over a window, as figures. Pure."""

from typing import Any

import numpy as np

from profiles.record.columns import Gpu, Host
from profiles.schema import GpuInfo, GpuState, GpuSummary, HostSummary
from profiles.stats import arrays
from profiles.stats.arrays import Floats
from profiles.telemetry.energy import GpuEnergy

CAUSES = {  # of a clock below the wanted one: GpuSummary's share -> GpuSample's counter
    "power_capped_share": "throttle_power_s",
    "thermal_share": "throttle_thermal_s",
    "hw_thermal_share": "throttle_hw_thermal_s",
    "brake_share": "throttle_brake_s",
}
GPM = {
    "sm_active_mean_pct": "sm_active_pct",
    "sm_occupancy_mean_pct": "sm_occupancy_pct",
    "tensor_mean_pct": "tensor_pct",
    "dram_mean_pct": "dram_pct",
}
COUNTS = ("ecc_corrected", "ecc_uncorrected", "rows_corrected", "rows_uncorrected")


def summarize_gpu(
    gpu: Gpu,
    info: GpuInfo | None,
    start_s: float,
    end_s: float,
    energy_j: float | None,
    energy: GpuEnergy | None = None,
    states: list[GpuState] | None = None,
) -> GpuSummary:
    """One GPU, or MIG instance, over [start, end]."""
    inside = window(gpu.t_s, start_s, end_s)
    t_s = gpu.t_s[inside]
    own = [state for state in states or [] if (state.node, state.uuid) == (gpu.node, gpu.uuid)]
    return GpuSummary(
        node=gpu.node,
        index=gpu.index,
        uuid=gpu.uuid,
        parent_uuid=gpu.parent_uuid,
        name=info.name if info else None,
        samples=int(t_s.size),
        util_mean_pct=level_mean(gpu, "util_pct", start_s, end_s),
        **averages(gpu, start_s, end_s),
        power_mean_w=level_mean(gpu, "power_w", start_s, end_s),
        power_max_w=arrays.largest(gpu.power_w[inside]),
        mem_used_max_bytes=_whole(arrays.largest(gpu.mem_used_bytes[inside])),
        sm_clock_mean_mhz=level_mean(gpu, "sm_clock_mhz", start_s, end_s),
        temp_max_c=arrays.largest(gpu.temp_c[inside]),
        mem_temp_max_c=arrays.largest(gpu.mem_temp_c[inside]),
        pcie_rx_bytes_per_s=_rate(gpu.t_s, gpu.pcie_rx_bytes, start_s, end_s),
        pcie_tx_bytes_per_s=_rate(gpu.t_s, gpu.pcie_tx_bytes, start_s, end_s),
        **throttled(gpu, start_s, end_s),
        energy_j=energy_j,
        energy_counter_j=energy.counter_j if energy else None,
        energy_integrated_j=energy.integrated_j if energy else None,
        energy_disagreement=energy.disagreement if energy else None,
        counter_frozen=energy.metered.frozen if energy else False,
        counter_resets=energy.metered.resets if energy else 0,
        rows_pending=own[-1].rows_pending if own else None,
        rows_failed=own[-1].rows_failed if own else None,
        unable=own[0].unable if own else {},
        **_grown(own),
    )


def level_mean(gpu: Gpu, column: str, start_s: float, end_s: float) -> float | None:
    """The mean of a reading over what was read of [start, end]: the one that every table shows."""
    inside = window(gpu.t_s, start_s, end_s)
    return arrays.time_mean(gpu.t_s[inside], getattr(gpu, column)[inside])


def averages(gpu: Gpu, start_s: float, end_s: float) -> dict[str, Any]:
    """GPM's averages over [start, end], each weighed by how much of its span lies inside."""
    return {
        name: arrays.span_mean(gpu.t_s, gpu.gpm_span_s, getattr(gpu, column), start_s, end_s)
        for name, column in GPM.items()
    }


def throttled(gpu: Gpu, start_s: float, end_s: float) -> dict[str, Any]:
    """The share of [start, end] for which the clock was held down, by cause."""
    return {
        name: _rate(gpu.t_s, getattr(gpu, counter), start_s, end_s)
        for name, counter in CAUSES.items()
    }


def _rate(t_s: Floats, counter: Floats, start_s: float, end_s: float) -> float | None:
    """How fast a counter grew, a second; None where it is unknown or began anew."""
    inside = window(t_s, start_s, end_s)
    t_s, counter = t_s[inside], counter[inside]
    if t_s.size < 2 or t_s[-1] <= t_s[0]:
        return None
    grown = arrays.counter_increase(t_s, counter, float(t_s[0]), float(t_s[-1]))
    return None if grown is None else grown / float(t_s[-1] - t_s[0])


def _grown(states: list[GpuState]) -> dict[str, Any]:
    """How many errors came between the first state and the last.

    None where one is not known, or counts anew: the driver was loaded again.
    """
    if len(states) < 2:
        return {}
    first, last = states[0], states[-1]
    pairs = {name: (getattr(first, name), getattr(last, name)) for name in COUNTS}
    return {
        name: None if before is None or after is None or after < before else after - before
        for name, (before, after) in pairs.items()
    }


def summarize_host(host: Host, start_s: float, end_s: float) -> HostSummary:
    """One machine over [start, end]."""
    inside = window(host.t_s, start_s, end_s)
    t_s = host.t_s[inside]
    return HostSummary(
        node=host.node,
        samples=int(t_s.size),
        cpu_mean_pct=arrays.time_mean(t_s, host.cpu_pct[inside]),
        cpu_max_pct=arrays.largest(host.cpu_pct[inside]),
        mem_used_max_bytes=_whole(arrays.largest(host.mem_used_bytes[inside])),
        cpu_energy_j=arrays.counter_increase(host.t_s, host.cpu_energy_j, start_s, end_s),
        dram_energy_j=arrays.counter_increase(host.t_s, host.dram_energy_j, start_s, end_s),
    )


def window(t_s: Floats, start_s: float, end_s: float) -> slice:
    """The rows of sorted instants within [start, end]."""
    first = int(np.searchsorted(t_s, start_s, side="left"))
    last = int(np.searchsorted(t_s, end_s, side="right"))
    return slice(first, last)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
