"""GPU and host samples over the load window, as figures. Pure."""

from dataclasses import dataclass

import numpy as np

from profiles import stats
from profiles.columns import Gpu, Host
from profiles.schema import GpuInfo, GpuSummary, HostSummary
from profiles.stats import Floats

COUNTER = "counter"
INTEGRATED = "integrated power"

# A100 and H100 sample power a quarter of the time, so a short counter difference means little
# (arXiv 2312.02741); the counter and integrated power are compared over at least this long.
MIN_COMPARABLE_S = 10.0
EDGE_S = 1.0  # samples must reach this near both ends, else energy over the load is unknown


@dataclass(frozen=True)
class Energy:
    """What all GPUs used over the load window; None where any GPU's is unknown."""

    joules: float | None
    basis: str | None  # COUNTER, or INTEGRATED where a GPU has no counter
    disagreement: float | None  # worst GPU: |counter - integrated| / counter
    by_gpu_j: tuple[float | None, ...]


def gpu_energy(gpus: list[Gpu], start_s: float, end_s: float) -> Energy:
    """Energy by the driver's counter, or by power integrated over time where one is missing.

    E = counter(end) - counter(start), or E = mean over time of P, times (end - start).
    """
    counted, integrated, apart = [], [], []
    for gpu in gpus:
        inside = window(gpu.t_s, start_s, end_s)
        reaches = _reaches(gpu, start_s, end_s)
        counter = stats.counter_increase(gpu.t_s, gpu.energy_j, start_s, end_s)
        power_w = stats.time_mean(gpu.t_s[inside], gpu.power_w[inside])
        joules = None if power_w is None or not reaches else power_w * (end_s - start_s)
        counter = counter if reaches else None
        counted.append(counter)
        integrated.append(joules)
        if counter and joules is not None and end_s - start_s >= MIN_COMPARABLE_S:
            apart.append(abs(counter - joules) / counter)
    basis = COUNTER if all(one is not None for one in counted) else INTEGRATED
    chosen = counted if basis == COUNTER else integrated
    there = [one for one in chosen if one is not None]
    known = bool(gpus) and len(there) == len(gpus)
    return Energy(
        joules=sum(there) if known else None,
        basis=basis if known else None,
        disagreement=max(apart, default=None),
        by_gpu_j=tuple(chosen),
    )


def summarize_gpu(
    gpu: Gpu, info: GpuInfo | None, start_s: float, end_s: float, energy_j: float | None
) -> GpuSummary:
    """One GPU over [start, end]."""
    inside = window(gpu.t_s, start_s, end_s)
    t_s = gpu.t_s[inside]
    return GpuSummary(
        node=gpu.node,
        index=gpu.index,
        uuid=gpu.uuid,
        name=info.name if info else None,
        samples=int(t_s.size),
        util_mean_pct=stats.time_mean(t_s, gpu.util_pct[inside]),
        sm_active_mean_pct=stats.time_mean(t_s, gpu.sm_active_pct[inside]),
        tensor_mean_pct=stats.time_mean(t_s, gpu.tensor_pct[inside]),
        power_mean_w=stats.time_mean(t_s, gpu.power_w[inside]),
        power_max_w=stats.largest(gpu.power_w[inside]),
        mem_used_max_bytes=_whole(stats.largest(gpu.mem_used_bytes[inside])),
        sm_clock_mean_mhz=stats.time_mean(t_s, gpu.sm_clock_mhz[inside]),
        temp_max_c=stats.largest(gpu.temp_c[inside]),
        energy_j=energy_j,
    )


def summarize_host(host: Host, start_s: float, end_s: float) -> HostSummary:
    """One machine over [start, end]."""
    inside = window(host.t_s, start_s, end_s)
    t_s = host.t_s[inside]
    return HostSummary(
        node=host.node,
        samples=int(t_s.size),
        cpu_mean_pct=stats.time_mean(t_s, host.cpu_pct[inside]),
        cpu_max_pct=stats.largest(host.cpu_pct[inside]),
        mem_used_max_bytes=_whole(stats.largest(host.mem_used_bytes[inside])),
    )


def window(t_s: Floats, start_s: float, end_s: float) -> slice:
    """The rows of sorted instants within [start, end]."""
    first = int(np.searchsorted(t_s, start_s, side="left"))
    last = int(np.searchsorted(t_s, end_s, side="right"))
    return slice(first, last)


def _reaches(gpu: Gpu, start_s: float, end_s: float) -> bool:
    if not gpu.t_s.size:
        return False
    return bool(gpu.t_s[0] <= start_s + EDGE_S and gpu.t_s[-1] >= end_s - EDGE_S)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
